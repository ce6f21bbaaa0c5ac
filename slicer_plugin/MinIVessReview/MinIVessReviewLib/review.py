"""The work at a queue: places come, are mended and answered. Requests run in the worker; the scene changes on the main thread."""

import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import slicer
from slicer.i18n import tr as _

from .client import CancelledError, Client, ServerError
from .outbox import Outbox
from .scene import Scene, read_volume
from .voxels import inside, pack, unpack

CLICKS = {"path": 2, "connect": 2, "cut": 1, "remove": 1}
FOLLOW_S = 2.0


class Review:
    """One person at one server; `show` is told what to display: `message`, `connected`, `case`, `place`, `queue`, `progress`."""

    def __init__(self, worker, show, folder, scene=None):
        self.worker, self.show, self.folder = worker, show, Path(folder)
        self.scene = scene or Scene()
        self.outbox = Outbox(self.folder / "unsent.json")
        self.client, self.server, self._files = None, {}, None
        self._fetched = tempfile.mkdtemp(prefix="minivess_", dir=slicer.app.temporaryPath)
        self.leave_case()

    def close(self):
        """Leave no image behind on this computer."""
        shutil.rmtree(self._fetched, ignore_errors=True)

    # ---- server and case --------------------------------------------------------------------------------------------------

    def connect(self, url, token):
        """Ask a server what it can do, and send it what it does not have yet."""
        client = Client(url, token)

        def work(_cancel):
            server = client.connect()
            self.outbox.send(client)
            return server

        def done(server):
            self.client, self.server = client, server
            self.show.connected(server)
            if len(self.outbox):
                self.show.message(_("{count} answers are kept here and not sent yet.").format(count=len(self.outbox)), True)
            elif not server["review"]:
                self.show.message(_("A MONAI Label server without a queue: segment, correct, submit."))

        self._do(work, done)

    def leave_case(self):
        """Forget the image, and what was fetched of it."""
        if self._files:
            shutil.rmtree(self._files, ignore_errors=True)
        self._files = None
        self.image, self.place, self.standing = "", None, {}
        self.base, self.answered, self.clicks, self.since, self._heat = None, [], [], 0.0, None

    def scene_closed(self):
        """The scene was closed: what is under way is forgotten; strokes and answers are on the server or in the outbox."""
        self.worker.cancel()
        self.scene.forget()
        self.leave_case()
        self.show.case("")
        self.show.place(None)

    def open(self, image, again=False, then=None):
        """Take an image: let the model look at it where it has not, and show it with the mask of now."""
        self._keep_stroke()
        client, models, stock = self.client, self.server["models"], not self.server["review"]
        folder = Path(tempfile.mkdtemp(dir=self._fetched))

        def work(cancel):
            if stock:
                client.image_file(image, folder / "image.nii.gz", cancel)
                client.predict(image, models[0], folder / "mask.nii.gz", cancel=cancel)
                return {}, folder / "image.nii.gz", folder / "mask.nii.gz", None
            self.outbox.send(client)
            standing = client.standing(image)
            if again or not standing["predicted"]:
                if not models:
                    raise ServerError(404, _("No model of this server segments by itself."))
                client.predict(
                    image, models[0], progress=lambda share: self.worker.later(self._predicting, image, share), cancel=cancel
                )
                standing = client.standing(image)
            for name in ("volume", "mask", "draft/mask", "heat"):
                client.volume(image, name, folder / f"{name.replace('/', '-')}.nrrd", cancel)
            return standing, folder / "volume.nrrd", folder / "draft-mask.nrrd", folder / "mask.nrrd"

        def done(found):
            standing, volume, mask, base = found
            self.leave_case()
            self.image, self.standing, self._files = image, standing, folder
            self.scene.load(image, volume, mask, standing.get("affine_ras"))
            if base:
                node = read_volume(base, "base", labelmap=True)
                self.base = slicer.util.arrayFromVolume(node) > 0
                slicer.mrmlScene.RemoveNode(node)
                self._heat = folder / "heat.nrrd"
                self.show.progress(standing["progress"])
            self.show.case(image)
            self.show.message(standing.get("retrain_first") or standing.get("zones") or _("{image} is open.").format(image=image))
            if then:
                then()

        self.show.message(_("Opening {image} ...").format(image=image))
        self._do(work, done)

    def _predicting(self, image, share):
        self.show.message(_("The model looks at {image}: {percent} %").format(image=image, percent=round(100 * share)))

    # ---- places -----------------------------------------------------------------------------------------------------------

    def next(self):
        """Go to the next place of this image; of any image where none is open."""
        self._keep_stroke()
        client, image = self.client, self.image

        def work(_cancel):
            self.outbox.send(client)
            return client.next_place(image)

        def done(told):
            if told["place"] and told["place"]["case"] != self.image:
                self.open(told["place"]["case"], then=self.next)
                return
            self._take(told)
            self._refresh()

        self._do(work, done)

    def _refresh(self):
        """Show the queue and the progress of now; the place is there already."""
        client, image = self.client, self.image

        def done(found):
            places, standing = found
            self.show.queue(places, self.place and self.place["id"])
            self.show.progress(standing["progress"])

        if image:
            self._do(lambda _cancel: (client.places(image), client.standing(image)), done)

    def _take(self, told):
        self.place, self.clicks, self.since = told["place"], [], time.monotonic()
        self.show.place(self.place)
        if self.place:
            self.scene.show_place(self.place)
            if told.get("retrain_first"):
                self.show.message(told["retrain_first"])
        else:
            self.show.message(_("No place is left. Submit the mask as the label."))

    def accept(self):
        """Say that the place is right as it is drawn now."""
        if not self.place:
            return
        stroke = self._keep_stroke()
        window = inside(self.place["box"])
        changed = (self.scene.held[window] != self.base[window]).any()
        self._answer("fixed" if changed else "accepted", stroke)

    def skip(self):
        """Leave the place to somebody else; what was drawn stays in the draft."""
        if self.place:
            self._answer("skipped", self._keep_stroke())

    def _keep_stroke(self):
        """Put what was drawn in the place since the last time in the outbox; gives its name there, "" where nothing was."""
        drawn = self.scene.strokes(self.place["box"]) if self.place else None
        if drawn is None:
            return ""
        body = {"box": list(self.place["box"]), "voxels": pack(drawn)}
        return self.outbox.add(self.client, "POST", f"/review/images/{quote(self.image)}/draft/draw", body=body)

    def _answer(self, verdict, stroke):
        client, image, place = self.client, self.image, self.place
        data = {"verdict": verdict, "seconds": f"{min(86400.0, time.monotonic() - self.since):.1f}"}
        answer = self.outbox.add(client, "POST", f"/review/places/{quote(place['id'])}/answer", data=data)

        def work(_cancel):
            replies = self.outbox.send(client)
            return (replies.get(stroke), client.next_place(image)) if answer in replies else None

        def done(found):
            self.answered.append(place)
            if verdict != "skipped":
                self.base[inside(place["box"])] = self.scene.held[inside(place["box"])]
            if found is None:
                self._take({"place": None})
                self.show.message(_("The server does not answer. Your work is kept here; press Next when it is back."), True)
                return
            drawn, told = found
            self._apply(drawn)
            self._take(told)
            self._refresh()

        def failed(error):
            if isinstance(error, ServerError) and error.status == 409:  # somebody was faster, or a newer model drew it anew
                self.show.message(_("{words} Your strokes are kept in your draft.").format(words=error), True)
                self.open(image, then=self.next)
            else:
                self._failed(error)

        self._do(work, done, failed)

    # ---- mending ----------------------------------------------------------------------------------------------------------

    def click(self, tool, ras):
        """Take a click of a tool that asks the server: path and connect want two, cut and remove one."""
        voxel = self.scene.voxel_of(ras)
        if not self.place or voxel is None:
            self.show.message(_("Ask for a place first (N), and click inside the image."), True)
            return
        self.clicks.append(voxel)
        if len(self.clicks) < CLICKS[tool]:
            self.show.message(_("And the other end."))
            return
        client, image, stroke = self.client, self.image, self._keep_stroke()
        body, self.clicks = {"tool": tool, "points": self.clicks, "place": self.place["id"]}, []

        def work(_cancel):
            drawn = self.outbox.send(client).get(stroke)
            return drawn, client.draft(image, "prompt", body)

        def done(found):
            for told in found:
                self._apply(told)
            step = found[1]["step"]
            text = _("{tool}: {count} voxels. Undo takes it back.").format(tool=tool, count=step["voxels"]) if step else ""
            self.show.message(text or _("That changes nothing here."))

        self._do(work, done)

    def _apply(self, told):
        """Lay what the server says a box holds now into the mask; accepted voxels are as they were."""
        if told and told["step"]:
            box = told["step"]["box"]
            self.scene.apply(box, unpack(told["holds"], box))

    def undo(self):
        """Take back what was drawn last, or the last step of the draft, or the last answer."""
        if not self.image:
            return
        if self.scene.drawn:
            self.scene.put_back()
            self.show.message(_("Taken back: what was drawn."))
            return
        client, image = self.client, self.image
        place, held = (self.answered[-1] if self.answered else None), self.place

        def work(_cancel):
            self.outbox.send(client)
            told = client.draft(image, "undo")
            if told["step"] or not place:
                return told, None
            client.take_back(place["id"])
            if held:
                client.release(held["id"])
            return told, True

        def done(found):
            told, back = found
            self._apply(told)
            if told["step"]:
                self.show.message(_("Taken back: {name}.").format(name=told["step"]["name"]))
            elif back:
                self.answered.pop()
                self._take({"place": place})
                self._refresh()
                self.show.message(_("The last answer is taken back."))
            else:
                self.show.message(_("There is nothing to take back."))

        self._do(work, done)

    def redo(self):
        """Do again what was taken back."""
        client, image = self.client, self.image
        self._do(lambda _cancel: client.draft(image, "redo"), self._apply)

    # ---- label and training -----------------------------------------------------------------------------------------------

    def submit(self):
        """Send the mask as the label of the image."""
        self._keep_stroke()
        client, image = self.client, self.image
        file = self.folder / "labels" / f"{image}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.scene.save_label(file, self.standing.get("unit", "mm"))
        revision = (self.standing.get("revision") or 0) if self.standing else None

        def work(_cancel):
            self.outbox.send(client)
            return client.submit(image, file, revision)

        def done(told):
            number = told.get("minivess", {}).get("revision")
            self.standing["revision"] = number
            file.unlink(missing_ok=True)
            words = _("Submitted as revision {number}.").format(number=number) if number else _("Submitted.")
            self.show.message(words)

        def failed(error):
            if isinstance(error, ServerError) and error.status == 409:
                words = _(
                    "Somebody else has submitted meanwhile. Your label is kept beside theirs; a reviewer decides. ({words})"
                )
                self.show.message(words.format(words=error), True)
            elif isinstance(error, ServerError):
                words = _("{words} Your label is kept in {file}; press Submit again.")
                self.show.message(words.format(words=error, file=file), True)
            else:
                self._failed(error)

        self._do(work, done, failed)

    def train(self):
        """Train the model on what was reviewed, follow it, and compare it on this image when it is done."""
        client, trainers = self.client, self.server.get("trainers") or self.server["models"]
        old = None if self.scene.held is None else self.scene.held.copy()

        def work(cancel):
            client.train(trainers[0])
            while True:
                status, stats = client.training()
                if status.get("status") not in (None, "RUNNING", "PENDING"):
                    return status, stats.get(trainers[0], {})
                self.worker.later(self.show.message, _("Training: {words}").format(words=_progress(status)))
                for _step in range(round(FOLLOW_S / 0.1)):
                    cancel.check()
                    time.sleep(0.1)

        def done(found):
            status, stats = found
            words = _("Training {status}.").format(status=status.get("status", "DONE").lower())
            if "validation_dice" in stats:
                scores = _("Dice {before:.3f} before, {after:.3f} now: {state}.")
                before = stats.get("published_dice_before") or 0.0
                words += " " + scores.format(before=before, after=stats["validation_dice"], state=stats.get("state", ""))
            self.show.message(words)
            if status.get("status") == "DONE" and self.image:
                self.open(self.image, again=True, then=lambda: self._compare(old, words))

        self._do(work, done)

    def _compare(self, old, words):
        dice, differ = self.scene.compare(old)
        text = _("{words} On this image {count} voxels differ from before (blue outline), Dice between both {dice:.3f}.")
        self.show.message(text.format(words=words, count=differ, dice=dice))

    def heat(self, opacity=0.5, threshold=0.2):
        """Show the model's doubt, or hide it."""
        if self.scene.heat_shown:
            self.scene.hide_heat()
        elif self._heat:
            self.scene.show_heat(self._heat, self.standing["affine_ras"], opacity, threshold)

    # ---- inner ------------------------------------------------------------------------------------------------------------

    def _do(self, work, done, failed=None):
        self.worker.submit(work, self._guarded(done), failed or self._failed)

    def _guarded(self, done):
        def run(result):
            try:
                done(result)
            except (OSError, ValueError) as error:
                self._failed(error)

        return run

    def _failed(self, error):
        if not isinstance(error, CancelledError):
            self.show.message(str(error), True)


def _progress(status):
    details = status.get("details") or []
    last = details[-1] if isinstance(details, list) and details else ""
    return last.get("message", "") if isinstance(last, dict) else str(last)
