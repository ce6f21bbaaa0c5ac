"""An image under review and its mask in the scene. MRML only; no HTTP, no Qt.

The scene uses the image's own unit: for a stack in micrometres, 1 mm in Slicer is 1 um, since Slicer's views and brushes are made
for body sizes. Voxels are those of the server, also for left-handed images, which Slicer would flip.
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from .voxels import inside, shape_of

VESSEL, REGION, OLD = "vessel", "region", "before training"


class MaskScene:
    """The nodes of one image under review.

    `stored` is the mask as the server or the outbox has it, (k, j, i) bool; what the user has drawn since is in the segmentation
    only, and pending.
    """

    def __init__(self):
        self.image = self.segmentation = self.stored = self._region = None
        self._stored_time = -1

    # ---- loading ----------------------------------------------------------------------------------------------------------

    def load(self, name, volume, mask, affine=None):
        """Show an image and its mask. `affine` maps voxels to RAS in the scene's unit; default: the file's own."""
        self.clear()
        self.image = read_volume(volume, name, affine)
        self.stored = read_mask(mask, affine)
        if self.stored.shape != slicer.util.arrayFromVolume(self.image).shape:
            raise ValueError(_("The mask of {name} has another shape than its image. Open the image again.").format(name=name))
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} vessels")
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.image)
        for segment, color in ((VESSEL, (0.9, 0.28, 0.3)), (REGION, (1.0, 0.82, 0.4))):
            self.segmentation.GetSegmentation().AddEmptySegment(segment, segment, color)
        display = self.segmentation.GetDisplayNode()
        display.SetSegmentVisibility(REGION, False)
        display.SetAllSegmentsVisibility2DFill(False)
        display.SetSegmentVisibility2DFill(VESSEL, True)
        display.SetOpacity2DFill(0.25)
        self._write(VESSEL, self._whole(), self.stored)
        slicer.util.setSliceViewerLayers(background=self.image, foreground=None, label=None, fit=True)
        self.mark_stored()

    def clear(self):
        """Remove all own nodes from the scene."""
        remove(self.segmentation, self.image)
        self.forget()

    def forget(self):
        """Forget all nodes, for example after the scene was closed."""
        self.image = self.segmentation = self.stored = self._region = None

    # ---- the mask ---------------------------------------------------------------------------------------------------------

    @property
    def drawn(self):
        """Whether the user has drawn since the mask was last marked as stored."""
        return self.segmentation is not None and self._modified_time() != self._stored_time

    def mask(self):
        """Return the mask with what is drawn now, (k, j, i) bool."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, VESSEL, self.image) > 0

    def take_stroke(self, box, locked=()):
        """Return the voxels of a box, (i, j, k) bool, if the user has drawn in it; else None.

        They are stored from then on. What was drawn outside the box, or in locked boxes, is discarded.
        """
        if not self.drawn:
            return None
        now = self.mask()
        for other in locked:
            now[inside(other)] = self.stored[inside(other)]
        window = inside(box)
        changed = (now[window] != self.stored[window]).any()
        drawn = now[window].copy()
        self.discard_drawing()
        self.apply(box, drawn.transpose(2, 1, 0))
        return drawn.transpose(2, 1, 0) if changed else None

    def discard_drawing(self):
        """Remove what was drawn since the mask was last marked as stored."""
        self._write(VESSEL, self._whole(), self.stored)
        self.mark_stored()

    def apply(self, box, voxels):
        """Set the voxels of a box, (i, j, k) bool. What the user is drawing there meanwhile stays."""
        pending, window, shown = self.drawn, inside(box), voxels.transpose(2, 1, 0)
        if pending:
            now = self.mask()[window]
            shown = np.where(now != self.stored[window], now, shown)
        self.stored[window] = voxels.transpose(2, 1, 0)
        self._write(VESSEL, box, shown)
        self.mark_stored(pending)

    def replace(self, mask):
        """Set the whole mask, (k, j, i) bool. What the user is drawing meanwhile stays."""
        self.apply(self._whole(), mask.transpose(2, 1, 0))

    def restrict_drawing(self, box):
        """Restrict the Segment Editor to this box."""
        pending = self.drawn
        if self._region:
            self._write(REGION, self._region, None)
        self._region = box
        self._write(REGION, box, np.ones(shape_of(box)[::-1], bool))
        self.mark_stored(pending)

    def mark_stored(self, pending=False):
        """Mark what is drawn now as stored, unless something drawn before is still pending."""
        self._stored_time = -1 if pending else self._modified_time()

    def save_label(self, path, unit="mm"):
        """Write the mask as a label file in mm, on the image's grid."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "minivess label")
        try:
            slicer.util.updateVolumeFromArray(node, self.mask().astype(np.uint8))
            matrix = self.ijk_to_ras()
            if unit == "um":
                matrix[:3] *= 0.001
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
            write_volume(node, path)
        finally:
            remove(node)

    def compare(self, old):
        """Outline an older mask, (k, j, i) bool. Return the Dice coefficient of both masks and how many voxels differ."""
        pending, segments = self.drawn, self.segmentation.GetSegmentation()
        if segments.GetSegment(OLD) is None:
            segments.AddEmptySegment(OLD, OLD, (0.3, 0.6, 1.0))
        self._write(OLD, self._whole(), old)
        self.segmentation.GetDisplayNode().SetSegmentVisibility2DFill(OLD, False)
        self.mark_stored(pending)
        both, total = (old & self.stored).sum(), old.sum() + self.stored.sum()
        return float(2 * both / total) if total else 1.0, int((old != self.stored).sum())

    @property
    def mask_visible(self):
        """Whether the mask is shown."""
        return self.segmentation is not None and bool(self.segmentation.GetDisplayNode().GetVisibility())

    @mask_visible.setter
    def mask_visible(self, visible):
        self.segmentation.GetDisplayNode().SetVisibility(visible)

    def voxel_of(self, ras):
        """Return the voxel (i, j, k) at a point of the scene; None outside the image."""
        i, j, k = (int(v) for v in np.round((np.linalg.inv(self.ijk_to_ras()) @ [*ras, 1.0])[:3]))
        depth, height, width = self.stored.shape
        return (i, j, k) if 0 <= i < width and 0 <= j < height and 0 <= k < depth else None

    def ijk_to_ras(self):
        """Return the matrix from voxels to the scene, 4 x 4."""
        matrix = vtk.vtkMatrix4x4()
        self.image.GetIJKToRASMatrix(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix)

    def _whole(self):
        depth, height, width = self.stored.shape
        return 0, width, 0, height, 0, depth

    def _write(self, segment, box, voxels):
        """Set the voxels (k, j, i) of a segment in a box; None empties the box."""
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        extent = (box[0], box[1] - 1, box[2], box[3] - 1, box[4], box[5] - 1)
        image = self._image(extent, 0 if voxels is None else voxels)
        for mode in (logic.MODE_MERGE_MAX, logic.MODE_MERGE_MIN):  # add the voxels, then remove all others
            logic.SetBinaryLabelmapToSegment(image, self.segmentation, segment, mode, extent)

    def _image(self, extent, values):
        image = slicer.vtkOrientedImageData()
        image.SetExtent(*extent)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = np.ravel(values)
        image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(self.ijk_to_ras()))
        return image

    def _modified_time(self):
        labelmap = self.segmentation.GetBinaryLabelmapInternalRepresentation(VESSEL)
        return labelmap.GetMTime() if labelmap else 0


def write_volume(node, path):
    """Write a volume to a file."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(_("{path} could not be written. Is the disk full?").format(path=path))


