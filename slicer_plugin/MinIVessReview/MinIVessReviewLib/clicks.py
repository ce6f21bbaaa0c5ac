"""Clicks in the views for a tool, as points that are removed as soon as they are reported."""

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin


class Clicks(VTKObservationMixin):
    """Takes clicks for one tool until it is stopped."""

    def __init__(self):
        VTKObservationMixin.__init__(self)
        self.points, self.tool, self._needed, self._on_click = None, "", 0, None

    def start(self, tool, needed, on_click):
        """Start placing points with the mouse; `on_click(tool, ras)` is called for each; `needed` points are then removed."""
        self.stop()
        self.tool, self._needed, self._on_click = tool, needed, on_click
        self.points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("Clicks"))
        self.points.CreateDefaultDisplayNodes()
        self.points.SetSaveWithScene(False)
        self.addObserver(self.points, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self._on_point)
        logic = slicer.modules.markups.logic()
        logic.SetActiveListID(self.points)
        logic.StartPlaceMode(1)

    def stop(self):
        """Return the mouse to navigation."""
        if self.points is None:
            return
        self.removeObservers()
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if interaction:
            interaction.SwitchToViewTransformMode()
        slicer.mrmlScene.RemoveNode(self.points)
        self.points, self.tool, self._on_click = None, "", None

    def _on_point(self, node, _event):
        last = node.GetNumberOfDefinedControlPoints() - 1
        if last >= 0:
            self._on_click(self.tool, node.GetNthControlPointPositionWorld(last))
        if last + 1 >= self._needed:
            qt.QTimer.singleShot(0, self._remove_points)  # not while the node reports them

    def _remove_points(self):
        if self.points is not None:
            self.points.RemoveAllControlPoints()
