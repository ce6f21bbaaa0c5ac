"""The views at a region: its frame, the vessel around it, the model's uncertainty. MRML only; no HTTP, no Qt."""

import contextlib
import itertools

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk

from .mask_scene import read_volume, remove
from .overview import Overview
from .voxels import grown, inside

UNCERTAINTY_NATS = 0.2, float(np.log(2))
#: Width of a slice view, and of the vessel in the 3-D view, as a multiple of the region's size.
SPREAD = 3.0
#: Percentiles of the image around a region that are black and white.
BLACK, WHITE = 2.0, 99.8
#: Where the 3-D camera looks from at first: right, front, above.
OBLIQUE = 0.4, 0.7, 0.9
YELLOW, RED, PALE = (1.0, 0.82, 0.4), (0.9, 0.28, 0.3), (0.95, 0.8, 0.8)


class Views:
    """Everything that is shown besides the image and the mask of a scene."""

    def __init__(self, scene):
        self.scene, self.overview = scene, Overview(scene)
        self.forget()

    def forget(self):
        """Forget all nodes, for example after the scene was closed."""
        self.frame = self.surface = self.around = self.uncertainty = self.colors = self.legend = self._box = None
        self._greys = None
        self.overview.forget()

    def clear(self):
        """Remove all own nodes from the scene."""
        self.overview.hide()
        remove(self.frame, self.surface, self.around, self.legend, self.uncertainty, self.colors)
        self.forget()

    # ---- a region ---------------------------------------------------------------------------------------------------------

    def go(self, item):
        """Frame a region, and centre all views on it; it fills a third of their width. The 3-D camera points at it."""
        self.overview.hide()
        first, self._box = self._box is None, item["box"]
        centre, axes, size = self._in_scene(self._box)
        self._show_frame(centre, axes, size)
        self.show_surface()
        self._show_greys()
        width = SPREAD * max(size)
        with contextlib.ExitStack() as changes:  # each view is told once
            for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
                changes.enter_context(slicer.util.NodeModify(node))
                x, y, z = node.GetFieldOfView()
                node.SetFieldOfView(width, width * y / x, z)
            _jump(item.get("centre_ras", centre))
        for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
            away = np.array(camera.GetPosition()) - camera.GetFocalPoint()
            if first:  # a stack is a slab: from the side it is a thin line
                away = np.array(OBLIQUE)
                camera.SetViewUp(0, 0, 1)
            away *= width / np.tan(np.deg2rad(camera.GetViewAngle() / 2)) / 2 / (np.linalg.norm(away) or 1.0)
            camera.SetFocalPoint(*centre)
            camera.SetPosition(*(centre + away))
            camera.ResetClippingRange()

    def look(self, voxel):
        """Show a voxel (i, j, k) in all slice views; their magnification stays."""
        _jump((self.scene.ijk_to_ras() @ [*voxel, 1.0])[:3])

    def _show_greys(self):
        """Show the image around the region from black to white: deep slices are dim. A contrast that the user has set stays."""
        display = self.scene.image.GetDisplayNode()
        if self._greys not in (None, _shown_greys(display)):
            return
        values = slicer.util.arrayFromVolume(self.scene.image)
        around = values[inside(grown(self._box, (SPREAD - 1) / 2, values.shape[::-1])[:4] + list(self._box[4:]))]
        low, high = np.percentile(around, (BLACK, WHITE))
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(low, max(high, low + 1e-6))
        self._greys = _shown_greys(display)

    def show_surface(self):
        """Show the vessel in the region and, pale, around it; the surface of a large stack would take seconds."""
        if self._box is None:
            return
        if self.surface is None:
            self.surface = _model(_("Vessel in the region"), RED, 1.0)
            self.around = _model(_("Vessel around the region"), PALE, 0.25)
        mask, matrix = self.scene.stored, self.scene.ijk_to_ras()
        window = grown(self._box, (SPREAD - 1) / 2, mask.shape[::-1])
        around = mask[inside(window)].copy()
        around[inside([edge - window[side - side % 2] for side, edge in enumerate(self._box)])] = False
        self.surface.SetAndObservePolyData(_surface(mask[inside(self._box)], self._box, matrix))
        self.around.SetAndObservePolyData(_surface(around, window, matrix))

    # ---- uncertainty ------------------------------------------------------------------------------------------------------

    def show_uncertainty(self, file, affine, opacity=0.5, threshold=UNCERTAINTY_NATS[0]):
        """Show the model's uncertainty over the image: entropy in nats, transparent below a threshold, with a legend."""
        if self.uncertainty is None:
            self.uncertainty = read_volume(file, _("Uncertainty (nats)"), affine)
            self.colors = uncertainty_colors()
            display = self.uncertainty.GetDisplayNode()
            display.SetAndObserveColorNodeID(self.colors.GetID())
            display.AutoWindowLevelOff()
            display.SetWindowLevelMinMax(*UNCERTAINTY_NATS)
            display.SetInterpolate(0)
            display.ApplyThresholdOn()
        self.uncertainty.GetDisplayNode().SetThreshold(threshold, 1e9)
        slicer.util.setSliceViewerLayers(foreground=self.uncertainty, foregroundOpacity=opacity)
        if self.legend is None:
            self.legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(self.uncertainty)
            self.legend.SetTitleText(_("Uncertainty (nats)"))
            self.legend.SetPosition(0.98, 0.5)
            self.legend.SetSize(0.14, 0.45)
        self.legend.SetVisibility(True)  # after the volume is in the views: it is not drawn before

    def hide_uncertainty(self):
        """Hide the uncertainty."""
        slicer.util.setSliceViewerLayers(foreground=None)
        if self.legend is not None:
            self.legend.SetVisibility(False)

    @property
    def uncertainty_shown(self):
        """Whether the uncertainty is in the views."""
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        return self.uncertainty is not None and any(c.GetForegroundVolumeID() == self.uncertainty.GetID() for c in composites)

    def _in_scene(self, box):
        """Return centre, axes (columns) and size of a box in RAS."""
        matrix = self.scene.ijk_to_ras()
        low, high = np.array(box[::2]) - 0.5, np.array(box[1::2]) - 0.5
        centre = (matrix @ [*((low + high) / 2), 1.0])[:3]
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        return centre, matrix[:3, :3] / spacing, (high - low) * spacing

    def _show_frame(self, centre, axes, size):
        if self.frame is None:
            self.frame = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", _("Region"))
            self.frame.CreateDefaultDisplayNodes()
            self.frame.SetLocked(True)
            display = self.frame.GetDisplayNode()
            display.SetHandlesInteractive(False)
            display.SetFillVisibility(False)
            display.SetPropertiesLabelVisibility(False)
            display.SetGlyphSize(0)
            display.SetUseGlyphScale(False)
            display.SetSelectedColor(*YELLOW)
            display.SetColor(*YELLOW)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = axes, centre
        if np.linalg.det(axes) < 0:
            pose[:3, 2] *= -1  # a frame looks the same from both sides; markups want right-handed axes
        with slicer.util.NodeModify(self.frame):
            self.frame.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(pose))
            self.frame.SetCenter(*centre)
            self.frame.SetSize(*size)


