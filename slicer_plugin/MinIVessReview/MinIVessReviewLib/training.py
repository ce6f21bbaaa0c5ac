"""A training on the server: start, follow, stop. It has a worker of its own, so that the review goes on meanwhile."""

from slicer.i18n import tr as _

from .task_context import CancelledError


class Training:
    """Follows a training. `show` displays it: `training(text, share)`, and `trained(text)` when it is over."""

    def __init__(self, worker, show):
        self.worker, self.show, self._tasks = worker, show, None

    @property
    def running(self):
        """Whether a training is followed."""
        return self.worker.busy

    def start(self, tasks):
        """Train on what was reviewed, and follow the progress."""
        self._tasks = tasks
        self.show.training(_("The training starts ..."), 0.0)
        self.worker.submit(tasks.train, self._done, self._failed, self._progress)

    def stop(self):
        """Stop the training on the server."""
        self.worker.cancel()
        stopped = _("The training is stopped.")
        self.worker.submit(self._tasks.stop_training, lambda _: self.show.trained(stopped), self._failed)

    def _progress(self, stats):
        epochs, epoch = stats.get("epochs") or 0, stats.get("epoch", 0)
        if epochs and stats.get("state") == "running":
            words = _("Training: epoch {epoch} of {epochs}").format(epoch=epoch, epochs=epochs)
            self.show.training(words, min(1.0, epoch / epochs))

    def _done(self, found):
        status, stats = found
        if not status:
            self.show.trained(_("The server has no record of this training. Was it restarted?"))
            return
        if status.get("status", "DONE") != "DONE":
            details = status.get("details") or [""]
            self.show.trained(_("The training failed. {message}").format(message=str(details[-1])[:300]))
            return
        words = _("The training is done.")
        if "validation_dice" in stats:
            scores = _("Dice coefficient {before:.3f} before, {after:.3f} now: {state}. Compare shows the difference here.")
            before = stats.get("published_dice_before") or 0.0
            words += " " + scores.format(before=before, after=stats["validation_dice"], state=stats.get("state", ""))
        self.show.trained(words)

    def _failed(self, error):
        if not isinstance(error, CancelledError):
            self.show.trained(str(error))
