"""What is drawn: numbers first, then one picture of each feature (kept where MINIVESS_PICTURES says)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from MinIVessReviewLib.scene import Scene

SHAPE = 96, 80, 24


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
def scene(affine: np.ndarray, tmp_path: Path) -> Scene:
    rng = np.random.default_rng(0)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    tube = np.hypot(y - 40 - 12 * np.sin(x / 14), 3.0 * (z - 12)) < 5
    image = (60 * tube + rng.normal(40, 8, SHAPE)).clip(0, 255).astype(np.uint8)
    heat = np.where(np.abs(x - 60) < 8, 0.6, 0.05).astype(np.float32) * np.ones(SHAPE, np.float32)
    files = [volume(tmp_path / f"{n}.nrrd", a, affine) for n, a in (("i", image), ("m", tube.astype(np.uint8)), ("h", heat))]
    found = Scene()
    found.load("stack", files[0], files[1], affine)
    found.show_place({"box": [50, 70, 20, 50, 8, 16]})
    found.show_heat(files[2], affine)
    return found


def picture(name: str) -> dict[str, np.ndarray]:
    layout = slicer.app.layoutManager()
    if os.environ.get("MINIVESS_PICTURES"):
        layout.save(Path(os.environ["MINIVESS_PICTURES"]) / f"{name}.png")
    return {view: layout.sliceWidget(view).picture() for view in layout.sliceViewNames()}


def test_all_views_stand_at_the_place_and_show_it(scene: Scene, affine: np.ndarray) -> None:
    middle = (affine @ [59.5, 34.5, 11.5, 1])[:3]
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        np.testing.assert_allclose(matrix[:3, 3], middle, atol=1e-6)
        assert node.GetFieldOfView()[0] == pytest.approx(3 * 40)
    assert scene.voxel_of(middle) in [(i, j, k) for i in (59, 60) for j in (34, 35) for k in (11, 12)]
    assert scene.voxel_of((-5, 0, 0)) is None
    shown = picture("place")
    for image in shown.values():
        yellow = (image[..., 0] > 180) & (image[..., 1] > 140) & (image[..., 2] < 140)
        assert yellow.sum() > 50, "the frame is drawn"


def test_doubt_is_seen_where_it_is_and_can_be_hidden(scene: Scene) -> None:
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetForegroundVolumeID() == scene.heat.GetID()
    display = scene.heat.GetDisplayNode()
    assert (display.GetApplyThreshold(), display.GetLowerThreshold()) == (1, pytest.approx(0.2))
    with_doubt = picture("doubt")["Red"]
    scene.hide_heat()
    assert not scene.heat_shown
    without = picture("place-alone")["Red"]
    changed = (np.abs(with_doubt.astype(int) - without).max(-1) > 20).mean()
    assert 0.02 < changed < 0.6, "a band, not everything"