def _jump(ras):
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)
    crosshair = slicer.mrmlScene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if crosshair:
        crosshair.SetCrosshairRAS(*ras)


def _shown_greys(display):
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _model(name, color, opacity):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetSaveWithScene(False)
    node.GetDisplayNode().SetColor(*color)
    node.GetDisplayNode().SetOpacity(opacity)
    return node


def _surface(mask, box, ijk_to_ras):
    """Return the surface of a mask (k, j, i) that fills a box, in RAS."""
    if not mask.any():
        return vtk.vtkPolyData()
    padded = np.pad(mask, 1).astype(np.uint8)  # closed at the ends
    image = vtk.vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.SetOrigin(*(low - 1 for low in box[::2]))
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=True))
    edges, smooth = vtk.vtkFlyingEdges3D(), vtk.vtkWindowedSincPolyDataFilter()
    move, normals = vtk.vtkTransformPolyDataFilter(), vtk.vtkPolyDataNormals()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    smooth.SetNumberOfIterations(10)
    smooth.SetPassBand(0.1)
    transform = vtk.vtkTransform()
    transform.SetMatrix(ijk_to_ras.ravel())
    move.SetTransform(transform)
    normals.AutoOrientNormalsOn()
    for before, after in itertools.pairwise((edges, smooth, move, normals)):
        after.SetInputConnection(before.GetOutputPort())
    normals.Update()
    return normals.GetOutput()


def uncertainty_colors():
    """Return a colour node from dark purple to yellow."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLProceduralColorNode", "MinIVess uncertainty")
    node.SetAttribute("Category", "MinIVess")
    node.SetHideFromEditors(False)
    function = vtk.vtkDiscretizableColorTransferFunction()
    for value, color in ((0.0, (0.1, 0.0, 0.2)), (0.35, (0.6, 0.1, 0.5)), (0.55, (0.95, 0.5, 0.15)), (0.7, (1.0, 0.95, 0.4))):
        function.AddRGBPoint(value, *color)
    node.SetAndObserveColorTransferFunction(function)
    return node
