"""Tasks for the worker's thread: requests to a server that belong together. No Qt, no scene."""

from pathlib import Path
from typing import Any, NamedTuple

from slicer.i18n import tr as _

from .client import ServerError

POLL_S = 1.0

# Translated on the main thread, used in another.
NO_TRAINER = _("This server has nothing to train.")
NO_MODEL = _("No model of this server segments without clicks.")
REFUSED_LATE = _("An unsent stroke or answer was refused: {message} Look at the region again.")
SET_ASIDE = _("An unsent stroke or answer was damaged. It was not sent, and set aside as {file}.")


class EntryRefusedError(ServerError):
    """The server refused a stroke or an answer from the outbox; it was removed there."""


class OpenedImage(NamedTuple):
    """Files of an image: `base` is the mask without the draft. `base` and `uncertainty` are None on a server without a queue."""

    status: dict
    volume: Path
    mask: Path
    base: Path | None
    uncertainty: Path | None


class AnswerResult(NamedTuple):
    """Replies to the stroke and to the request for the next region, and the temporary error that stopped either, if any."""

    stroke: dict | None
    next: dict | None
    stopped: ServerError | None


class UndoResult(NamedTuple):
    """What was undone: a step of the draft, or else the answer to a region (its id), with both masks and the region after it."""

    reply: dict
    answer: str
    masks: tuple | None
    place: dict | None = None


class ServerTasks:
    """Tasks for one user at one server. `notices` lists messages about unsent entries that the user was not shown yet."""

    def __init__(self, client, outbox):
        self.client, self.outbox, self.server, self.notices = client, outbox, None, []

    # ---- the outbox -------------------------------------------------------------------------------------------------------

    def send(self, *own):
        """Send the outbox. Raise the refusal of an entry in `own`; refusals of other entries are added to `notices`."""
        result = self.outbox.send(self.client)
        refusals = [self.outbox.refused[name] for name in own if name in self.outbox.refused]
        for error in dict.fromkeys(result.refused.values()):  # an entry and those after it share one error
            if error not in refusals:
                self.notices.append(REFUSED_LATE.format(message=error))
        while self.outbox.set_aside:
            self.notices.append(SET_ASIDE.format(file=self.outbox.set_aside.pop(0)))
        if refusals:
            raise EntryRefusedError(refusals[0].status, str(refusals[0]))
        return result

    def send_all(self, *own):
        """Send the outbox. Raise also what stopped it: no other request may overtake an unsent entry."""
        result = self.send(*own)
        if result.stopped:
            raise result.stopped
        return result

    # ---- images -----------------------------------------------------------------------------------------------------------

    def connect(self, _context):
        """Read what the server offers, and send what is unsent."""
        self.server = self.client.connect()
        self.send()
        return self.server

    def next_image(self, _context):
        """Return the image of the region with the most expected errors; if there is none, ask the server's strategy."""
        best = self.client.best_item() if self.server.has_queue else None
        return best["case"] if best else self.client.next_image(self.server.next_image_strategy)

    def add_image(self, image, file, context):
        """Send a volume file as a new image. Return what the server offers then."""
        self.client.add_image(image, file)
        return self.connect(context)

    def open(self, image, folder, again, context):
        """Run the model on an image if it has not (or if `again`), and download everything."""
        model = self.server.models[0] if self.server.models else ""
        if not self.server.has_queue:
            volume = self.client.image_file(image, folder, context)
            return OpenedImage({}, volume, self.client.predict(image, _required(model), context, folder), None, None)
        self.send()
        status = self.client.image_status(image)
        if again or not status["predicted"]:
            self.client.predict(image, _required(model), context)
            status = self.client.image_status(image)
        names = ("volume", "draft/mask", "mask", "heat")
        return OpenedImage(status, *(self.download(image, name, folder, context) for name in names))

    def download(self, image, name, folder, context):
        """Download a volume of an image under review. Return the file."""
        target = Path(folder) / f"{name.replace('/', '-')}.nrrd"
        self.client.volume(image, name, target, context)
        return target

    def masks(self, image, folder, context):
        """Download the mask with the draft, and the mask without it."""
        return tuple(self.download(image, name, folder, context) for name in ("draft/mask", "mask"))

    def synchronize(self, image, folder, stroke, context):
        """Send what is unsent, then download both masks: they include it."""
        self.send_all(stroke)
        return self.masks(image, folder, context)

    def submit(self, image, file, revision, _context):
        """Send the mask as the label of an image."""
        self.send_all()
        return self.client.submit(image, file, revision)

    # ---- regions ----------------------------------------------------------------------------------------------------------

    def next_item(self, image, _context):
        """Reserve the next region."""
        self.send_all()
        return self.client.next_item(image)

    def take(self, item_id, leave, _context):
        """Reserve a region that was chosen from the list; `leave` is one that others may have now, "" for none."""
        self.send_all()
        place = self.client.take(item_id)
        if leave:
            self.client.release(leave)
        return {"place": place}

    def suspected_errors(self, item_id, _context):
        """Return the errors that are suspected in a region."""
        return self.client.suspected_errors(item_id)

    def queue(self, image, stroke, _context):
        """Send what is unsent. Return the reply to the stroke, the list of regions and the image's status."""
        reply = self.send_all(stroke).replies.get(stroke)
        limit = self.server.capabilities["limits"]["list"]
        return reply, self.client.queue(image, limit), self.client.image_status(image)

    def answer(self, image, stroke, answer, _context):
        """Send a stroke and an answer from the outbox, and reserve the next region."""
        result = self.send(stroke, answer)
        reply = result.replies.get(stroke)
        if result.stopped and answer not in result.replies:
            return AnswerResult(reply, None, result.stopped)
        try:
            return AnswerResult(reply, self.client.next_item(image), None)
        except ServerError as error:
            if not error.temporary:
                raise
            return AnswerResult(reply, None, error)  # the answer has arrived, only the next region is missing

    # ---- the draft --------------------------------------------------------------------------------------------------------

    def prompt(self, image, stroke, body, _context):
        """Send a stroke from the outbox, then clicks of a tool. Return both replies."""
        return self.send_all(stroke).replies.get(stroke), self.client.draft(image, "prompt", body)

    def undo(self, image, answered, reserved, folder, answer_first, context):
        """Undo the last step of the draft or the last answer, or else the other; with an answer release the reserved region."""
        self.send_all()
        reply = {"step": None} if answered and answer_first else self.client.draft(image, "undo")
        if reply["step"] or not answered:
            return UndoResult(reply, "", None)
        place = self.client.undo_answer(answered)
        if reserved:
            self.client.release(reserved)
        return UndoResult(reply, answered, self.masks(image, folder, context), place)

    def redo(self, image, _context):
        """Redo the step of the draft that was undone last."""
        self.send_all()
        return self.client.draft(image, "redo")

    # ---- training ---------------------------------------------------------------------------------------------------------

    def train(self, context):
        """Train, report the progress, and return the final status and the results."""
        if not self.server.trainers:
            raise ServerError(404, NO_TRAINER)
        trainer = self.server.trainers[0]
        self.client.train(trainer)
        while True:
            try:
                status, stats = self.client.training(trainer)
                if status.get("status") not in ("RUNNING", "PENDING", "SUBMITTED"):
                    return status, stats
                context.report(stats)
            except ServerError as error:
                if not error.temporary or error.status == 401:
                    raise  # otherwise the training goes on, and the server may answer again
            context.wait(POLL_S)

    def stop_training(self, _context):
        """Stop the training on the server."""
        self.client.stop_training()


def _required(model: Any):
    if not model:
        raise ServerError(404, NO_MODEL)
    return model
