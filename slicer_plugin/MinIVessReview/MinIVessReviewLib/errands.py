"""What is asked of a server, each in one go: runs in the worker's thread, and knows neither Qt nor the scene."""

from pathlib import Path
from typing import Any, NamedTuple

from slicer.i18n import tr as _

from .client import ServerError

FOLLOW_S = 1.0

# Looked up on the main thread, said in another.
NOTHING_TO_TRAIN = _("This server has nothing to train.")
NO_MODEL = _("No model of this server segments by itself.")


class Opened(NamedTuple):
    """Files of an image: `base` is the mask without the draft, `heat` the model's doubt; None on a server without a queue."""

    standing: dict
    volume: Path
    mask: Path
    base: Path | None
    heat: Path | None


class Answered(NamedTuple):
    """What came back after an answer: the stroke's reply, the next place, and why neither has come."""

    stroke: dict | None
    next: dict | None
    stopped: ServerError | None


class Undone(NamedTuple):
    """What undo has taken back: a step of the draft, or else an answer (its place's id), with both masks as they are now."""

    step: dict
    answer: str
    masks: tuple | None


class Errands:
    """Requests of one person to one server."""

    def __init__(self, client, outbox):
        self.client, self.outbox, self.server, self.late = client, outbox, {}, []

    def connect(self, _call):
        """Ask a server what it can do, and send it what it does not have yet."""
        self.server = self.client.connect()
        self.send()
        return self.server

    def send(self, *mine):
        """Send what is kept; a refusal of one of `mine` is raised, others are noted in `late`."""
        sent = self.outbox.send(self.client)
        self.late += [str(error) for name, error in sent.refused.items() if name not in mine]
        for name in mine:
            if name in sent.refused:
                raise sent.refused[name]
        return sent

    def next_case(self, _call):
        """Say which image to look at next: that of the best place nobody is at, or what the server's strategy says."""
        best = self.client.best_place() if self.server["review"] else None
        if best:
            return best["case"]
        strategies = self.server["strategies"]
        return self.client.next_sample("uncertainty" if "uncertainty" in strategies else strategies[0])

    def add(self, image, file, call):
        """Send a volume file as a new image; gives what the server has then."""
        self.client.add_image(image, file)
        return self.connect(call)

    def open(self, image, folder, again, call):
        """Let the model look at an image where it has not (or `again`), and fetch everything."""
        model = self.server["models"][0] if self.server["models"] else ""
        if not self.server["review"]:
            volume = self.client.image_file(image, folder, call)
            return Opened({}, volume, self.client.predict(image, _known(model), call, folder), None, None)
        self.send()
        standing = self.client.standing(image)
        if again or not standing["predicted"]:
            self.client.predict(image, _known(model), call)
            standing = self.client.standing(image)
        return Opened(standing, *(self.fetch(image, name, folder, call) for name in ("volume", "draft/mask", "mask", "heat")))

    def fetch(self, image, name, folder, call):
        """Fetch a volume of an image under review."""
        target = Path(folder) / f"{name.replace('/', '-')}.nrrd"
        self.client.volume(image, name, target, call)
        return target

    def next(self, image, _call):
        """Reserve the next place."""
        self.send()
        return self.client.next_place(image)

    def take(self, place_id, _call):
        """Reserve a place that was chosen from the list."""
        self.send()
        return {"place": self.client.take(place_id)}

    def look(self, image, _call):
        """Send what is kept, list the queue, and tell how the review stands."""
        self.send()
        return self.client.places(image), self.client.standing(image)

    def answer(self, image, stroke, answer, _call):
        """Send a stroke and an answer that are kept, and reserve the next place."""
        sent = self.send(stroke, answer)
        if answer not in sent.replies:
            return Answered(None, None, sent.stopped)
        try:
            return Answered(sent.replies.get(stroke), self.client.next_place(image), None)
        except ServerError as error:
            if not error.passing:
                raise
            return Answered(sent.replies.get(stroke), None, error)  # the answer is there, the next place is not

    def prompt(self, image, stroke, body, _call):
        """Send a stroke that is kept, then a prompt; gives both replies."""
        return self.send(stroke).replies.get(stroke), self.client.draft(image, "prompt", body)

    def undo(self, image, answered, held, folder, call):
        """Take back the last step of the draft, or else the last answer, and then give back the place that is held."""
        self.send()
        step = self.client.draft(image, "undo")
        if step["step"] or not answered:
            return Undone(step, "", None)
        self.client.take_back(answered)
        if held:
            self.client.release(held)
        return Undone(step, answered, self.masks(image, folder, call))

    def catch_up(self, image, folder, call):
        """Fetch both masks after all that is kept was sent: they are to hold it."""
        sent = self.send()
        if sent.stopped:
            raise sent.stopped
        return self.masks(image, folder, call)

    def masks(self, image, folder, call):
        """Fetch the mask with the draft, and without it."""
        return tuple(self.fetch(image, name, folder, call) for name in ("draft/mask", "mask"))

    def redo(self, image, _call):
        """Do again what was taken back."""
        return self.client.draft(image, "redo")

    def submit(self, image, file, revision, _call):
        """Send the mask as the label of an image."""
        sent = self.send()
        if sent.stopped:
            raise sent.stopped
        return self.client.submit(image, file, revision)

    def train(self, call):
        """Train, tell how far it is, and give what came of it."""
        trainers = self.server["trainers"]
        if not trainers:
            raise ServerError(404, NOTHING_TO_TRAIN)
        self.client.train(trainers[0])
        while True:
            try:
                status, stats = self.client.training(trainers[0])
                if status.get("status") not in ("RUNNING", "PENDING", "SUBMITTED"):
                    return status, stats
                call.tell(stats)
            except ServerError as error:
                if not error.passing or error.status == 401:
                    raise  # else it goes on there, whether or not we hear of it
            call.wait(FOLLOW_S)

    def stop_training(self, _call):
        """Stop it on the server."""
        self.client.stop_training()


def _known(model: Any):
    if not model:
        raise ServerError(404, NO_MODEL)
    return model
