"""Whole images and labels: send an image, submit its mask as the label, compare the newest model with the mask."""

import re
from functools import partial

from slicer.i18n import tr as _

from .client import ServerError
from .mask_scene import write_volume


class Submission:
    """Sends images and labels in a session; `review` opens the images."""

    def __init__(self, session, review):
        self.session, self.review, self.image, self.show = session, review, session.image, session.show

    def add_image(self, node):
        """Send a volume of the scene to the server as a new image, and open it."""
        image = re.sub(r"[^\w.-]+", "_", node.GetName())
        file = self.image.new_folder() / "image.nii.gz"
        write_volume(node, file)

        def done(server):
            self.show.connected(server)
            self.review.open(image)

        self.show.message(_("Sending {image} ...").format(image=image))
        self.session.run(partial(self.session.tasks.add_image, image, file), done, any_image=True)

    def submit(self):
        """Submit the mask as the label of the image, with what others have answered since it was opened."""
        self.image.stale = self.image.stale or self.session.has_queue
        self.session.with_current_masks(self._submit, lambda error: self._submit_failed(self.session.save_label(), error))

    def _submit(self):
        session, image = self.session, self.image
        session.store_stroke()
        if session.has_queue:
            image.scene.discard_drawing()  # what was drawn outside of every region is part of no answer
        else:
            image.scene.mark_stored()
        file = session.save_label()
        revision = (image.status.get("revision") or 0) if session.has_queue else None
        session.run(
            partial(session.tasks.submit, image.name, file, revision),
            partial(self._submitted, file),
            partial(self._submit_failed, file),
        )

    def _submitted(self, file, reply):
        details = reply.get("minivess", {})
        number = self.image.status["revision"] = details.get("revision")
        file.unlink(missing_ok=True)
        words = _("Submitted as revision {number}.").format(number=number) if number else _("Submitted.")
        self.show.message(" ".join([words, *details.get("changes", [])]))

    def _submit_failed(self, file, error):
        self.session.report(error)
        if isinstance(error, ServerError) and error.status == 409:
            words = _("Another user has submitted meanwhile. The server stores both labels; a reviewer decides. ({message})")
            self.show.message(words.format(message=error), True)
        elif isinstance(error, ServerError):
            words = _("{message} Your label is saved in {file}. Press Submit again.")
            self.show.message(words.format(message=error, file=file), True)

    def compare(self):
        """Segment this image again by the newest model, and outline what the mask was before."""
        old = self.image.scene.stored.copy()

        def then():
            self.review.next()
            if (old == self.image.scene.stored).all():
                words = _("No difference: there is no newer model, or it gives the same mask.")
            else:
                dice, count = self.image.scene.compare(old)
                words = _("{count} voxels differ from the mask before (blue outline). Dice coefficient of both: {dice:.3f}.")
                words = words.format(count=count, dice=dice)
            self.session.run(lambda _context: None, lambda _: self.show.message(words))  # after the region is shown

        self.review.open(self.image.name, again=True, then=then)
