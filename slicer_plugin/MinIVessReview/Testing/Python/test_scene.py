"""The mask in the scene: drawn in, put back, laid anew, written; the scene saved and loaded again. Both handednesses."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import slicer
from MinIVessReviewLib.mask_scene import MaskScene
from MinIVessReviewLib.views import Views
from test_views import volume

SHAPE = 20, 16, 10
BOX = [4, 12, 3, 9, 2, 7]


@pytest.fixture(params=["right-handed", "left-handed", "oblique"])
def affine(request: pytest.FixtureRequest) -> np.ndarray:
    if request.param == "oblique":
        turn = np.deg2rad(20)
        matrix = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        found = np.eye(4)
        found[:3, :3] = matrix @ np.array([[0, -1.0, 0], [1.0, 0, 0], [0, 0, -5.0]])
        found[:3, 3] = 7, -3, 11
        return found
    return np.diag([1.0, 1.0, 5.0 if request.param == "right-handed" else -5.0, 1.0])


@pytest.fixture
def mask() -> np.ndarray:
    return np.random.default_rng(1).random(SHAPE) < 0.3


@pytest.fixture
def scene(affine: np.ndarray, mask: np.ndarray, tmp_path: Path) -> MaskScene:
    image = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    found = MaskScene()
    found.load(
        "stack", volume(tmp_path / "i.nrrd", image, affine), volume(tmp_path / "m.nrrd", mask.astype(np.uint8), affine), affine
    )
    return found


def drawn(scene: MaskScene, mask: np.ndarray) -> None:
    array = np.ascontiguousarray(mask.transpose(2, 1, 0)).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, scene.segmentation, "vessel", scene.image)


def shown(scene: MaskScene) -> np.ndarray:
    return scene.mask().transpose(2, 1, 0)


def test_what_is_drawn_is_taken_inside_and_put_back_outside(scene: MaskScene, mask: np.ndarray) -> None:
    assert not scene.drawn
    assert scene.take_stroke(BOX) is None
    drawn(scene, ~mask)
    assert scene.drawn
    i, j, k = slice(4, 12), slice(3, 9), slice(2, 7)
    stroke = scene.take_stroke(BOX)
    np.testing.assert_array_equal(stroke, ~mask[i, j, k])
    wanted = mask.copy()
    wanted[i, j, k] = ~mask[i, j, k]
    np.testing.assert_array_equal(shown(scene), wanted)
    assert not scene.drawn
    drawn(scene, mask)
    scene.discard_drawing()
    np.testing.assert_array_equal(shown(scene), wanted)


def test_an_answer_of_the_server_does_not_wipe_off_what_is_being_drawn(scene: MaskScene, mask: np.ndarray) -> None:
    being_drawn = mask.copy()
    being_drawn[5, 4, 3] ^= True
    drawn(scene, being_drawn)
    told = mask[4:12, 3:9, 2:7].copy()
    told[3, 3, 3] ^= True
    scene.apply(BOX, told)
    wanted = being_drawn.copy()
    wanted[7, 6, 5] ^= True
    np.testing.assert_array_equal(shown(scene), wanted)
    stroke = scene.take_stroke(BOX)
    np.testing.assert_array_equal(stroke, wanted[4:12, 3:9, 2:7])


def test_a_mask_that_is_read_again_does_not_remove_what_is_being_drawn(scene: MaskScene, mask: np.ndarray) -> None:
    being_drawn = mask.copy()
    being_drawn[5, 4, 3] ^= True
    drawn(scene, being_drawn)
    read = mask.copy()
    read[7, 6, 5] ^= True
    scene.replace(np.ascontiguousarray(read.transpose(2, 1, 0)))
    wanted = read.copy()
    wanted[5, 4, 3] ^= True
    np.testing.assert_array_equal(shown(scene), wanted)
    np.testing.assert_array_equal(scene.stored.transpose(2, 1, 0), read)
    np.testing.assert_array_equal(scene.take_stroke(BOX), wanted[4:12, 3:9, 2:7])


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("um", 0.001)])
def test_the_label_is_written_on_the_voxels_of_the_image_in_mm(
    scene: MaskScene, mask: np.ndarray, affine: np.ndarray, tmp_path: Path, unit: str, scale: float
) -> None:
    scene.save_label(tmp_path / "label.nii.gz", unit)
    written = nibabel.load(tmp_path / "label.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), mask)
    wanted = affine.copy()
    wanted[:3] *= scale
    np.testing.assert_allclose(written.affine, wanted, atol=1e-6)


def test_a_scene_that_is_saved_and_loaded_again_holds_the_same_mask_in_space(
    scene: MaskScene, mask: np.ndarray, affine: np.ndarray, tmp_path: Path
) -> None:
    views = Views(scene)
    views.go({"box": BOX})
    views.show_uncertainty(volume(tmp_path / "h.nrrd", np.full(SHAPE, 0.4, np.float32), affine), affine)
    for node, name in (
        (scene.image, "image.nrrd"),
        (scene.segmentation, "vessels.seg.nrrd"),
        (views.uncertainty, "uncertainty.nrrd"),
    ):
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(tmp_path / name))
        assert node.GetStorageNode().WriteData(node)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Connect()
    image = slicer.util.getNode("stack")
    array = slicer.util.arrayFromSegmentBinaryLabelmap(slicer.util.getNode("stack vessels"), "vessel", image) > 0
    k, j, i = np.nonzero(array)
    found = slicer.util.arrayFromVTKMatrix(matrix_of(image)) @ np.stack([i, j, k, np.ones_like(i)])
    wanted = affine @ np.stack([*np.nonzero(mask), np.ones(mask.sum())])
    order = [np.lexsort(np.round(points[:3], 3)) for points in (found, wanted)]
    np.testing.assert_allclose(found[:, order[0]], wanted[:, order[1]], atol=1e-3)
    assert slicer.util.getNode("MinIVess uncertainty") is not None, "the colours are saved with it"
    assert not slicer.util.getNodes("Vessel in the region"), "made for each region"


def matrix_of(node: object) -> object:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
