"""The whole image at once: its projection in the slice views, all regions on it, coloured by state. MRML only; no HTTP, no Qt."""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

#: Colours of the points by the state of their regions; the current region is pending or reserved, too.
OPEN, DONE, SKIPPED, CURRENT = (1.0, 0.82, 0.4), (0.4, 0.8, 0.45), (0.6, 0.6, 0.6), (0.95, 0.3, 0.9)
COLORS = {"accepted": DONE, "fixed": DONE, "skipped": SKIPPED, "obsolete": SKIPPED}
POINT_SIZE = 2.5  # percent of a view's size


class Overview:
    """A point for each region, and the brightest voxel along each line of sight, as long as it is shown."""

    def __init__(self, scene):
        self.scene = scene
        self.forget()

    def forget(self):
        """Forget all nodes, for example after the scene was closed."""
        self.points, self._views = {}, {}

    @property
    def shown(self):
        """Whether the overview is in the views."""
        return bool(self._views)

    def show(self, items, current):
        """Show the whole image, and the regions with their ranks; `current` is the one that waits for an answer, or None."""
        self.hide()
        chosen = current["id"] if current else ""
        for rank, item in enumerate(items, 1):
            color = CURRENT if item["id"] == chosen else COLORS.get(item["state"], OPEN)
            centre = (np.array(item["box"][::2]) + item["box"][1::2]) / 2 - 0.5
            self._points_of(color).AddControlPointWorld(*(self.scene.ijk_to_ras() @ [*centre, 1.0])[:3], str(rank))
        for node in self.points.values():
            node.SetLocked(True)
        extent = self._extent()
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._views[node] = node.GetFieldOfView(), node.GetSliceOffset()
            node.SetSlabReconstructionType(vtk.VTK_IMAGE_SLAB_MAX)
            node.SetSlabReconstructionThickness(2 * extent)
            node.SetSlabReconstructionEnabled(True)
        slicer.util.resetSliceViews()

    def hide(self):
        """Return to single slices, as they were before."""
        for node, (field_of_view, offset) in self._views.items():
            node.SetSlabReconstructionEnabled(False)
            node.SetFieldOfView(*field_of_view)
            node.SetSliceOffset(offset)
        for node in self.points.values():
            slicer.mrmlScene.RemoveNode(node)
        self.forget()

    def _extent(self):
        """Return the length of the image's diagonal: a slab of it around any slice holds every voxel."""
        bounds = np.zeros(6)
        self.scene.image.GetRASBounds(bounds)
        return float(np.linalg.norm(bounds[1::2] - bounds[::2]))

    def _points_of(self, color):
        if color not in self.points:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("Regions"))
            node.CreateDefaultDisplayNodes()
            node.SetSaveWithScene(False)
            display = node.GetDisplayNode()
            display.SetSelectedColor(*color)
            display.SetColor(*color)
            display.SetUseGlyphScale(True)
            display.SetGlyphScale(POINT_SIZE)
            display.SetTextScale(POINT_SIZE)
            display.SetSliceProjection(True)  # also where the region lies in another slice
            display.SetSliceProjectionUseFiducialColor(True)
            display.SetSliceProjectionOpacity(1.0)
            self.points[color] = node
        return self.points[color]
