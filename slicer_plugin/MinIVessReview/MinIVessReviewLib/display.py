"""What the module shows in its panel. It decides nothing; `session`, `review` and the others call it."""

import slicer
from slicer.i18n import tr as _

from .mask_scene import REGION, VESSEL
from .table import QueueTable
from .translations import kind_text

# Buttons that need an open image on a server with a queue, and those that need an open image only.
WITH_QUEUE = ("next", "accept", "skip", "undo", "redo", "uncertainty", "next_error", "overview", "note")
WITH_IMAGE = ("mask", "correct", "erase", "submit", "compare")


class Display:
    """Fills the widgets of the panel; `clicks` are the clicks for a tool, which end when another region is shown."""

    def __init__(self, ui, clicks, tools):
        self.ui, self.clicks, self.tools = ui, clicks, tools
        self.table, self.editor_node = QueueTable(ui.queue), None
        self._notes, self._noted = {}, ""  # by region; the region that the note in the field is for

    def message(self, text, bad=False):
        """Show a message in the panel, red if it is `bad`; no window pops up."""
        self.ui.message.setText(text)
        self.ui.message.setStyleSheet("color: #b00020" if bad else "")

    def connected(self, server):
        """Show what a server offers."""
        self.ui.image.clear()
        self.ui.image.addItems(server.images)
        self.message(_("Connected: {count} images.").format(count=len(server.images)))

    def ask_for_token(self):
        """Request a new token: the one in the panel is not valid."""
        slicer.app.userSettings().setValue("MinIVessReview/token", "")
        self.ui.serverSection.collapsed = False
        self.ui.token.clear()
        self.ui.token.setFocus()

    def image(self, image, server):
        """Show which image is open, or that none is; buttons for what the server does not offer are disabled."""
        queue = bool(image.name) and server.has_queue
        for name in WITH_QUEUE:
            getattr(self.ui, name).setEnabled(queue)
        for name in WITH_IMAGE:
            getattr(self.ui, name).setEnabled(bool(image.name))
        for tool in self.tools:
            getattr(self.ui, f"tool_{tool}").setEnabled(queue and tool in server.clicks)
        self.queue([], None)
        if image.name:
            self.ui.image.setCurrentText(image.name)
            self._edit(image.scene, queue)

    def _edit(self, scene, in_region):
        """Allow the Segment Editor to draw in the mask: in the region only, or everywhere."""
        self.ui.editor.setSegmentationNode(scene.segmentation)
        self.ui.editor.setSourceVolumeNode(scene.image)
        self.ui.editor.setCurrentSegmentID(VESSEL)
        modes = slicer.vtkMRMLSegmentationNode
        self.editor_node.SetMaskMode(modes.EditAllowedInsideSingleSegment if in_region else modes.EditAllowedEverywhere)
        self.editor_node.SetMaskSegmentID(REGION if in_region else "")
        self.editor_node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteNone)

    def region(self, item):
        """Show kind and reason of a region."""
        self.clicks.stop()
        self._notes[self._noted] = self.note
        self._noted = item["id"] if item else ""
        self.note = self._notes.get(self._noted, "")
        self.ui.region.setText(f"{kind_text(item['kind'])}: {item['reason']}" if item else "")

    @property
    def note(self):
        """What the user has written for the others; it goes with the answer to the region."""
        return self.ui.note.text.strip()

    @note.setter
    def note(self, text):
        self.ui.note.setText(text)

    def queue(self, items, current):
        """Show the queue, and select the region with the id `current`."""
        self.table.fill(items, current)

    def progress(self, progress):
        """Show how far the review is."""
        text = _("{done} of {count} regions, about {share} % of the image's expected errors handled (the queue holds {queue} %)")
        low, high = progress["seconds_left_range"]
        if high >= 90:
            left = _("{low} to {high} min left").format(low=max(1, round(low / 60)), high=round(high / 60))
        else:
            left = _("{low} to {high} s left").format(low=round(low), high=round(high))
        shares = {name: round(100 * progress[f"errors_{key}"]) for name, key in (("share", "handled"), ("queue", "in_queue"))}
        words = text.format(done=progress["answered"], count=progress["places"], **shares)
        self.ui.progress.setText(f"{words}, {left}" if progress["answered"] < progress["places"] else words)

    def share(self, share):
        """Show how far the model is with an image, from 0 to 1."""
        self.ui.share.setVisible(True)
        self.ui.share.setValue(round(100 * share))

    def busy(self, busy):
        """Show whether a task is running."""
        self.ui.cancel.setEnabled(busy)
        if not busy:
            self.ui.share.setVisible(False)

    def training(self, text, share):
        """Show how far a training is, from 0 to 1."""
        self.ui.train.setText(_("Stop training"))
        self.ui.trainingShare.setVisible(True)
        self.ui.trainingShare.setValue(round(100 * share))
        self.ui.trainingMessage.setText(text)

    def trained(self, text):
        """Show the result of a training."""
        self.ui.train.setText(_("Train"))
        self.ui.trainingShare.setVisible(False)
        self.ui.trainingMessage.setText(text)
