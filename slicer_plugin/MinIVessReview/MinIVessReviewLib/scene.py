"""What is reviewed: an image and its mask in the scene. MRML only; no HTTP, no Qt.

The scene counts in the image's own unit: of a stack in micrometres, 1 mm in Slicer is 1 um, so that Slicer's views and brushes,
which are made for bodies, work. Voxels are those of the server, also of left-handed images, which Slicer would flip.
"""

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from .voxels import inside, shape_of

VESSEL, PLACE, OLD = "vessel", "place", "before training"


class Scene:
    """The nodes of one image under review."""

    def __init__(self):
        self.image = self.segmentation = self.held = self._framed = None
        self._seen = -1

    # ---- loading ----------------------------------------------------------------------------------------------------------

    def load(self, name, volume, mask, affine=None):
        """Show an image and its mask; `affine` takes voxels to RAS in the unit of the scene, the file's own unless given."""
        self.clear()
        self.image = read_volume(volume, name, affine)
        self.held = read_mask(mask, affine)
        if self.held.shape != slicer.util.arrayFromVolume(self.image).shape:
            raise ValueError(_("The mask of {name} does not have the voxels of its image.").format(name=name))
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} vessels")
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.image)
        for segment, color in ((VESSEL, (0.9, 0.28, 0.3)), (PLACE, (1.0, 0.82, 0.4))):
            self.segmentation.GetSegmentation().AddEmptySegment(segment, segment, color)
        display = self.segmentation.GetDisplayNode()
        display.SetSegmentVisibility(PLACE, False)
        display.SetAllSegmentsVisibility2DFill(False)
        display.SetSegmentVisibility2DFill(VESSEL, True)
        display.SetOpacity2DFill(0.25)
        self._write(VESSEL, self._whole(), self.held)
        slicer.util.setSliceViewerLayers(background=self.image, foreground=None, label=None, fit=True)
        self.settle()

    def clear(self):
        """Take everything out of the scene that was put there."""
        remove(self.segmentation, self.image)
        self.forget()

    def forget(self):
        """Know of no node any more, as after the scene was closed."""
        self.image = self.segmentation = self.held = self._framed = None

    # ---- the mask ---------------------------------------------------------------------------------------------------------

    @property
    def drawn(self):
        """Whether somebody has drawn since the mask was last settled."""
        return self.segmentation is not None and self._stamp() != self._seen

    def mask(self):
        """Give what is drawn now, (k, j, i) bool."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, VESSEL, self.image) > 0

    def strokes(self, box, locked=()):
        """Give what a box holds if it was drawn in, (i, j, k) bool, else None.

        What was drawn outside it, or in boxes that are locked, is put back.
        """
        if not self.drawn:
            return None
        now = self.mask()
        for other in locked:
            now[inside(other)] = self.held[inside(other)]
        window = inside(box)
        changed = (now[window] != self.held[window]).any()
        drawn = now[window].copy()
        self.put_back()
        self.apply(box, drawn.transpose(2, 1, 0))
        return drawn.transpose(2, 1, 0) if changed else None

    def put_back(self):
        """Undo what was drawn since the mask was last settled."""
        self._write(VESSEL, self._whole(), self.held)
        self.settle()

    def apply(self, box, voxels):
        """Make a box hold voxels, (i, j, k) bool; what somebody is drawing there meanwhile stays."""
        pending, window, shown = self.drawn, inside(box), voxels.transpose(2, 1, 0)
        if pending:
            now = self.mask()[window]
            shown = np.where(now != self.held[window], now, shown)
        self.held[window] = voxels.transpose(2, 1, 0)
        self._write(VESSEL, box, shown)
        self.settle(pending)

    def replace(self, mask):
        """Make the mask another one, (k, j, i) bool."""
        self.held = mask
        self.put_back()

    def only_inside(self, box):
        """Let the Segment Editor draw in this box alone."""
        pending = self.drawn
        if self._framed:
            self._write(PLACE, self._framed, None)
        self._framed = box
        self._write(PLACE, box, np.ones(shape_of(box)[::-1], bool))
        self.settle(pending)

    def settle(self, pending=False):
        """What is drawn now is what the server knows, unless something drawn before is still pending."""
        self._seen = -1 if pending else self._stamp()

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
        """Outline an older mask, (k, j, i) bool, beside the one of now; gives their Dice and how many voxels differ."""
        pending, segments = self.drawn, self.segmentation.GetSegmentation()
        if segments.GetSegment(OLD) is None:
            segments.AddEmptySegment(OLD, OLD, (0.3, 0.6, 1.0))
        self._write(OLD, self._whole(), old)
        self.segmentation.GetDisplayNode().SetSegmentVisibility2DFill(OLD, False)
        self.settle(pending)
        both, total = (old & self.held).sum(), old.sum() + self.held.sum()
        return float(2 * both / total) if total else 1.0, int((old != self.held).sum())

    def voxel_of(self, ras):
        """Give the voxel (i, j, k) at a point of the scene; None outside the image."""
        i, j, k = (int(v) for v in np.round((np.linalg.inv(self.ijk_to_ras()) @ [*ras, 1.0])[:3]))
        depth, height, width = self.held.shape
        return (i, j, k) if 0 <= i < width and 0 <= j < height and 0 <= k < depth else None

    # ---- inner ------------------------------------------------------------------------------------------------------------

    def ijk_to_ras(self):
        """Give the matrix from voxels to the scene, 4 x 4."""
        matrix = vtk.vtkMatrix4x4()
        self.image.GetIJKToRASMatrix(matrix)
        return slicer.util.arrayFromVTKMatrix(matrix)

    def _whole(self):
        depth, height, width = self.held.shape
        return 0, width, 0, height, 0, depth

    def _write(self, segment, box, voxels):
        """Replace what a segment holds in a box by voxels (k, j, i); None empties it."""
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        extent = (box[0], box[1] - 1, box[2], box[3] - 1, box[4], box[5] - 1)
        image = self._image(extent, 0 if voxels is None else voxels)
        for mode in (logic.MODE_MERGE_MAX, logic.MODE_MERGE_MIN):  # what is to be there, and nothing else
            logic.SetBinaryLabelmapToSegment(image, self.segmentation, segment, mode, extent)

    def _image(self, extent, values):
        image = slicer.vtkOrientedImageData()
        image.SetExtent(*extent)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        vtk_to_numpy(image.GetPointData().GetScalars())[:] = np.ravel(values)
        image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(self.ijk_to_ras()))
        return image

    def _stamp(self):
        labelmap = self.segmentation.GetBinaryLabelmapInternalRepresentation(VESSEL)
        return labelmap.GetMTime() if labelmap else 0


def write_volume(node, path):
    """Write a volume to a file."""
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        raise OSError(_("{path} could not be written. Is the disk full?").format(path=path))


def read_mask(path, affine=None):
    """Read a mask, (k, j, i) bool; no node is left in the scene."""
    node = read_volume(path, "mask", affine, labelmap=True)
    try:
        return slicer.util.arrayFromVolume(node) > 0
    finally:
        remove(node)


def remove(*nodes):
    """Take nodes out of the scene with what they are shown and stored by, if they are still there."""
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
    """Read a volume with its voxels in the order of the file; Slicer's own reader would flip left-handed ones."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode" if labelmap else "vtkMRMLScalarVolumeNode", name)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetForceRightHandedIJKCoordinateSystem(False)
    if not storage.ReadData(node):
        slicer.mrmlScene.RemoveNode(node)
        raise OSError(_("What the server sent for {name} could not be read.").format(name=name))
    if affine is not None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(affine, float)))
    if not labelmap:
        node.CreateDefaultDisplayNodes()
    return node
