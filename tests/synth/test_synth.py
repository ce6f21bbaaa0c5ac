from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.metrics import betti_numbers
from minivess.synth import KINDS, make_sample
from minivess.synth.graph import VesselGraph
from minivess.synth.mesh import capillary_mesh
from minivess.synth.raster import rasterise
from minivess.synth.tree import TreeStyle, grow_tree, murray_children

SMALL = {
    "capillary": (160, 160, 16),
    "large": (160, 160, 16),
    "tof": (96, 96, 64),
    "randomised": (96, 96, 12),
    "cta": (96, 96, 64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_voxels_and_others_do_not(kind: str) -> None:
    a, b, c = (make_sample(kind, seed, shape=SMALL[kind]) for seed in (3, 3, 4))
    assert np.array_equal(a.image.array, b.image.array)
    assert np.array_equal(a.graph.points, b.graph.points)
    assert not np.array_equal(a.image.array, c.image.array)


@pytest.mark.parametrize("seed", range(4))
def test_capillaries_fill_3_to_4_percent_and_large_vessels_10_to_40(seed: int) -> None:
    assert 0.028 <= make_sample("capillary", seed, shape=(256, 256, 20)).mask.array.mean() <= 0.042
    assert 0.10 <= make_sample("large", seed, shape=(256, 256, 20)).mask.array.mean() <= 0.40


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_agrees_with_itself(kind: str) -> None:
    sample = make_sample(kind, 1, shape=SMALL[kind])
    mask, line, radius = sample.mask.array > 0, sample.centreline.array > 0, sample.radius.array
    assert not (line & ~mask).any()
    assert np.array_equal(radius > 0, line)
    assert radius.max() == pytest.approx(sample.graph.radius.max(), rel=0.01)
    box = np.array(sample.image.shape) * sample.image.spacing
    assert (sample.graph.points >= 0).all()
    assert (sample.graph.points <= box).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_ct_angiogram_is_in_hounsfield_units_and_bone_is_as_bright_as_vessels(seed: int) -> None:
    sample = make_sample("cta", seed, shape=(96, 96, 64))
    image, vessel = sample.image.array, sample.mask.array > 0
    assert image.dtype == np.int16
    assert -1024 <= image.min() < -20
    assert image.max() > 500
    assert 120 < np.median(image[vessel]) < 500
    assert 0 < np.median(image[~vessel & (np.abs(image) < 150)]) < 80, "soft tissue"
    assert ((image > np.median(image[vessel])) & ~vessel).any(), "no threshold finds the vessels alone"


def test_a_capillary_bed_has_loops_and_few_components() -> None:
    sample = make_sample("capillary", 2, shape=(256, 256, 20))
    components, loops = sample.graph.betti
    assert components <= 8
    assert loops >= 10
    assert betti_numbers(sample.mask.array)[1] >= 5


def test_vessels_are_brighter_than_what_is_around() -> None:
    sample = make_sample("capillary", 5, shape=(160, 160, 16))
    inside = sample.mask.array > 0
    assert np.median(sample.image.array[inside]) > 3 * np.median(sample.image.array[~inside])


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_obeys_murray_and_has_no_loop(seed: int) -> None:
    box = np.array([300.0, 300.0, 120.0])
    tree = grow_tree(np.random.default_rng(seed), box, 12.0, TreeStyle(min_radius=3.0))
    assert tree.betti == (1, 0)
    assert (tree.points >= 0).all()
    assert (tree.points <= box).all()
    radius = np.array([tree.radius[tree.branch == b][-1] for b in range(len(tree.parent))])
    for branch in range(len(tree.parent)):
        children = radius[tree.parent == branch]
        assert (children**3).sum() <= radius[branch] ** 3 * (1 + 1e-9)
        if len(children) == 2:
            assert (children**3).sum() == pytest.approx(radius[branch] ** 3)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 1.0])
def test_murrays_law(ratio: float) -> None:
    thick, thin = murray_children(7.0, ratio)
    assert thick**3 + thin**3 == pytest.approx(343.0)
    assert thin / thick == pytest.approx(ratio)


def test_a_straight_tube_is_drawn_as_wide_as_it_is() -> None:
    points = np.array([[5.0, 20.0, 25.0], [35.0, 20.0, 25.0]])
    graph = VesselGraph(points, np.full(2, 6.0), np.array([[0, 1]]), np.zeros(2, int), np.array([-1]))
    drawn = rasterise(graph, (80, 80, 10), (0.5, 0.5, 5.0))
    y, z = np.meshgrid((np.arange(80) + 0.5) * 0.5, (np.arange(10) + 0.5) * 5.0, indexing="ij")
    expected = (y - 20.0) ** 2 + (z - 25.0) ** 2 <= 36.0
    assert np.array_equal(drawn.mask[40], expected)
    assert drawn.centreline.sum() >= 60


def test_a_capillary_between_two_slices_is_not_lost() -> None:
    points = np.array([[2.0, 10.0, 10.0], [18.0, 10.0, 10.0]])  # on the border of slices 1 and 2
    graph = VesselGraph(points, np.full(2, 1.0), np.array([[0, 1]]), np.zeros(2, int), np.array([-1]))
    drawn = rasterise(graph, (20, 20, 4), (1.0, 1.0, 5.0))
    assert drawn.mask.any(axis=(1, 2))[3:17].all()


@pytest.mark.parametrize(
    ("kind", "seed", "shape"), [("vein", 0, None), ("capillary", -1, None), ("capillary", 0, (512, 512, 4)), ("tof", 0, (9, 9))]
)
def test_what_cannot_be_made_is_refused(kind: str, seed: int, shape: tuple[int, ...] | None) -> None:
    with pytest.raises(InputError):
        make_sample(kind, seed, shape=shape)  # type: ignore[arg-type]


def test_the_light_of_a_segment_is_that_segments_alone() -> None:
    mesh = capillary_mesh(
        np.random.default_rng(0), np.array([120.0, 120.0, 60.0]), junction_distance=35.0, radius=(2.0, 3.0), tortuosity=0.1
    )
    for bright in (0, 3):
        light = np.ones(len(mesh.parent))
        light[bright] = 5.0
        drawn = rasterise(mesh, (120, 120, 60), (1.0, 1.0, 1.0), brightness=light).brightness
        assert betti_numbers(drawn > 4)[0] == 1


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="spacing"):
        make_sample("capillary", 0, shape=(16, 16, 8), spacing=spacing)  # type: ignore[arg-type]
