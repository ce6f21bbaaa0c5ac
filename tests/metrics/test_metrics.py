from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric
from scipy import ndimage
from skimage.measure import euler_number

from minivess.errors import InputError
from minivess.metrics import betti_numbers, centreline_from_mask, cldice, compare_masks, dsc, surface_distances
from minivess.metrics.calibre import CLASSES_UM, length_by_calibre
from minivess.metrics.masks import fill_cavities
from minivess.metrics.morphology import measure_vessels
from minivess.review.skeleton_graph import skeleton_graph

SPACING = (0.6, 0.6, 5.0)


def tube(shape: tuple[int, int, int] = (24, 24, 12), y: int = 12, z: int = 6, radius: int = 3) -> np.ndarray:
    _, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.broadcast_to((j - y) ** 2 + (k - z) ** 2 <= radius**2, shape).copy()


def torus() -> np.ndarray:
    x, y, z = np.ogrid[-12:13, -12:13, -5:6]
    return (np.sqrt(x**2 + y**2) - 8) ** 2 + z**2 <= 9


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(20, 18, 9)), 1.5) for _ in range(2)]
    return fields[0] > 0.05, (fields[0] + 0.5 * fields[1]) > 0.05


def as_batch(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


@pytest.mark.requirement("R19")
@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_dice_and_surface_distances_equal_monais(seed: int) -> None:
    a, b = blobs(seed)
    ours = surface_distances(a, b, SPACING, tolerance=1.0)
    prediction, reference = as_batch(b), as_batch(a)
    assert dsc(a, b) == pytest.approx(DiceMetric()(prediction, reference).item(), abs=1e-6)
    keywords = {"include_background": True, "distance_metric": "euclidean"}
    nsd = SurfaceDiceMetric([1.0], **keywords)(prediction, reference, spacing=SPACING)
    forth = HausdorffDistanceMetric(percentile=95, **keywords)(prediction, reference, spacing=SPACING)
    masd = [
        SurfaceDistanceMetric(**keywords)(p, r, spacing=SPACING).item()
        for p, r in ((prediction, reference), (reference, prediction))
    ]
    assert ours.nsd == pytest.approx(nsd.item(), abs=1e-5)
    assert ours.hd95 == pytest.approx(forth.item(), rel=1e-4)  # MONAI's percentile is of float32
    assert ours.masd == pytest.approx(sum(masd) / 2, rel=1e-5)


@pytest.mark.requirement("R19")
@given(st.integers(0, 10_000), st.tuples(*[st.floats(0.2, 8.0)] * 3))
@settings(max_examples=60, deadline=None)
def test_surface_distances_equal_two_distance_transforms(seed: int, spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 16, 3)
    a, b = (ndimage.binary_dilation(rng.random(shape) > rng.uniform(0.8, 1.0), iterations=int(rng.integers(1, 3))) for _ in "ab")
    a.flat[0] = b.flat[-1] = True
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    there, back = (ndimage.distance_transform_edt(~other, sampling=spacing)[own] for own, other in (surfaces, reversed(surfaces)))
    ours = surface_distances(a, b, spacing, tolerance=1.0)
    assert ours.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-9)
    assert ours.masd == pytest.approx((there.mean() + back.mean()) / 2, rel=1e-9)
    assert ours.assd == pytest.approx(np.concatenate([there, back]).mean(), rel=1e-9)
    within = sum(
        int((distances <= 1 + 1e-9).sum()) for distances in (there, back)
    )  # the square root of 0.6 and 0.8 may be above 1
    assert ours.nsd == pytest.approx(within / (there.size + back.size), rel=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_betti_numbers_have_the_euler_number_of_scikit_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 9, 3)) > rng.random()
    b0, b1, b2 = betti_numbers(mask)
    assert b0 - b1 + b2 == euler_number(np.pad(mask, 1), connectivity=3)
    assert min(b0, b1, b2) >= 0


