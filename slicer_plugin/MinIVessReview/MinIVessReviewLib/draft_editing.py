"""Corrections on the server: tools that take clicks, undo and redo of the draft's steps and of answers."""

from functools import partial

from slicer.i18n import tr as _

from .client import ServerError
from .server_tasks import EntryRefusedError
from .translations import step_text
from .voxels import meets


class DraftEditing:
    """Changes the draft of the image that a session has open; `review` shows the region of an answer that was undone."""

    def __init__(self, session, review):
        self.session, self.review, self.image, self.show = session, review, session.image, session.show

    def click(self, tool, ras):
        """Add a click of a tool; when it has as many as it needs, the server carries it out."""
        image, session = self.image, self.session
        voxel = image.scene.voxel_of(ras) if image.name else None
        if not image.item or voxel is None:
            self.show.message(_("Go to a region first (N), and click inside the image."), True)
            return
        image.clicks.append(voxel)
        needed = session.tasks.server.clicks[tool]
        if len(image.clicks) < needed:
            self.show.message(click_text(tool, len(image.clicks) + 1, needed))
            return
        body, image.clicks = {"tool": tool, "points": image.clicks, "place": image.item["id"]}, []
        stroke = session.store_stroke()
        prompt = partial(session.tasks.prompt, image.name, stroke, body)
        session.with_current_masks(lambda: session.change_draft(prompt, self._show_prompt))

    def _show_prompt(self, replies):
        for reply in replies:
            self.session.apply(reply)
        step = replies[1]["step"]
        if not step:
            self.show.message(_("This changes nothing here."))
            return
        self.image.done.append("step")
        words = _("{tool}: {count} voxels, slices {first} to {last}. U undoes it.")
        first, last = step["box"][4] + 1, step["box"][5]
        self.show.message(words.format(tool=step_text(step["name"]), count=step["voxels"], first=first, last=last))

    def undo(self):
        """Undo what was just drawn, or else what was done last: a step of the draft or an answer."""
        if not self.image.name or not self.session.has_queue:
            return
        drawn, before = self.image.scene.drawn, self.image.stroke
        offline = self.session.outbox.count(self.session.tasks.client) > 0
        if drawn and (offline or self.session.store_stroke() == before):  # it cannot be sent, or lies where nothing may be drawn
            self.image.scene.discard_drawing()
            self.show.message(_("Undone: {name}.").format(name=step_text("draw")))
            return  # else what was drawn is the last step on the server now, and can be redone
        # After the tasks that run: an answer that is on its way is the last one.
        self.session.run(lambda _context: None, lambda _: self.session.with_current_masks(self._undo))

    def _undo(self):
        image, session = self.image, self.session
        # What was done last is undone first: an answer may be younger than the steps of the draft.
        last = image.done[-1] if image.done else ""
        item = next((other for other in image.answered if other["id"] == last), None)
        answer_first = item is not None
        item = item or (image.answered[-1] if image.answered else None)

        def done(undone):
            if undone.masks:
                image.forget(undone.answer)
                image.replace_masks(*undone.masks)
                self.review.show_reply({"place": undone.place or item})
                self.show.note = item["note"]
                self.show.message(_("Undone: the last answer."))
            elif undone.reply["step"]:
                image.forget("step")
                self._show_step(_("Undone: {name}."), undone.reply)
            else:
                self.show.message(_("There is nothing to undo."))

        def failed(error):
            refused = isinstance(error, ServerError) and not error.temporary and not isinstance(error, EntryRefusedError)
            if refused and item in image.answered:
                image.forget(item["id"])  # it was withdrawn elsewhere: the one before is the last answer
            session.report(error)

        ids = item and item["id"], image.item and image.item["id"]
        undo = partial(session.tasks.undo, image.name, *ids, image.folder, answer_first)
        session.change_draft(undo, done, failed)

    def redo(self):
        """Redo the step of the draft that was undone last."""

        def done(reply):
            if reply["step"]:
                self.image.done.append("step")
                self._show_step(_("Redone: {name}."), reply)
            else:
                self.show.message(_("There is nothing to redo."))

        if self.image.name and self.session.has_queue:
            redo = partial(self.session.tasks.redo, self.image.name)
            self.session.with_current_masks(lambda: self.session.change_draft(redo, done))

    def _show_step(self, words, reply):
        """Show a step that was undone or redone, also if it lies in another region."""
        self.session.apply(reply)
        words, item = words.format(name=step_text(reply["step"]["name"])), self.image.item
        if item and meets(reply["step"]["box"], item["box"]):
            self.show.message(words)
            return
        self.image.show_item(None)
        self.show.region(None)
        self.image.views.go({"box": reply["step"]["box"]})
        self.show.message(_("{words} It lies in another region, which is shown now. N goes on.").format(words=words))


def click_text(tool, number, needed):
    """Return what to do for the next click of a tool."""
    if tool == "box":
        return _("Click on a corner of a box around the vessel: point {number} of {needed}.").format(number=number, needed=needed)
    return _("Click on the vessel: point {number} of {needed}.").format(number=number, needed=needed)
