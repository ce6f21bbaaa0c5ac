"""What is drawn: numbers first, then one picture of each feature (kept where MINIVESS_PICTURES says)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from MinIVessReviewLib.mask_scene import MaskScene
from MinIVessReviewLib.views import Views

SHAPE = 96, 80, 24
BOX = [50, 70, 20, 50, 8, 16]


def volume(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write a volume (i, j, k) as NRRD through Slicer, its K axis not flipped."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array.transpose(2, 1, 0)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    slicer.mrmlScene.RemoveNode(node)
    return path


@pytest.fixture(params=[1.0, -1.0], ids=["right-handed", "left-handed"])
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    return np.diag([1.0, 1.0, 5.0 * request.param, 1.0])


@pytest.fixture
def views(affine: np.ndarray, tmp_path: Path) -> Views:
    rng = np.random.default_rng(0)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    tube = np.hypot(y - 40 - 12 * np.sin(x / 14), 3.0 * (z - 12)) < 5
    image = (60 * tube + rng.normal(40, 8, SHAPE)).clip(0, 255).astype(np.uint8)
    heat = (0.65 * np.exp(-(((x - 60) / 9.0) ** 2) - ((y - 34) / 14.0) ** 2) * np.ones(SHAPE)).astype(np.float32)
    files = [volume(tmp_path / f"{n}.nrrd", a, affine) for n, a in (("i", image), ("m", tube.astype(np.uint8)), ("h", heat))]
    scene, found = MaskScene(), None
    scene.load("stack", files[0], files[1], affine)
    found = Views(scene)
    scene.restrict_drawing(BOX)
    found.go({"box": BOX})
    found.show_uncertainty(files[2], affine)
    return found


def picture(name: str) -> dict[str, np.ndarray]:
    layout = slicer.app.layoutManager()
    if os.environ.get("MINIVESS_PICTURES"):
        layout.save(Path(os.environ["MINIVESS_PICTURES"]) / f"{name}.png")
    shown = {view: layout.sliceWidget(view).picture() for view in layout.sliceViewNames()}
    return {**shown, "3D": layout.threeDWidget(0).threeDView().picture()}


def test_the_greys_are_those_of_the_region_until_the_user_changes_them(views: Views) -> None:
    array = slicer.util.arrayFromVolume(views.scene.image)
    display = views.scene.image.GetDisplayNode()
    bright = display.GetWindowLevelMax()
    assert 90 < bright < 130  # of the vessel, above the background's 40
    array[:4] //= 4  # the first slices are dim
    dim = [50, 70, 20, 50, 0, 4]
    views.go({"box": dim})
    assert display.GetWindowLevelMax() < bright / 2
    views.go({"box": BOX})
    assert display.GetWindowLevelMax() == pytest.approx(bright)
    display.SetWindowLevelMinMax(10, 20)
    views.go({"box": dim})
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (10, 20)


def test_all_views_are_centered_on_the_region_and_show_it(views: Views, affine: np.ndarray) -> None:
    views.hide_uncertainty()
    middle = (affine @ [59.5, 34.5, 11.5, 1])[:3]
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        np.testing.assert_allclose(matrix[:3, 3], middle, atol=1e-6)
        assert node.GetFieldOfView()[0] == pytest.approx(3 * 40)
    assert views.scene.voxel_of(middle) in [(i, j, k) for i in (59, 60) for j in (34, 35) for k in (11, 12)]
    assert views.scene.voxel_of((-5, 0, 0)) is None
    camera = slicer.util.getNodesByClass("vtkMRMLCameraNode")[0]
    np.testing.assert_allclose(camera.GetFocalPoint(), middle)
    shown = picture("region")
    for image in shown.values():
        yellow = (image[..., 0] > 180) & (image[..., 1] > 140) & (image[..., 2] < 140)
        assert yellow.sum() > 50, "the frame is drawn"


def test_the_vessel_around_the_region_is_shown_in_3d_where_it_is(views: Views, affine: np.ndarray) -> None:
    ends = []
    for node in (views.surface, views.around):
        points = slicer.util.arrayFromModelPoints(node)
        i, j, k = (np.linalg.inv(affine) @ np.c_[points, np.ones(len(points))].T)[:3]
        ends += [i.min(), i.max()]
        middle = np.abs(i - 60)
        far = np.hypot(j - 40 - 12 * np.sin(i / 14), 3.0 * (k - 12))
        on_side = (middle > 12) & (middle < 27) if node is views.around else middle < 7
        assert np.abs(far - 5)[on_side].max() < 2.5, "on the surface of the tube"
    np.testing.assert_allclose(ends, [49.5, 69.5, 29.5, 89.5], atol=1.0)
    drawn = picture("region-in-3d")["3D"]
    red = (drawn[..., 0] > 120) & (drawn[..., 1] < 110) & (drawn[..., 2] < 110)
    assert red.mean() > 0.01
    views.scene.apply(BOX, np.zeros((20, 30, 8), bool))
    views.show_surface()
    assert views.surface.GetPolyData().GetNumberOfPoints() == 0
    assert views.around.GetPolyData().GetNumberOfPoints() > 0


def test_uncertainty_is_shown_where_it_is_with_a_legend_and_can_be_hidden(views: Views) -> None:
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetForegroundVolumeID() == views.uncertainty.GetID()
    display = views.uncertainty.GetDisplayNode()
    assert (display.GetApplyThreshold(), display.GetLowerThreshold()) == (1, pytest.approx(0.2))
    with_uncertainty = picture("uncertainty")["Red"]
    views.hide_uncertainty()
    assert not views.uncertainty_shown
    without = picture("region-alone")["Red"]
    changed = np.abs(with_uncertainty.astype(int) - without).max(-1) > 20
    assert 0.02 < changed.mean() < 0.6, "a spot, not everything"
    legend = changed[:, -60:]
    assert 0.05 < legend.mean() < 0.9, "a bar and its numbers at the right edge"


def test_the_map_shows_the_whole_image_and_every_region_by_its_state(views: Views) -> None:
    views.hide_uncertainty()
    before = {n: (n.GetFieldOfView(), n.GetSliceOffset()) for n in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    array = slicer.util.arrayFromVolume(views.scene.image)
    array[22:, 70:76, 4:10] = 255  # far from the region, in the last slices only
    views.scene.image.Modified()
    boxes = {
        "pending": [0, 10, 0, 10, 0, 4],
        "accepted": [80, 96, 60, 80, 20, 24],
        "skipped": [0, 10, 60, 80, 0, 8],
        "leased": BOX,
    }
    items = [{"id": state, "state": state, "box": box} for state, box in boxes.items()]
    views.overview.show(items, items[-1])
    shown = picture("map")["Red"].astype(int)
    red, green, blue = shown[..., 0], shown[..., 1], shown[..., 2]
    colored = {
        "pending": (red > 180) & (green > 140) & (blue < 140),
        "accepted": (green > red + 40) & (green > blue + 40),
        "current": (red > green + 80) & (blue > green + 80),
    }
    for state, pixels in colored.items():
        assert pixels.sum() > 10, state
    labels = [n.GetNthControlPointLabel(0) for n in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")]
    assert sorted(labels) == ["1", "2", "3", "4"]
    assert (shown.min(-1) > 230).sum() > 20, "the bright corner of another slice is projected"
    views.overview.hide()
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    for node, (field_of_view, offset) in before.items():
        assert not node.GetSlabReconstructionEnabled()
        np.testing.assert_allclose(node.GetFieldOfView(), field_of_view)
        assert node.GetSliceOffset() == pytest.approx(offset)
    views.overview.show(items, None)
    views.go({"box": BOX})
    assert not views.overview.shown, "the next region is shown in slices"