def test_a_shift_by_one_slice_is_one_slice_in_um() -> None:
    a = np.zeros((10, 10, 8), bool)
    a[2:8, 2:8, 2:4] = True
    b = np.roll(a, 1, axis=2)
    scores = surface_distances(a, b, SPACING, tolerance=5.0)
    assert scores.nsd == 1.0
    assert scores.hd95 == pytest.approx(5.0)
    assert surface_distances(a, b, SPACING, tolerance=4.9).nsd < 1.0


def test_dice_by_hand() -> None:
    a, b = np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), bool)
    a[0, 0, :3] = True
    b[0, 0, 1:3] = True
    b[2, 2, 2] = True
    assert dsc(a, b) == pytest.approx(4 / 6)


@pytest.mark.requirement("R19")
def test_cldice_by_hand() -> None:
    long, short = tube(), tube()
    short[12:] = False
    thin = centreline_from_mask(long)
    assert cldice(long, long) == 1.0
    share = np.count_nonzero(thin & short) / np.count_nonzero(thin)  # sensitivity; precision is 1
    assert cldice(long, short) == pytest.approx(2 * share / (1 + share), abs=0.02)


@pytest.mark.requirement("R19")
def test_empty_masks_follow_the_stated_conventions() -> None:
    empty, full = np.zeros((24, 24, 12), bool), tube()
    both = compare_masks(empty, empty, SPACING)
    assert (both.dsc, both.cldice, both.nsd, both.hd95_um, both.masd_um, both.assd_um) == (1, 1, 1, 0, 0, 0)
    for pair in ((empty, full), (full, empty)):
        one = compare_masks(*pair, SPACING)
        assert (one.dsc, one.cldice, one.nsd) == (0, 0, 0)
        assert math.isnan(one.hd95_um)
        assert one.to_json()["masd_um"] is None


def test_disjoint_tubes_have_no_cldice() -> None:
    assert cldice(tube(y=6, radius=2), tube(y=18, radius=2)) == 0.0


@pytest.mark.parametrize("edge", [1, 2, 4, 6])
def test_a_cube_does_not_vanish_when_thinned(edge: int) -> None:
    cube = np.zeros((10, 10, 10), bool)
    cube[2 : 2 + edge, 2 : 2 + edge, 2 : 2 + edge] = True
    assert centreline_from_mask(cube).any()
    assert cldice(cube, cube) == 1.0


def test_betti_numbers_of_known_shapes() -> None:
    assert betti_numbers(torus()) == (1, 1, 0)
    shell = np.zeros((7, 7, 7), bool)
    shell[1:6, 1:6, 1:6] = True
    shell[3, 3, 3] = False
    assert betti_numbers(shell) == (1, 0, 1)
    two = np.zeros((9, 9, 9), bool)
    two[1:3, 1:3, 1:3] = two[6:8, 6:8, 6:8] = True
    assert betti_numbers(two) == (2, 0, 0)
    diagonal = np.eye(3, dtype=bool)[:, :, None] & np.ones((1, 1, 1), bool)
    assert betti_numbers(diagonal) == (1, 0, 0)
    assert betti_numbers(np.zeros((3, 3, 3), bool)) == (0, 0, 0)


def test_betti_errors_are_differences() -> None:
    broken = torus()
    broken[:, 10:15] &= np.arange(25)[:, None, None] < 12
    scores = compare_masks(torus(), broken, (1, 1, 1))
    assert (scores.b0_error, scores.b1_error) == (0, 1)


def test_masks_of_0_and_255_count_as_masks() -> None:
    a, b = blobs(3)
    assert dsc(a.astype(np.uint8) * 255, b) == dsc(a, b)


def test_label_maps_and_unequal_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="besides 0, it contains"):
        dsc(np.arange(8).reshape(2, 2, 2), np.zeros((2, 2, 2)))
    with pytest.raises(InputError, match="differ in shape"):
        dsc(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match="spacing"):
        surface_distances(tube(), tube(), (1, 1, 0), tolerance=1)
    with pytest.raises(InputError, match="tolerance"):
        surface_distances(tube(), tube(), (1, 1, 1), tolerance=-1)


