"""The session of one user at one server: connection, outbox and open image, shared by review, draft editing and submission.

Requests run in the worker's thread (`server_tasks`); the scene changes here, on the main thread.
"""

from functools import partial
from pathlib import Path
from urllib.parse import quote

from slicer.i18n import tr as _

from .client import Client, ServerError
from .open_image import OpenImage
from .outbox import Outbox
from .server_tasks import REFUSED_LATE, EntryRefusedError, ServerTasks
from .task_context import CancelledError
from .voxels import pack, unpack


class Session:
    """What the parts of the module share. `show` displays; `tasks` is None until a server has answered."""

    def __init__(self, worker, show, folder):
        self.worker, self.show, self.folder = worker, show, Path(folder)
        self.outbox, self.image, self.tasks = Outbox(self.folder / "unsent"), OpenImage(), None
        self._notices = []
        self._changing = 0  # changes of the draft that are on their way

    @property
    def has_queue(self):
        """Whether the server has a queue of regions; a stock MONAI Label server has none."""
        return bool(self.tasks and self.tasks.server.has_queue)

    # ---- server and image -------------------------------------------------------------------------------------------------

    def connect(self, url, token):
        """Read what a server offers, and send what is unsent."""
        tasks = ServerTasks(Client(url, token), self.outbox)

        def done(server):
            self.store_drawing()  # it belongs to the user who has drawn it
            before, self.tasks = self.tasks, tasks
            self._collect_notices()
            if before and (before.client.url, before.client.user) != (tasks.client.url, tasks.client.user):
                self.leave_image()  # the draft that is shown belongs to another user
            self.show.connected(server)
            unsent = self.outbox.count(tasks.client)
            if unsent:
                self.show.message(_("{count} strokes and answers are unsent. N sends them.").format(count=unsent), True)
            elif not server.has_queue:
                self.show.message(_("This MONAI Label server has no queue: segment, correct, submit."))

        self.run(tasks.connect, done, any_image=True)

    def leave_image(self, scene_closed=False):
        """Close the image."""
        self.image.leave(scene_closed)
        self.show.image(self.image, None)
        self.show.region(None)

    def scene_closed(self):
        """Drop all tasks after the scene was closed; strokes and answers are on the server or in the outbox."""
        self.worker.cancel()
        self._changing = 0
        self.leave_image(scene_closed=True)
        self._show_notices()

    def cancel(self):
        """Drop all tasks. A request that was sent may still be carried out."""
        self.worker.cancel()
        self._changing = 0
        self.image.stale = bool(self.image.name)
        self.show.message(_("Cancelled. A request that was sent may still be carried out."))

    # ---- what was drawn ---------------------------------------------------------------------------------------------------

    def store_drawing(self):
        """Save what was drawn: in the outbox, or in a file if the server has no drafts."""
        if self.has_queue:
            self.store_stroke()
        elif self.image.scene.drawn:
            words = _("What you have drawn in {image} was not submitted. It is saved in {file}.")
            self.notify(words.format(image=self.image.name, file=self.save_label()))

    def store_stroke(self):
        """Write what was drawn in the current region to the outbox. Return the region's last stroke there, "" if none."""
        drawn = self.image.take_stroke()
        if drawn is not None:
            self.image.done.append("step")
            path = f"/review/images/{quote(self.image.name)}/draft/draw"
            body = {"box": list(self.image.item["box"]), "voxels": pack(drawn), "place": self.image.item["id"]}
            self.image.stroke = self.outbox.add(self.tasks.client, "POST", path, body=body)
        return self.image.stroke

    def save_label(self):
        """Write the mask to a file on this computer. Return the file."""
        return self.image.save_label(self.folder / "labels")

    def apply(self, reply):
        """Show the voxels of a reply to a stroke, a prompt, undo or redo. What the user is drawing meanwhile stays."""
        if reply and reply.get("reserved_for"):
            words = _("This region is reserved for {name} now: your pause was long. What you drew stays in your draft.")
            self.notify(words.format(name=reply["reserved_for"]))
        if reply and reply["step"]:
            box = reply["step"]["box"]
            self.image.scene.apply(box, unpack(reply["holds"], box))
            self.image.views.show_surface()

    def with_current_masks(self, work, offline=None):
        """Call `work`; if the masks are stale, send what is unsent and read them first.

        If the server does not answer, `offline(error)` is called instead of `work`, if it is given.
        """
        image = self.image
        if not image.stale:
            work()
            return

        def done(masks):
            image.replace_masks(*masks)
            work()

        def failed(error):
            if isinstance(error, ServerError) and error.temporary:
                offline(error) if offline else work()  # the masks stay stale
            else:
                self.report(error)

        self.run(partial(self.tasks.synchronize, image.name, image.folder, self.store_stroke()), done, failed)

    def change_draft(self, work, done, failed=None):
        """Run a task that changes the draft on the server; answers wait for it."""
        self._changing, image = self._changing + 1, self.image.name

        def ended(handler, result):
            self._changing = max(0, self._changing - 1)
            if image == self.image.name:
                handler(result)
            elif isinstance(result, EntryRefusedError):
                self.notify(REFUSED_LATE.format(message=result))
            elif isinstance(result, Exception):
                self.report(result)

        self.run(work, partial(ended, done), partial(ended, failed or self.report), any_image=True)

    def after_changes(self, work):
        """Call `work` after the changes of the draft that are on their way; at once if there is none."""
        if self._changing:
            self.run(lambda _context: None, lambda _: work())
        else:
            work()

    # ---- tasks and messages -----------------------------------------------------------------------------------------------

    def run(self, work, done, failed=None, progress=None, any_image=False):
        """Run a task. Its result is dropped if another image is open by then, unless it is for `any_image`."""
        image = None if any_image else self.image.name
        self.worker.submit(
            work, partial(self._finish, image, done), partial(self._finish, image, failed or self.report), progress
        )

    def _finish(self, image, handler, result):
        self._collect_notices()
        try:
            if image in (None, self.image.name):
                handler(result)
            elif isinstance(result, EntryRefusedError):
                self.notify(REFUSED_LATE.format(message=result))
            elif isinstance(result, Exception):
                self.report(result)
        except (OSError, ValueError) as error:
            self.report(error)
        if not self.worker.busy:
            self._show_notices()

    def report(self, error):
        """Show an error. After a temporary failure the masks are stale: the server may have done what was asked."""
        if isinstance(error, CancelledError):
            return
        if isinstance(error, EntryRefusedError):
            self._handle_refusal(error)
            return
        self.show.message(str(error), True)
        if isinstance(error, ServerError) and error.temporary:
            self.image.stale = bool(self.image.name)
            if error.status == 401:
                self.show.ask_for_token()

    def _handle_refusal(self, error):
        """A stroke or an answer was refused: save the mask to a file, and show the masks that the server has."""
        words = _("The server refused this: {message} Your mask is saved in {file}.")
        self.notify(words.format(message=error, file=self.save_label()))
        self.image.stale, self.image.stroke = True, ""
        self.image.scene.discard_drawing()  # it is in the file
        self.with_current_masks(lambda: None)

    def _collect_notices(self):
        if self.tasks and self.tasks.notices:
            self._notices += self.tasks.notices
            self.tasks.notices = []
            self.image.stale = bool(self.image.name)  # an unsent entry was lost, and the masks may still show it

    def notify(self, text):
        """Show a warning after all tasks have finished, so that no other message replaces it."""
        self._notices.append(text)

    def _show_notices(self):
        if self._notices:
            self.show.message(" ".join(self._notices), True)
            self._notices = []
