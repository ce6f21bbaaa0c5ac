"""Mending on the server: prompts by clicks, undo and redo of the draft's steps and of answers."""

from functools import partial

from slicer.i18n import tr as _

from .client import ServerError
from .voxels import meets

CLICKS = {"path": 2, "connect": 2, "cut": 1, "remove": 1}


class Mending:
    """What is done to the draft of the image that a review has open."""

    def __init__(self, review):
        self.review = review

    def click(self, tool, ras):
        """Take a click of a tool that asks the server: path and connect want two, cut and remove one."""
        voxel = self.review.case.scene.voxel_of(ras) if self.review.case.name else None
        if not self.review.place or voxel is None:
            self.review.show.message(_("Ask for a place first (N), and click inside the image."), True)
            return
        self.review.clicks.append(voxel)
        if len(self.review.clicks) < CLICKS[tool]:
            self.review.show.message(_("And the other end."))
            return
        body, self.review.clicks = {"tool": tool, "points": self.review.clicks, "place": self.review.place["id"]}, []

        def done(found):
            for told in found:
                self.review.apply(told)
            step = found[1]["step"]
            if step:
                words = _("{tool}: {count} voxels, slices {first} to {last}. Undo takes it back.")
                first, last = step["box"][4] + 1, step["box"][5]
                self.review.show.message(words.format(tool=tool, count=step["voxels"], first=first, last=last))
            else:
                self.review.show.message(_("That changes nothing here."))

        stroke = self.review.keep_stroke()
        self.review.caught_up(
            lambda: self.review.ask(
                partial(self.review.errands.prompt, self.review.case.name, stroke, body), done, self._draft_failed
            )
        )

    def undo(self):
        """Take back what was drawn last, or the last step of the draft, or the last answer."""
        if not self.review.case.name or not self.review.has_queue:
            return
        if self.review.case.scene.drawn:
            self.review.case.scene.put_back()
            self.review.show.message(_("Taken back: what was drawn."))
        else:  # behind what is under way: an answer that is not back yet is the last one
            self.review.ask(lambda _call: None, lambda _: self.review.caught_up(self._undo))

    def _undo(self):
        place, held = (self.review.answered[-1] if self.review.answered else None), self.review.place

        def done(undone):
            if undone.masks:
                self.review.answered = [other for other in self.review.answered if other["id"] != undone.answer]
                self.review.case.replace(*undone.masks)
                self.review.taken({"place": place})
                self.review.show.message(_("The last answer is taken back."))
            elif undone.step["step"]:
                self._show_step(_("Taken back: {name}."), undone.step)
            else:
                self.review.show.message(_("There is nothing to take back."))

        names = place and place["id"], held and held["id"]
        self.review.ask(
            partial(self.review.errands.undo, self.review.case.name, *names, self.review.case.folder), done, self._draft_failed
        )

    def redo(self):
        """Do again what was taken back."""

        def done(told):
            if told["step"]:
                self._show_step(_("Done again: {name}."), told)
            else:
                self.review.show.message(_("There is nothing to do again."))

        if self.review.case.name and self.review.has_queue:
            self.review.caught_up(
                lambda: self.review.ask(partial(self.review.errands.redo, self.review.case.name), done, self._draft_failed)
            )

    def _show_step(self, words, told):
        """Show a step that was taken back or done again, also where it lies in another place."""
        self.review.apply(told)
        words = words.format(name=told["step"]["name"])
        if self.review.place and meets(told["step"]["box"], self.review.place["box"]):
            self.review.show.message(words)
            return
        self.review.place = None
        self.review.show.place(None)
        self.review.case.views.go({"box": told["step"]["box"]})
        self.review.show.message(_("{words} It lies in another place, which is shown now. N goes on.").format(words=words))

    def _draft_failed(self, error):
        """The reply is lost: the change may have been made all the same."""
        self.review.stale = self.review.stale or (isinstance(error, ServerError) and error.passing)
        self.review.failed(error)