def hollowed() -> dict[str, np.ndarray]:
    """A straight vessel of 100 voxels, solid and with cavities of several sizes."""
    _, y, z = np.ogrid[:110, :25, :25]
    solid = np.broadcast_to((y - 12) ** 2 + (z - 12) ** 2 <= 64, (110, 25, 25)).copy()
    solid[:5] = solid[-5:] = False
    masks = {name: solid.copy() for name in ("one voxel", "canal", "lumen")}
    masks["one voxel"][50, 12, 12] = False
    masks["canal"][10:100, 12, 12] = False
    masks["lumen"][10:100] &= ~np.broadcast_to((y[0] - 12) ** 2 + (z[0] - 12) ** 2 <= 36, (90, 25, 25))
    return {"solid": solid, **masks}


@pytest.mark.requirement("R19")
def test_a_cavity_makes_a_vessel_neither_longer_nor_thinner() -> None:
    masks = hollowed()
    solid = measure_vessels(masks["solid"], (1000.0, 1000.0, 1000.0))
    assert 80 < solid.length_mm < 110
    for name, mask in masks.items():
        found = measure_vessels(mask, (1000.0, 1000.0, 1000.0))
        assert found.length_mm == solid.length_mm, name
        assert found.mean_diameter_mm == solid.mean_diameter_mm
        assert found.volume_mm3 == mask.sum()
        assert cldice(mask, mask) == cldice(masks["solid"], mask) == 1.0
        capillaries, *larger = length_by_calibre(mask, masks["solid"], (1.0, 1.0, 1.0))
        assert capillaries.reference_um == 0
        assert sum(scores.reference_um for scores in larger) == pytest.approx(solid.length_mm)
        branches = skeleton_graph(mask, (1.0, 1.0, 1.0), longest_um=1000.0).branches
        assert sum(branch.length_um for branch in branches) == pytest.approx(solid.length_mm, rel=0.05)


def test_fill_cavities__fills_what_is_enclosed_and_no_loop() -> None:
    ring = torus()
    assert fill_cavities(ring) is ring
    shell = np.ones((5, 5, 5), bool)
    shell[2, 2, 2] = False
    assert fill_cavities(shell).all()
    open_ = shell.copy()
    open_[2, 2, :3] = False  # a way out
    assert np.array_equal(fill_cavities(open_), open_)


def test_the_tolerance_is_the_largest_edge_of_a_voxel() -> None:
    reference = np.zeros((12, 12, 8), bool)
    reference[2:10, 4:8, 2:4] = True
    scores = compare_masks(reference, np.roll(reference, 1, axis=2), (1.0, 2.0, 5.0))
    assert scores.tolerance_um == 5.0
    assert scores.nsd == 1.0
    assert compare_masks(reference, np.roll(reference, 1, axis=2), (1.0, 2.0, 5.0), tolerance_um=2.0).nsd < 1.0


@pytest.mark.parametrize("axis", range(3))
def test_the_width_of_a_vessel_is_measured_in_um_along_each_axis(axis: int) -> None:
    spacing_um = np.array([1.0, 4.0, 10.0])
    tube = np.zeros((25, 25, 25), bool)
    tube[tuple(slice(None) if a == axis else slice(10, 15) for a in range(3))] = True  # five voxels wide
    narrowest_um = 2 * 3 * np.delete(spacing_um, axis).min()  # from the middle to the centre of the third voxel beyond, twice
    x, y, z = spacing_um.tolist()
    assert measure_vessels(tube, (x, y, z)).mean_diameter_mm * 1000 == pytest.approx(narrowest_um, rel=0.1)
    wanted = next(name for name, upper in CLASSES_UM.items() if narrowest_um <= upper)
    lengths = {scores.calibre: scores.reference_um for scores in length_by_calibre(tube, tube, (x, y, z))}
    assert lengths.pop(wanted) > 15 * spacing_um[axis]
    assert sum(lengths.values()) < 8 * spacing_um[axis]  # ends