def read_mask(path, affine=None):
    """Read a mask, (k, j, i) bool, without a node in the scene."""
    node = read_volume(path, "mask", affine, labelmap=True)
    try:
        return slicer.util.arrayFromVolume(node) > 0
    finally:
        remove(node)


def remove(*nodes):
    """Remove nodes with their display and storage nodes from the scene, if they are still there."""
    for node in nodes:
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            continue
        parts = []
        for kind in ("Display", "Storage"):
            count = getattr(node, f"GetNumberOf{kind}Nodes", lambda: 0)()
            parts += [getattr(node, f"GetNth{kind}Node")(number) for number in range(count)]
        for part in parts:
            if hasattr(part, "SetVisibility"):
                part.SetVisibility(False)
        for part in (node, *parts):
            if part is not None and slicer.mrmlScene.IsNodePresent(part):
                slicer.mrmlScene.RemoveNode(part)


def read_volume(path, name, affine=None, labelmap=False):
    """Read a volume with its voxels in the order of the file. Slicer's own reader would flip a left-handed one."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode" if labelmap else "vtkMRMLScalarVolumeNode", name)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetForceRightHandedIJKCoordinateSystem(False)
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        raise OSError(_("The file that the server sent for {name} could not be read. Open the image again.").format(name=name))
    if affine is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(affine, float)))
    if not labelmap:
        node.CreateDefaultDisplayNodes()
    return node
