"""The panel: buttons, keys and scene events. `display` shows what happens."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from .clicks import Clicks
from .display import Display
from .draft_editing import DraftEditing, click_text
from .review import Review
from .session import Session
from .submission import Submission
from .suspected_errors import SuspectedErrors
from .training import Training
from .worker import Worker

# The button that each key presses, as on the page. Four keys of the page are left out:
# Q and W (box, whole vessel) choose the segment in the Segment Editor;
# Esc is the Segment Editor's own (no effect), and in Qt two shortcuts with one key block each other;
# X (cut) deletes the last point in the Segment Editor's Draw effect, and would here discard the outline.
# A closes an outline there, too, but so does Return. R, F and B of the slice views are on the view's menu and on the arrow keys;
# their T (foreground volume) has nothing to show here, and their G (visibility of segmentations) is M.
KEYS = {
    "A": "accept", "S": "skip", "N": "next", "U": "undo", "R": "redo", "O": "uncertainty", "M": "mask", "F": "correct",
    "E": "erase", "P": "tool_path", "C": "tool_connect", "D": "tool_remove", "K": "tool_specks",
    "B": "tool_grow", "T": "tool_smooth", "G": "next_error", "V": "overview",
}  # fmt: skip
BUTTONS = (
    "connect", "add_image", "open", "open_next", "next", "accept", "correct", "erase", "skip", "undo", "redo", "uncertainty",
    "next_error", "mask", "overview", "submit", "compare", "train", "cancel",
)  # fmt: skip
EDITOR_TAG = "MinIVessReviewEditor"


@parameterNodeWrapper
class Parameters:
    """What is stored in the scene; never the token."""

    opacity: float = 0.5
    threshold: float = 0.2


class MinIVessReviewWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of the module."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.ui = self.parameters = self._link = None
        self._shortcuts = []

    def setup(self):
        """Build the panel; no request is sent."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/MinIVessReview.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ScriptedLoadableModuleLogic(None)
        self.logic.moduleName = self.moduleName
        self._set_up_parts()
        self.ui.url.setText(self._setting("url", "http://127.0.0.1:8000"))
        self.ui.token.setText(self._setting("token", ""))
        self.ui.remember.setChecked(bool(self.ui.token.text))
        for name in BUTTONS:
            getattr(self.ui, name).connect("clicked()", getattr(self, f"on_{name}"))
        for tool in self.display.tools:
            getattr(self.ui, f"tool_{tool}").connect("clicked()", lambda tool=tool: self.on_tool(tool))
        self.ui.queue.connect("cellClicked(int,int)", self.on_row)
        for name in ("opacity", "threshold"):
            getattr(self.ui, name).connect("valueChanged(double)", self.on_uncertainty_slider)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_closing)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_closed)
        self._link_parameters()
        self._set_up_editor()
        self.display.image(self.session.image, None)

    def _set_up_parts(self):
        """Create the parts. None of them refers to the panel: the garbage collector of a thread must not meet Qt."""
        tools = [name.removeprefix("tool_") for name in vars(self.ui) if name.startswith("tool_")]
        self.clicks = Clicks()
        self.display = Display(self.ui, self.clicks, tools)
        self.worker, self.training_worker = Worker(), Worker()
        self.worker.onBusy = self.display.busy
        folder = Path(slicer.app.slicerUserSettingsFilePath).parent / "MinIVessReview"
        self.session = Session(self.worker, self.display, folder)
        self.review = Review(self.session)
        self.editing = DraftEditing(self.session, self.review)
        self.suspected = SuspectedErrors(self.session)
        self.submission = Submission(self.session, self.review)
        self.training = Training(self.training_worker, self.display)

    def cleanup(self):
        """Stop everything before the module is removed."""
        self.exit()
        self.session.store_drawing()
        self._unlink_parameters()
        self.removeObservers()
        self.worker.stop()
        self.training_worker.stop()
        self.session.image.close()

    def enter(self):
        """Install the keys when the module is opened."""
        if self._shortcuts:
            return
        window = slicer.util.mainWindow() or self.parent
        for key, name in KEYS.items():
            shortcut, button = qt.QShortcut(qt.QKeySequence(key), window), getattr(self.ui, name)
            shortcut.connect("activated()", lambda button=button: button.click())
            self._shortcuts.append(shortcut)
        self.ui.editor.installKeyboardShortcuts()

    def exit(self):
        """Remove the keys when another module is opened."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []
        self._leave_tools()
        self.ui.editor.uninstallKeyboardShortcuts()

    # ---- server and image -------------------------------------------------------------------------------------------------

    def on_connect(self):
        """Connect to the server; address and token are remembered. Nothing is sent to a server before."""
        url, token = self.ui.url.text.strip(), self.ui.token.text.strip()
        slicer.app.userSettings().setValue("MinIVessReview/url", url)
        slicer.app.userSettings().setValue("MinIVessReview/token", token if self.ui.remember.checked else "")
        self.session.connect(url, token)

    def on_open(self):
        """Open the image that is chosen."""
        if self._is_connected() and self.ui.image.currentText:
            self.review.open(self.ui.image.currentText)

    def on_open_next(self):
        """Open the image with the most expected errors."""
        if self._is_connected():
            self.review.open_next()

    def on_add_image(self):
        """Send the volume in the views to the server; no image leaves this computer otherwise."""
        if not self._is_connected():
            return
        volume = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0].GetBackgroundVolumeID()
        if not volume or slicer.mrmlScene.GetNodeByID(volume) is self.session.image.scene.image:
            self.display.message(_("Load a volume first: the views show none, or one that is on the server already."), True)
        else:
            self.submission.add_image(slicer.mrmlScene.GetNodeByID(volume))

    def _is_connected(self):
        if self.session.tasks is None:
            self.display.message(_("Connect to a server first."), True)
        return self.session.tasks is not None

    # ---- regions ----------------------------------------------------------------------------------------------------------

    def on_next(self):
        """Go to the next region."""
        self._leave_tools()
        self.review.next()

    def on_row(self, row, _column):
        """Go to a region of the table."""
        self._leave_tools()
        self.review.choose(self.display.table.items[row])

    def on_accept(self):
        """Accept the region as it is drawn now."""
        self._leave_tools()
        self.review.accept()

    def on_skip(self):
        """Skip the region."""
        self._leave_tools()
        self.review.skip()

    def on_correct(self):
        """Draw in the region with the Segment Editor."""
        self._draw("Paint")

    def on_erase(self):
        """Erase in the region with the Segment Editor."""
        self._draw("Erase")

    def _draw(self, effect):
        if self.session.has_queue and not self.session.image.item:
            self.display.message(_("Go to a region first (N)."), True)
            return
        self.clicks.stop()
        self.ui.editor.setActiveEffectByName(effect)
        if self.session.has_queue:
            self.display.message(_("Draw inside the yellow frame; voxels outside it do not change. Then accept (A)."))
        else:
            self.display.message(_("Correct the mask. Then submit."))

    def on_tool(self, tool):
        """Start a tool that is used by clicks in the views, again and again; pressing its button once more ends it."""
        chosen = self.clicks.tool
        self._leave_tools()
        if not self.session.image.item:
            self.display.message(_("Go to a region first (N)."), True)
        elif tool != chosen:
            self.session.image.clicks = []
            needed = self.session.tasks.server.clicks[tool]
            self.clicks.start(tool, needed, self.editing.click)
            self.display.message(click_text(tool, 1, needed))

    def _leave_tools(self):
        self.clicks.stop()
        self.ui.editor.setActiveEffectByName("")

    def on_undo(self):
        """Undo the last stroke, step or answer."""
        self.editing.undo()

    def on_redo(self):
        """Redo the step that was undone last."""
        self.editing.redo()

    # ---- views ------------------------------------------------------------------------------------------------------------

    def on_uncertainty(self):
        """Show or hide the model's uncertainty."""
        if self.session.image.views.uncertainty_shown:
            self.session.image.views.hide_uncertainty()
        else:
            self.session.image.show_uncertainty(self.ui.opacity.value, self.ui.threshold.value)

    def on_uncertainty_slider(self, _value):
        """Show the uncertainty as its sliders say."""
        if self.session.image.views.uncertainty_shown:
            self.session.image.show_uncertainty(self.ui.opacity.value, self.ui.threshold.value)

    def on_next_error(self):
        """Go to the next error that is suspected in the region."""
        self.suspected.next()

    def on_mask(self):
        """Show or hide the mask."""
        scene = self.session.image.scene
        scene.mask_visible = not scene.mask_visible

    def on_overview(self):
        """Show the whole image with all its regions, or the region again."""
        self.session.image.toggle_overview()

    # ---- label and model --------------------------------------------------------------------------------------------------

    def on_submit(self):
        """Submit the mask as the label."""
        self._leave_tools()
        self.submission.submit()

    def on_compare(self):
        """Compare the newest model with the mask."""
        self.submission.compare()

    def on_train(self):
        """Train on what was reviewed, or stop the training that is followed."""
        if self.training.running:
            self.training.stop()
        elif self._is_connected():
            self.training.start(self.session.tasks)

    def on_cancel(self):
        """Cancel all tasks."""
        self.session.cancel()

    # ---- the scene --------------------------------------------------------------------------------------------------------

    def on_scene_closing(self, _caller, _event):
        """Save what was drawn before its nodes are removed."""
        self.clicks.stop()
        self.session.store_drawing()
        self._unlink_parameters()

    def on_scene_closed(self, _caller, _event):
        """Start again in the empty scene."""
        self.session.scene_closed()
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
        self.display.editor_node = node
        self.ui.editor.setMRMLSegmentEditorNode(node)
        self.ui.editor.setMaximumNumberOfUndoStates(10)

    def _setting(self, name, default):
        return slicer.app.userSettings().value(f"MinIVessReview/{name}", default) or default
