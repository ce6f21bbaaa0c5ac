from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import GeometryError, InputError
from minivess.volume import Volume
from minivess.volume.units import parse_unit, to_um


def test_spacing_and_axes_follow_from_the_affine() -> None:
    affine = np.array([[0, -0.6, 0, 1], [0.6, 0, 0, 2], [0, 0, 5, 3], [0, 0, 0, 1.0]])
    volume = Volume(np.zeros((2, 3, 4), np.uint8), affine, "um")
    assert volume.spacing == pytest.approx((0.6, 0.6, 5.0))
    assert volume.axis_codes == "ALS"


def test_um_and_mm_state_the_same_places() -> None:
    volume = Volume(np.zeros((2, 3, 4)), np.diag([0.5, 0.5, 2.0, 1]), "mm")
    um = volume.in_unit("um")
    assert um.spacing == (500.0, 500.0, 2000.0)
    assert um.same_grid(volume)
    assert volume.spacing_um == um.spacing


def test_to_um_and_parse_unit() -> None:
    assert to_um((0.5, 2), "mm").tolist() == [500.0, 2000.0]
    assert to_um(3, "um") == 3.0
    assert [parse_unit(text) for text in ("mm", "um")] == ["mm", "um"]
    for text in ("", "MM", "nm"):
        with pytest.raises(InputError, match="Allowed: mm, um"):
            parse_unit(text)


@pytest.mark.row(21)
def test_big_endian_voxels_become_native() -> None:
    volume = Volume(np.arange(24, dtype=">i2").reshape(2, 3, 4), np.eye(4), "mm")
    assert volume.array.dtype == np.dtype("int16")
    assert volume.array[1, 2, 3] == 23


@pytest.mark.parametrize(
    ("affine", "word"),
    [
        (np.diag([1, 1, 0, 1.0]), "spacing"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.array([[1, 1, 0, 0], [0, 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "singular"),
        (np.diag([1, 1, 1, 2.0]), "last row"),
        (np.eye(3), "4x4"),
        (np.diag([25, 1, 1, 1.0]), "25000"),
    ],
)
def test_an_affine_that_places_nothing_is_refused(affine: np.ndarray, word: str) -> None:
    with pytest.raises(GeometryError, match=word):
        Volume(np.zeros((2, 2, 2)), affine, "mm")


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 2, 2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex)])
def test_an_array_that_is_no_volume_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError):
        Volume(array, np.eye(4), "mm")


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(InputError, match="Allowed: mm, um"):
        Volume(np.zeros((2, 2, 2)), np.eye(4), "inch")  # type: ignore[arg-type]
