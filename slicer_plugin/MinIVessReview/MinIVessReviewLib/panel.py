"""The panel: buttons, keys, the queue's table, and words. It decides nothing; `review` does."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .clicks import Clicks
from .mending import CLICKS
from .review import Review
from .table import QueueTable, kind_of
from .worker import Worker

KEYS = {"N": "next", "A": "accept", "F": "fix", "S": "skip", "U": "undo", "O": "heat"}  # as on the page
BUTTONS = (
    "connect", "add", "open", "open_next", "next", "accept", "fix", "skip", "undo", "redo", "heat", "submit", "compare", "train",
    "cancel",
)  # fmt: skip
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
        self.logic = self.ui = self.review = self.parameters = self.table = self.clicks = self._link = None
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
        self.worker, self.aside = Worker(), Worker()
        self.worker.onBusy = self._busy
        self.review = Review(self.worker, self.aside, self, folder)
        self.ui.url.setText(self._setting("url", "http://127.0.0.1:8000"))
        self.ui.token.setText(self._setting("token", ""))
        self.ui.remember.setChecked(bool(self.ui.token.text))
        for name in BUTTONS:
            getattr(self.ui, name).connect("clicked()", getattr(self, f"on_{name}"))
        for tool in CLICKS:
            getattr(self.ui, f"tool_{tool}").connect("clicked()", lambda tool=tool: self.on_tool(tool))
        self.table = QueueTable(self.ui.queue, self.on_choose)
        self.clicks = Clicks(self.review.mending.click)
        for name in ("opacity", "threshold"):
            getattr(self.ui, name).connect("valueChanged(double)", self.on_heat_look)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_closing)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self._link_parameters()
        self._set_up_editor()
        self.case("")

    def cleanup(self):
        """The module goes away."""
        self.exit()
        self.review.keep()
        self._unlink_parameters()
        self.removeObservers()
        self.worker.stop()
        self.aside.stop()
        self.review.case.close()
        self.review.show = self.review.training.show = self.review.mending = self.review.labels = (
            None  # no circle: a thread's garbage collector must not meet Qt
        )

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
        self.clicks.stop()
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
        if not self.review.errands:
            self.message(_("Connect to a server first."), True)
        elif self.ui.image.currentText:
            then = self.review.next if self.review.has_queue else None
            self.review.open(self.ui.image.currentText, then=then)

    def on_add(self):
        """Send the volume that is in the views; only on this click does an image leave this computer."""
        volume = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetBackgroundVolumeID()
        if not self.review.errands:
            self.message(_("Connect to a server first."), True)
        elif not volume or slicer.mrmlScene.GetNodeByID(volume) is self.review.case.scene.image:
            self.message(_("Load a volume of your own first: what is in the views is none, or is the server's already."), True)
        else:
            self.review.labels.add(slicer.mrmlScene.GetNodeByID(volume))

    def on_open_next(self):
        """Open the image that is worth it most."""
        if self.review.errands:
            self.review.open_next()
        else:
            self.message(_("Connect to a server first."), True)

    def on_next(self):
        """Go to the next place."""
        self._leave_editor()
        self.review.next()

    def on_choose(self, place):
        """Go to a place of the table."""
        self._leave_editor()
        self.review.choose(place)

    def on_accept(self):
        """This place is right as it is drawn now."""
        self._leave_editor()
        self.review.accept()

    def on_fix(self):
        """Draw in this place."""
        if self.review.place:
            self.ui.editor.setActiveEffectByName("Paint")
            self.message(_("Draw in the frame; only there something changes. Then press A."))
        elif self.review.case.name and not self.review.has_queue:
            self.ui.editor.setActiveEffectByName("Paint")
            self.message(_("Draw where it is wrong. Then submit."))
        else:
            self.message(_("Ask for a place first (N)."), True)

    def on_skip(self):
        """Leave this place as it is."""
        self._leave_editor()
        self.review.skip()

    def on_undo(self):
        """Take back the last thing that was done."""
        self.review.mending.undo()

    def on_redo(self):
        """Do it again."""
        self.review.mending.redo()

    def on_heat(self):
        """Show or hide the model's doubt."""
        if self.review.case.views.heat_shown:
            self.review.case.views.hide_heat()
        else:
            self.review.case.show_heat(self.ui.opacity.value, self.ui.threshold.value)

    def on_heat_look(self, _value):
        """A slider of the doubt was moved."""
        if self.review.case.views.heat_shown:
            self.review.case.show_heat(self.ui.opacity.value, self.ui.threshold.value)

    def on_submit(self):
        """Send the mask as the label."""
        if self.review.case.name:
            self._leave_editor()
            self.review.labels.submit()

    def on_train(self):
        """Train on what was reviewed; or stop the training that is followed."""
        if self.review.training.running:
            self.review.training.stop()
        elif self.review.errands:
            self.review.training.start(self.review.errands)

    def on_compare(self):
        """See what the newest model makes of this image."""
        if self.review.case.name:
            self.review.labels.compare()

    def on_cancel(self):
        """Wait no longer."""
        self.review.cancel()
        self.message(_("Cancelled. What was sent already may still arrive."))

    def on_tool(self, tool):
        """Take clicks in the views for a tool: as many as it wants, until another is chosen."""
        self.clicks.stop()
        if self.review.place:
            self._leave_editor()
            self.clicks.start(tool, CLICKS[tool])
            self.message(_("Click on both ends.") if CLICKS[tool] == 2 else _("Click on the place."))

    # ---- the scene --------------------------------------------------------------------------------------------------------

    def on_scene_closing(self, _caller, _event):
        """Let go of the nodes before they go."""
        self.clicks.stop()
        words = self.review.keep()
        if words:
            self.message(words)
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
        queued = bool(image) and self.review.has_queue
        for name in ("next", "accept", "skip", "undo", "redo", "heat", *(f"tool_{tool}" for tool in CLICKS)):
            getattr(self.ui, name).setEnabled(queued)
        for name in ("fix", "submit", "compare"):
            getattr(self.ui, name).setEnabled(bool(image))
        self.queue([], None)
        if image:
            scene = self.review.case.scene
            self.ui.image.setCurrentText(image)
            self.ui.editor.setSegmentationNode(scene.segmentation)
            self.ui.editor.setSourceVolumeNode(scene.image)
            self.ui.editor.setCurrentSegmentID("vessel")
            inside = slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment
            self.editor_node.SetMaskMode(inside if queued else slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
            self.editor_node.SetMaskSegmentID("place" if queued else "")
            self.editor_node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)

    def place(self, place):
        """Show which place is looked at."""
        self.clicks.stop()
        self.ui.place.setText(f"{kind_of(place)}: {place['reason']}" if place else "")

    def queue(self, places, current):
        """Show the queue."""
        self.table.fill(places, current)

    def progress(self, progress):
        """Show how far the review is."""
        left = progress["seconds_left"]
        text = _("{done} of {places} places, about {share} % of the expected errors handled, {left} left")
        words = _("{count} min").format(count=round(left / 60)) if left >= 90 else _("{count} s").format(count=round(left))
        share = round(100 * progress["errors_handled"])
        self.ui.progress.setText(text.format(done=progress["answered"], places=progress["places"], share=share, left=words))

    def share(self, share):
        """Show how far the model is with an image."""
        self.ui.share.setVisible(True)
        self.ui.share.setValue(round(100 * share))

    def training(self, words, share):
        """Show how far a training is."""
        self.ui.train.setText(_("Stop training"))
        self.ui.trainingShare.setVisible(True)
        self.ui.trainingShare.setValue(round(100 * share))
        self.ui.trainingMessage.setText(words)

    def trained(self, words):
        """Show what came of a training."""
        self.ui.train.setText(_("Train"))
        self.ui.trainingShare.setVisible(False)
        self.ui.trainingMessage.setText(words)

    def _busy(self, busy):
        self.ui.cancel.setEnabled(busy)
        if not busy:
            self.ui.share.setVisible(False)

    def _setting(self, name, default):
        return slicer.app.userSettings().value(f"MinIVessReview/{name}", default) or default
