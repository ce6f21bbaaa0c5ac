"""Slicer's self test (Reload and Test): the scene alone, no server."""

import tempfile
from pathlib import Path

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from .mask_scene import MaskScene
from .views import Views


class MinIVessReviewTest(ScriptedLoadableModuleTest):
    """Loads a small image, frames a region, corrects it, writes the label."""

    def runTest(self):
        """Run the test."""
        slicer.mrmlScene.Clear(0)
        with tempfile.TemporaryDirectory() as folder:
            files = [self._volume(Path(folder) / f"{name}.nrrd", value) for name, value in (("image", 7), ("mask", 0))]
            scene = MaskScene()
            scene.load("self test", *files)
            Views(scene).go({"box": [2, 8, 2, 8, 1, 4]})
            scene.apply([2, 8, 2, 8, 1, 4], np.ones((6, 6, 3), bool))
            self.assertEqual(int(scene.mask().sum()), 108)
            scene.save_label(Path(folder) / "label.nii.gz")
            self.assertTrue((Path(folder) / "label.nii.gz").stat().st_size > 0)
        slicer.mrmlScene.Clear(0)

    def _volume(self, path, value):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        slicer.util.updateVolumeFromArray(node, np.full((6, 12, 14), value, np.uint8))
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(path))
        self.assertTrue(storage.WriteData(node))
        slicer.mrmlScene.RemoveNode(node)
        return path
