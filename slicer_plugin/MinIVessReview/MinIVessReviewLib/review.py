"""The review of images: open an image, go from region to region, answer each."""

from functools import partial
from urllib.parse import quote

from slicer.i18n import tr as _

from .client import ServerError
from .open_image import ACCEPTED, CORRECTED, SKIPPED
from .translations import state_text


class Review:
    """Images and their queue, in a session."""

    def __init__(self, session):
        self.session, self.image, self.show = session, session.image, session.show

    # ---- images -----------------------------------------------------------------------------------------------------------

    def open_next(self):
        """Open the image with the most expected errors."""

        def done(image):
            if image and image == self.image.name:
                self.show.message(_("{image} is still the image with the most expected errors.").format(image=image))
            elif image:
                self.open(image)
            else:
                self.show.message(_("No image is left to review."))

        self.session.run(self.session.tasks.next_image, done, any_image=True)

    def open(self, image, again=False, then=None):
        """Open an image. The model segments it first if it has not, or if `again`. `then` runs when it is shown."""
        session = self.session
        session.store_drawing()
        folder = self.image.new_folder()

        def done(opened):
            self.image.load(image, opened, folder)
            self.image.stale = session.outbox.count(session.tasks.client) > 0  # the masks do not include what is unsent
            self.show.region(None)
            self.show.image(self.image, session.tasks.server)
            if session.has_queue:
                self.show.progress(opened.status["progress"])
            quality = opened.status.get("quality")
            quality = _("Expected quality of the prediction: {quality}.").format(quality=quality) if quality else ""
            advice = opened.status.get("retrain_first") or " ".join(filter(None, (quality, opened.status.get("zones"))))
            self.show.message(advice or _("{image} is open.").format(image=image))
            (then or self.next)()

        def progress(share):
            words = _("The model segments {image}: {percent} %")
            self.show.message(words.format(image=image, percent=round(100 * share)))
            self.show.share(share)

        self.show.message(_("Opening {image} ...").format(image=image))
        session.run(partial(session.tasks.open, image, folder, again), done, progress=progress, any_image=True)

    # ---- regions ----------------------------------------------------------------------------------------------------------

    def next(self):
        """Go to the next region of this image, unless one waits for its answer. Sends what is unsent."""
        if not self.image.name or not self.session.has_queue:
            return
        if self.image.item and not self.image.item.get("unreserved"):
            self.session.with_current_masks(self._remind)
        else:
            self.session.with_current_masks(
                lambda: self.session.run(partial(self.session.tasks.next_item, self.image.name), self.show_reply)
            )

    def _remind(self):
        self.show.message(_("Answer this region first: accept (A) or skip (S)."))
        self.refresh()

    def choose(self, item):
        """Go to a region of the list; one that is answered is only shown."""
        if item["state"] in self.session.tasks.server.capabilities["verdicts"]:
            self.session.store_stroke()
            self.image.show_item(None)
            self.image.views.go(item)
            self.show.region(item)
            words = _("This region is answered: {state}, by {user}. N goes on.")
            said, note = words.format(state=state_text(item["state"]), user=item["by"]), (item.get("answer") or {}).get("note")
            self.show.message(f"{said} {_('Note: {note}').format(note=note)}" if note else said)
        else:
            self.session.with_current_masks(partial(self._take, item))

    def _take(self, item):
        left = self.image.item
        drawn = left and (self.image.scene.drawn or self.image.verdict(left["box"]) == CORRECTED)
        leave = "" if not left or drawn or left.get("unreserved") or left["id"] == item["id"] else left["id"]
        self.session.run(partial(self.session.tasks.take, item["id"], leave), self.show_reply, self._take_failed)

    def _take_failed(self, error):
        self.session.report(error)
        if isinstance(error, ServerError) and error.status == 409:  # the list is of an earlier ranking
            self.refresh()

    def show_reply(self, reply):
        """Show the region that the server has reserved, then the queue."""
        place, shown = reply["place"], self.image.status.get("model")
        if place and shown and place.get("model", shown) != shown:
            self.open(self.image.name)  # another model has predicted it since: the mask is another one
            return
        self._show_item(reply)
        self.refresh()

    def refresh(self):
        """Read and show the queue and the progress. Sends what is unsent."""

        def done(found):
            stroke, self.image.items, status = found
            self.session.apply(stroke)
            self.show.queue(self.image.items, self.image.item and self.image.item["id"])
            self.show.progress(status["progress"])

        stroke = self.session.store_stroke()
        self.session.run(partial(self.session.tasks.queue, self.image.name, stroke), done)

    def _show_item(self, reply):
        self.session.store_stroke()  # of the region that is left
        self.image.show_item(reply["place"])
        self.show.region(self.image.item)
        if self.image.item:
            note = self.image.item.get("skipped_note")
            skipped = note and _("Somebody has skipped this region. Note: {note}").format(note=note)
            self.show.message(skipped or reply.get("retrain_first", ""))
        else:
            self.show.message(_("No region is left. Submit the mask as the label."))

    # ---- answers ----------------------------------------------------------------------------------------------------------

    def accept(self):
        """Answer that the region is right as it is drawn now."""
        self._with_item(self._answer)

    def skip(self):
        """Leave the region unanswered for others; what was drawn stays in the draft."""
        self._with_item(partial(self._answer, skip=True))

    def _with_item(self, work):
        item = self.image.item
        if not item:
            self.show.message(_("Go to a region first (N)."), True)
            return
        # What a tool does on its way is a part of the answer.
        self.session.with_current_masks(lambda: self.session.after_changes(partial(work, item)))

    def _answer(self, item, skip=False):
        session, image = self.session, self.image
        if image.item is None or image.item["id"] != item["id"]:
            return  # answered meanwhile, or another region is shown than when the key was pressed
        stroke = session.store_stroke()
        verdict = SKIPPED if skip else image.verdict(item["box"])
        path = f"/review/places/{quote(item['id'])}/answer"
        data = {"verdict": verdict, "seconds": f"{image.seconds_shown:.1f}", "note": self.show.note}
        data |= {"model": image.status["model"]} if image.status.get("model") else {}
        answer = session.outbox.add(session.tasks.client, "POST", path, after=stroke, data=data)
        note, self.show.note = self.show.note, ""
        image.item = None  # pressing the key twice is not a second answer

        def done(result):
            session.apply(result.stroke)
            image.record_answer(item, verdict, note)
            if result.stopped:
                self._go_on_alone(result.stopped)
                return
            self.show_reply(result.next)
            if image.item and not result.next.get("retrain_first"):
                self.show.message(_answered(verdict))

        session.run(partial(session.tasks.answer, image.name, stroke, answer), done, partial(self._answer_failed, item, note))

    def _answer_failed(self, item, note, error):
        self.image.item, self.show.note = item, note
        if isinstance(error, ServerError) and error.status == 409:  # another user was faster, or the model has changed
            self.session.notify(_("The server refused this: {message} Your strokes are in your draft.").format(message=error))
            self.open(self.image.name)
        else:
            self.session.report(error)

    def _go_on_alone(self, error):
        """Go on with the regions that were listed, not reserved, while the server does not answer."""
        left = next((item for item in self.image.items if item["state"] == "pending"), None)
        self._show_item({"place": left and {**left, "unreserved": True}})
        self.show.queue(self.image.items, left and left["id"])
        self.session.report(error)
        words = _("{message} Your answers are saved on this computer. You can go on; N sends them when the server answers.")
        self.show.message(words.format(message=error), True)


def _answered(verdict):
    words = {
        ACCEPTED: _("Accepted."),
        CORRECTED: _("Corrected and accepted."),
        SKIPPED: _("Skipped: it counts as not reviewed."),
    }
    return words[verdict]
