"""The work at a queue: places come, are mended and answered.

What is asked of the server runs in the worker's thread (`errands`); the scene changes here, on the main thread.
"""

import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

from slicer.i18n import tr as _

from .call import CancelledError
from .case import Case
from .client import Client, ServerError
from .errands import Errands
from .labels import Labels
from .mending import Mending
from .outbox import Outbox
from .training import Training
from .voxels import pack, unpack


class Review:
    """One person at one server; `show` (the panel) is told what to display."""

    def __init__(self, worker, aside, show, folder):
        self.worker, self.show, self.folder = worker, show, Path(folder)
        self.case, self.errands = Case(), None
        self.outbox = Outbox(self.folder / "unsent")
        self.training, self.mending, self.labels = Training(aside, show), Mending(self), Labels(self)
        self._forget()

    @property
    def has_queue(self):
        """Whether the server is one of ours: a stock MONAI Label server has no places."""
        return bool(self.errands and self.errands.server.get("review"))

    # ---- server and case --------------------------------------------------------------------------------------------------

    def connect(self, url, token):
        """Ask a server what it can do, and send it what it does not have yet."""
        before, errands = self.errands, Errands(Client(url, token), self.outbox)

        def done(server):
            words = self.keep()  # it is for whom it was drawn for
            self.errands = errands
            if before and (before.client.url, before.client.person) != (url.rstrip("/"), errands.client.person):
                self.leave_case()  # the draft that is shown is somebody else's
            self.show.connected(server)
            waiting = self.outbox.waiting(errands.client)
            if waiting:
                self.show.message(_("{count} answers are kept here and not sent yet.").format(count=waiting), True)
            elif words or not server["review"]:
                self.show.message(words or _("A MONAI Label server without a queue: segment, correct, submit."))

        self.ask(errands.connect, done, anywhere=True)

    def leave_case(self, scene_closed=False):
        """Leave the image."""
        self.case.leave(scene_closed)
        self._forget()
        self.show.case("")
        self.show.place(None)

    def scene_closed(self):
        """The scene was closed: what is under way is forgotten; strokes and answers are on the server or in the outbox."""
        self.worker.cancel()
        self.leave_case(scene_closed=True)

    def cancel(self):
        """Wait no longer; what was sent already may still be done."""
        self.worker.cancel()
        self.stale = bool(self.case.name)

    def _forget(self):
        self.place, self.places, self.answered, self.clicks, self.since = None, [], [], [], 0.0
        self.stale = False  # a reply was lost: the server may have done what is not shown

    def open_next(self):
        """Open the image that is worth it most."""

        def done(image):
            if image and image == self.case.name:
                self.show.message(_("{image} is still the one that is worth it most.").format(image=image))
            elif image:
                self.open(image, then=self.next if self.has_queue else None)
            else:
                self.show.message(_("No image is left that needs a look."))

        self.ask(self.errands.next_case, done, anywhere=True)

    def open(self, image, again=False, then=None, words=""):
        """Take an image: let the model look at it where it has not (or `again`), and show it with the mask of now.

        `words` is said when all that is done.
        """
        words = self.keep() or words
        folder = self.case.new_folder()

        def done(opened):
            self._forget()
            self.case.load(image, opened, folder)
            if opened.base:
                self.show.progress(opened.standing["progress"])
            self.show.case(image)
            advice = opened.standing.get("retrain_first") or opened.standing.get("zones")
            self.show.message(advice or _("{image} is open.").format(image=image))
            if then:
                then()
            if words:  # when all is shown
                self.ask(lambda _call: None, lambda _: self.show.message(words, True))

        def progress(share):
            self.show.message(_("The model looks at {image}: {percent} %").format(image=image, percent=round(100 * share)))
            self.show.share(share)

        self.show.message(_("Opening {image} ...").format(image=image))
        self.ask(partial(self.errands.open, image, folder, again), done, progress=progress, anywhere=True)

    # ---- places -----------------------------------------------------------------------------------------------------------

    def next(self):
        """Go to the next place of this image, unless one waits for its answer; sends what was kept."""
        if not self.case.name or not self.has_queue:
            return
        self.keep()
        if self.place and not self.place.get("unreserved"):
            self.show.message(_("Answer this place first (A), or skip it (S)."))
            self._look()
        else:
            self.caught_up(lambda: self.ask(partial(self.errands.next, self.case.name), self.taken))

    def choose(self, place):
        """Go to a place of the list; one that was answered is only looked at."""
        self.keep()
        if place["state"] in ("pending", "leased"):
            self.ask(partial(self.errands.take, place["id"]), self.taken)
            return
        self.place = None
        self.show.place(place)
        self.case.views.go(place)
        words = _("This place is answered: {state}, by {person}. N goes on.")
        self.show.message(words.format(state=place["state"], person=place["by"]))

    def taken(self, told):
        """Show the place that the server gave, then the queue."""
        self._take(told)
        self._look()

    def _look(self):
        """Show the queue and the progress of now; the place is there already."""

        def done(found):
            self.places, standing = found
            places = self.places
            self.show.queue(places, self.place and self.place["id"])
            self.show.progress(standing["progress"])

        self.ask(partial(self.errands.look, self.case.name), done)

    def _take(self, told):
        self.place, self.clicks, self.since = told["place"], [], time.monotonic()
        self.show.message("")
        self.show.place(self.place)
        if self.place:
            self.case.scene.only_inside(self.place["box"])
            self.case.views.go(self.place)
            if told.get("retrain_first"):
                self.show.message(told["retrain_first"])
        else:
            self.show.message(_("No place is left. Submit the mask as the label."))

    def accept(self):
        """Say that the place is right as it is drawn now."""
        self._with_place(lambda: self._answer("", self.keep_stroke()))

    def skip(self):
        """Leave the place as it is; what was drawn stays in the draft."""
        self._with_place(lambda: self._answer("skipped", self.keep_stroke()))

    def _with_place(self, work):
        if self.place:
            self.caught_up(work)
        else:
            self.show.message(_("Ask for a place first (N)."), True)

    def keep(self):
        """Keep what was drawn and not told yet; where the server has no drafts, in a file, which is told then."""
        if self.has_queue or not self.case.scene.drawn:
            self.keep_stroke()
            return ""
        file = self.case.save_label(self.folder / "labels")
        return _("What you have drawn in {image} was not submitted: it is kept in {file}.").format(
            image=self.case.name, file=file
        )

    def keep_stroke(self):
        """Put what was drawn in the place since the last time in the outbox; gives its name there, "" where nothing was."""
        locked = [place["box"] for place in self.places if place["state"] in ("accepted", "fixed")]
        drawn = self.case.scene.strokes(self.place["box"], locked) if self.place else None
        if drawn is None:
            return ""
        body = {"box": list(self.place["box"]), "voxels": pack(drawn)}
        path = f"/review/images/{quote(self.case.name)}/draft/draw"
        return self.outbox.add(self.errands.client, "POST", path, body=body)

    def _answer(self, verdict, stroke):
        image, place, self.place = self.case.name, self.place, None  # a second press is not a second answer
        verdict = verdict or ("fixed" if self.case.changed(place["box"]) else "accepted")
        data = {"verdict": verdict, "seconds": f"{min(86400.0, time.monotonic() - self.since):.1f}"}
        path = f"/review/places/{quote(place['id'])}/answer"
        answer = self.outbox.add(self.errands.client, "POST", path, after=stroke, data=data)

        def done(answered):
            self.answered.append(place)
            for row in self.places:
                row["state"] = verdict if row["id"] == place["id"] else row["state"]
            if verdict != "skipped":
                self.case.accept(place["box"])
            self.apply(answered.stroke)
            if answered.stopped:
                self._go_on_alone(answered.stopped)
                return
            self.taken(answered.next)
            words = {
                "accepted": _("Accepted."),
                "fixed": _("Mended and kept."),
                "skipped": _("Skipped: it stays as not looked at."),
            }
            if self.place and not answered.next.get("retrain_first"):
                self.show.message(words[verdict])

        def failed(error):
            self.place = place
            if isinstance(error, ServerError) and error.status == 409:  # somebody was faster, or a newer model drew it anew
                words = _("{words} Your strokes are kept in your draft.").format(words=error)
                self.open(image, then=self.next, words=words)
            elif isinstance(error, ServerError):
                self._rescue(error)
                self.stale = True  # what is shown is not what the server has
            else:
                self.failed(error)

        self.ask(partial(self.errands.answer, image, stroke, answer), done, failed)

    def _go_on_alone(self, error):
        """The server is away: go on with the places that were listed; the answers are kept."""
        left = next((place for place in self.places if place["state"] == "pending"), None)
        self._take({"place": left and {**left, "unreserved": True}})
        self.show.queue(self.places, left and left["id"])
        words = _("{words} Your work is kept here; go on, it is sent when the server is back (N).")
        self.show.message(words.format(words=error), True)

    def caught_up(self, work):
        """Do something, after what was drawn is sent and both masks are read again where a reply was lost."""
        if not self.stale:
            work()
            return
        self.keep_stroke()

        def done(masks):
            self.stale = False
            self.case.replace(*masks)
            work()

        def failed(error):
            if isinstance(error, ServerError) and error.passing:
                work()  # nobody answers: it is for later
            else:
                self.failed(error)

        self.ask(partial(self.errands.catch_up, self.case.name, self.case.folder), done, failed)

    # ---- inner ------------------------------------------------------------------------------------------------------------

    def apply(self, told):
        """Lay what the server says a box holds now into the mask; accepted voxels are as they were."""
        if told and told["step"]:
            box = told["step"]["box"]
            self.case.scene.apply(box, unpack(told["holds"], box))
            self.case.views.show_surface()

    def _rescue(self, error):
        """The server will not have it, and will not later: keep the whole mask here."""
        words = _("{words} What you have drawn is kept in {file}.")
        self.show.message(words.format(words=error, file=self.case.save_label(self.folder / "labels")), True)

    def ask(self, work, done, failed=None, progress=None, anywhere=False):
        """Run an errand; what comes back is of no use where another image is open by then, unless it is good `anywhere`."""
        image = None if anywhere else self.case.name
        self.worker.submit(work, partial(self._came, image, done), partial(self._came, image, failed or self.failed), progress)

    def _came(self, image, hand_over, result):
        try:
            if image in (None, self.case.name):
                hand_over(result)
            elif isinstance(result, Exception):
                self.failed(result)
        except (OSError, ValueError) as error:
            self.failed(error)
        if self.errands and self.errands.late:
            words = _("{words} (It was sent late; look at the place again.)")
            self.show.message(words.format(words=self.errands.late.pop()), True)

    def failed(self, error):
        """Say what went wrong."""
        if not isinstance(error, CancelledError):
            self.show.message(str(error), True)
