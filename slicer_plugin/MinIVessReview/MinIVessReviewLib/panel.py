"""The panel: buttons, keys, the queue's table, and words. It decides nothing; `review` does."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .review import CLICKS, Review
from .worker import Worker

KEYS = {"N": "next", "A": "accept", "X": "fix", "K": "skip", "U": "undo", "O": "heat"}
COLUMNS = ("#", "Kind", "Why", "Errors", "State")
EDITOR_TAG = "MinIVessReviewEditor"


@parameterNodeWrapper
class Parameters:
    """What is kept with the scene; never the token."""

    opacity: float = 0.5
    threshold: float = 0.2


class MinIVessReviewWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of the module."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.ui = self.review = self.parameters = self._link = self._tool = self._clicks = None
        self._shortcuts = []

    def setup(self):
        """Build the panel; nothing is sent anywhere."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MinIVessReview.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ScriptedLoadableModuleLogic(None)
        self.logic.moduleName = self.moduleName
        folder = Path(slicer.app.slicerUserSettingsFilePath).parent / "MinIVessReview"
        self.worker = Worker()
        self.worker.onBusy = self._busy
        self.review = Review(self.worker, self, folder)
        self.ui.url.setText(self._setting("url", "http://127.0.0.1:8000"))
        self.ui.token.setText(self._setting("token", ""))
        for name in ("connect", "open", "next", "accept", "fix", "skip", "undo", "redo", "heat", "submit", "train", "cancel"):
            getattr(self.ui, name).connect("clicked()", getattr(self, f"on_{name}"))
        for tool in CLICKS:
            getattr(self.ui, f"tool_{tool}").connect("clicked()", lambda tool=tool: self.on_tool(tool))
        self.ui.queue.setColumnCount(len(COLUMNS))
        self.ui.queue.setHorizontalHeaderLabels([_(name) for name in COLUMNS])
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_closing)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self._link_parameters()
        self._set_up_editor()
        self.case("")

    def cleanup(self):
        """The module goes away."""
        self.exit()
        self._unlink_parameters()
        self.removeObservers()
        self.worker.stop()
        self.review.close()

    def enter(self):
        """The module is in front: its keys work."""
        if self._shortcuts:
            return
        window = slicer.util.mainWindow() or self.parent
        for key, name in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", getattr(self, f"on_{name}"))
            self._shortcuts.append(shortcut)
        self.ui.editor.installKeyboardShortcuts()

    def exit(self):
        """Another module is in front: its keys are its own."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []
        self._stop_clicks()
        self.ui.editor.setActiveEffectByName("")
        self.ui.editor.uninstallKeyboardShortcuts()

    # ---- buttons ----------------------------------------------------------------------------------------------------------

    def on_connect(self):
        """Only here a server is asked for the first time; address and token are remembered."""
        url, token = self.ui.url.text.strip(), self.ui.token.text.strip()
        slicer.app.userSettings().setValue("MinIVessReview/url", url)
        slicer.app.userSettings().setValue("MinIVessReview/token", token if self.ui.remember.checked else "")
        self.review.connect(url, token)

    def on_open(self):
        """Open the image that is chosen."""
        if self.review.client and self.ui.image.currentText:
            then = self.review.next if self.review.server["review"] else None
            self.review.open(self.ui.image.currentText, then=then)

    def on_next(self):
        """Go to the next place."""
        if self.review.client:
            self.review.next()

    def on_accept(self):
        """This place is right as it is drawn now."""
        self._leave_editor()
        self.review.accept()

    def on_fix(self):
        """Draw in this place."""
        if self.review.place:
            self.ui.editor.setActiveEffectByName("Paint")
            self.message(_("Draw in the frame; only there something changes. Then press A."))

    def on_skip(self):
        """Leave this place to somebody else."""
        self._leave_editor()
        self.review.skip()

    def on_undo(self):
        """Take back the last thing that was done."""
        self.review.undo()

    def on_redo(self):
        """Do it again."""
        if self.review.image:
            self.review.redo()

    def on_heat(self):
        """Show or hide the model's doubt."""
        if self.review.image:
            self.review.heat(self.parameters.opacity, self.parameters.threshold)

    def on_submit(self):
        """Send the mask as the label."""
        if self.review.image:
            self._leave_editor()
            self.review.submit()

    def on_train(self):
        """Train on what was reviewed."""
        if self.review.client:
            self.review.train()

    def on_cancel(self):
        """Wait no longer."""
        self.worker.cancel()
        self.message(_("Cancelled. What was sent already may still arrive."))

    def on_tool(self, tool):
        """Take clicks in the views for a tool: as many as it wants, until another is chosen."""
        self._stop_clicks()
        if not self.review.place:
            return
        self._leave_editor()
        self._tool = tool
        self._clicks = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("Clicks"))
        self._clicks.CreateDefaultDisplayNodes()
        self._clicks.SetSaveWithScene(False)
        self.addObserver(self._clicks, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self.on_click)
        logic = slicer.modules.markups.logic()
        logic.SetActiveListID(self._clicks)
        logic.StartPlaceMode(1)
        self.message(_("Click on both ends.") if CLICKS[tool] == 2 else _("Click on the place."))

    def on_click(self, node, _event):
        """Somebody has clicked in a view."""
        last = node.GetNumberOfDefinedControlPoints() - 1
        if last >= 0:
            self.review.click(self._tool, node.GetNthControlPointPositionWorld(last))
        if last + 1 >= CLICKS[self._tool]:
            node.RemoveAllControlPoints()

    # ---- the scene --------------------------------------------------------------------------------------------------------

    def on_scene_closing(self, _caller, _event):
        """Let go of the nodes before they go."""
        self._stop_clicks()
        self._unlink_parameters()

    def on_scene_closed(self, _caller, _event):
        """Start anew in the empty scene."""
        self.review.scene_closed()
        self._link_parameters()
        self._set_up_editor()

    def _link_parameters(self):
        self.parameters = Parameters(self.logic.getParameterNode())
        self._link = self.parameters.connectGui(self.ui)

    def _unlink_parameters(self):
        if self._link is not None:
            self.parameters.disconnectGui(self._link)
            self._link = None

    def _set_up_editor(self):
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_TAG)
            node = slicer.mrmlScene.AddNode(node)
        self.editor_node = node
        self.ui.editor.setMRMLSegmentEditorNode(node)
        self.ui.editor.setMaximumNumberOfUndoStates(10)

    def _leave_editor(self):
        self.ui.editor.setActiveEffectByName("")

    def _stop_clicks(self):
        if self._clicks is not None:
            self.removeObserver(self._clicks, slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent, self.on_click)
            slicer.mrmlScene.RemoveNode(self._clicks)
        self._clicks = self._tool = None

    # ---- what `review` says -----------------------------------------------------------------------------------------------

    def message(self, text, bad=False):
        """Say something in the panel; no window pops up."""
        self.ui.message.setText(text)
        self.ui.message.setStyleSheet("color: #b00020" if bad else "")

    def connected(self, server):
        """Show what a server has."""
        self.ui.image.clear()
        self.ui.image.addItems(server["images"])
        self.message(_("Connected: {count} images.").format(count=len(server["images"])))

    def case(self, image):
        """Show which image is open, or that none is."""
        for name in ("next", "accept", "fix", "skip", "undo", "redo", "heat", "submit", *(f"tool_{t}" for t in CLICKS)):
            getattr(self.ui, name).setEnabled(bool(image))
        if image:
            scene = self.review.scene
            self.ui.editor.setSegmentationNode(scene.segmentation)
            self.ui.editor.setSourceVolumeNode(scene.image)
            self.ui.editor.setCurrentSegmentID("vessel")
            self.editor_node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
            self.editor_node.SetMaskSegmentID("place")
            self.editor_node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)

    def place(self, place):
        """Show which place is looked at."""
        self._stop_clicks()
        self.ui.place.setText(f"{place['kind']}: {place['reason']}" if place else "")

    def queue(self, places, current):
        """Fill the table."""
        self.ui.queue.setRowCount(len(places))
        for row, place in enumerate(places):
            texts = (str(row + 1), place["kind"], place["reason"], f"{place['expected_errors']:.1f}", place["state"])
            for column, text in enumerate(texts):
                self.ui.queue.setItem(row, column, qt.QTableWidgetItem(text))
            if place["id"] == current:
                self.ui.queue.selectRow(row)

    def progress(self, progress):
        """Show how far the review is."""
        left = progress["seconds_left"]
        text = _("{done} of {places} places, about {share} % of the expected errors handled, {left} left")
        words = _("{count} min").format(count=round(left / 60)) if left >= 90 else _("{count} s").format(count=round(left))
        share = round(100 * progress["errors_handled"])
        self.ui.progress.setText(text.format(done=progress["answered"], places=progress["places"], share=share, left=words))

    def _busy(self, busy):
        self.ui.cancel.setEnabled(busy)

    def _setting(self, name, default):
        return slicer.app.userSettings().value(f"MinIVessReview/{name}", default) or default
