"""Clicks in the views for a tool, as points that are forgotten as soon as they are told."""

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin


class Clicks(VTKObservationMixin):
    """Takes as many clicks as the tool wants, again and again, until it is stopped; `told(tool, ras)` hears of each."""

    def __init__(self, told):
        VTKObservationMixin.__init__(self)
        self.told, self.points, self.tool, self._wanted = told, None, "", 0

    def start(self, tool, wanted):
        """Let the mouse place points."""
        self.stop()
        self.tool, self._wanted = tool, wanted
        self.points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("Clicks"))
        self.points.CreateDefaultDisplayNodes()
        self.points.SetSaveWithScene(False)
        self.addObserver(self.points, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self._on_point)
        logic = slicer.modules.markups.logic()
        logic.SetActiveListID(self.points)
        logic.StartPlaceMode(1)

    def stop(self):
        """Give the mouse back."""
        if self.points is None:
            return
        self.removeObservers()
        interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if interaction:
            interaction.SwitchToViewTransformMode()
        slicer.mrmlScene.RemoveNode(self.points)
        self.points, self.tool = None, ""

    def _on_point(self, node, _event):
        last = node.GetNumberOfDefinedControlPoints() - 1
        if last >= 0:
            self.told(self.tool, node.GetNthControlPointPositionWorld(last))
        if last + 1 >= self._wanted:
            qt.QTimer.singleShot(0, self._forget)  # not while the node tells of them

    def _forget(self):
        if self.points is not None:
            self.points.RemoveAllControlPoints()
