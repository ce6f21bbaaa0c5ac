"""An image sent to the server, its mask sent as its label, and the newest model compared on it."""

import re
from functools import partial

from slicer.i18n import tr as _

from .client import ServerError
from .scene import write_volume


class Labels:
    """What goes to the server as a whole, from the image that a review has open."""

    def __init__(self, review):
        self.review = review

    def add(self, node):
        """Send a volume of the scene to the server as a new image, and open it."""
        image = re.sub(r"[^\w.-]+", "_", node.GetName())
        file = self.review.case.new_folder() / "image.nii.gz"
        write_volume(node, file)

        def done(server):
            self.review.show.connected(server)
            self.review.open(image, then=self.review.next if self.review.has_queue else None)

        self.review.show.message(_("Sending {image} ...").format(image=image))
        self.review.ask(partial(self.review.errands.add, image, file), done, anywhere=True)

    def submit(self):
        """Send the mask as the label of the image."""
        self.review.keep_stroke()
        if self.review.has_queue:
            self.review.case.scene.put_back()  # what was drawn in no place is nobody's answer
        else:
            self.review.case.scene.settle()
        file = self.review.case.save_label(self.review.folder / "labels")
        revision = (self.review.case.standing.get("revision") or 0) if self.review.has_queue else None

        def done(told):
            number = told.get("minivess", {}).get("revision")
            self.review.case.standing["revision"] = number
            file.unlink(missing_ok=True)
            words = [_("Submitted as revision {number}.").format(number=number) if number else _("Submitted.")]
            self.review.show.message(" ".join(words + told.get("minivess", {}).get("changes", [])))

        def failed(error):
            if isinstance(error, ServerError) and error.status == 409:
                words = _("Somebody else has submitted meanwhile. Yours is kept beside theirs; a reviewer decides. ({words})")
                self.review.show.message(words.format(words=error), True)
            elif isinstance(error, ServerError):
                words = _("{words} Your label is kept in {file}; press Submit again.")
                self.review.show.message(words.format(words=error, file=file), True)
            else:
                self.review.failed(error)

        self.review.ask(partial(self.review.errands.submit, self.review.case.name, file, revision), done, failed)

    def compare(self):
        """Let the model of now look at this image again, and outline what the mask was before."""
        image, old = self.review.case.name, self.review.case.scene.held.copy()

        def then():
            if self.review.has_queue:
                self.review.next()
            if not (old != self.review.case.scene.held).any():
                self.review.show.message(_("Nothing differs: there is no newer model, or it draws the same."))
                return
            dice, differ = self.review.case.scene.compare(old)
            words = _("{count} voxels differ from before (blue outline), Dice between both {dice:.3f}.")
            self.review.ask(
                lambda _call: None, lambda _: self.review.show.message(words.format(count=differ, dice=dice))
            )  # when all is shown

        self.review.open(image, again=True, then=then)
