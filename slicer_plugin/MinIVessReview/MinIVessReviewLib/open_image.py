"""The image under review: its files, its masks, its regions. MRML only; requests to the server are made elsewhere."""

import re
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import slicer

from .mask_scene import MaskScene, read_mask
from .views import Views
from .voxels import inside

#: The verdicts of this seat, as the server calls them; the voxels of the first two are final.
ACCEPTED, CORRECTED, SKIPPED = "accepted", "fixed", "skipped"


class OpenImage:
    """One image, or none (`name` is "" then).

    Attributes:
        base: The mask without the draft, (k, j, i) bool; None on a server without a queue.
        items: The queue as listed last: dicts with `id`, `box`, `state` and more.
        item: The region that waits for an answer, or None.
        stroke: The name of its last stroke in the outbox, "" if there is none.
        answered: Regions that were answered here, oldest first, each with the note that was sent.
        done: What was done here, oldest first: ids of answered regions, and "step" for each step of the draft.
        clicks: Voxels that were clicked on for a tool that needs more of them.
        stale: Whether the server's masks may differ from those that are shown, since a reply was lost.
    """

    def __init__(self):
        self.scene = MaskScene()
        self.views = Views(self.scene)
        self._downloads = tempfile.mkdtemp(prefix="minivess_", dir=slicer.app.temporaryPath)
        self.folder = None
        self._reset()

    def close(self):
        """Delete all downloaded files."""
        shutil.rmtree(self._downloads, ignore_errors=True)

    def new_folder(self):
        """Make a folder for the files of an image."""
        return Path(tempfile.mkdtemp(dir=self._downloads))

    def load(self, name, opened, folder):
        """Show an image instead of the one before."""
        self.leave()
        self.name, self.status, self.folder, self._uncertainty = name, opened.status, folder, opened.uncertainty
        self.scene.load(name, opened.volume, opened.mask, opened.status.get("affine_ras"))
        self.base = read_mask(opened.base) if opened.base else None

    def leave(self, scene_closed=False):
        """Remove the image from the scene, and its files from the disk."""
        if scene_closed:  # its nodes are gone
            self.views.forget()
            self.scene.forget()
        self.views.clear()
        self.scene.clear()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._reset()

    # ---- regions ----------------------------------------------------------------------------------------------------------

    def show_item(self, item):
        """Make a region the current one, and show it; None: there is no current region."""
        self.item, self.stroke, self.clicks, self._shown_at = item, "", [], time.monotonic()
        if item:
            self.scene.restrict_drawing(item["box"])
            self.views.go(item)

    @property
    def seconds_shown(self):
        """How long the current region is shown, at most a day: the server takes no more."""
        return min(86400.0, time.monotonic() - self._shown_at)

    def take_stroke(self):
        """Return the voxels of the current region, (i, j, k) bool, if the user has drawn in it; else None.

        What was drawn outside it, or in regions that are answered for good, is discarded.
        """
        locked = [item["box"] for item in self.items if item["state"] in (ACCEPTED, CORRECTED)]
        return self.scene.take_stroke(self.item["box"], locked) if self.item else None

    def verdict(self, box):
        """Return the verdict on a region that is right as it is drawn now."""
        return CORRECTED if (self.scene.stored[inside(box)] != self.base[inside(box)]).any() else ACCEPTED

    def record_answer(self, item, verdict, note):
        """Record the answer to a region; the voxels of one that is accepted or corrected are final."""
        self.answered.append({**item, "note": note})
        self.done.append(item["id"])
        for row in self.items:
            row["state"] = verdict if row["id"] == item["id"] else row["state"]
        if verdict != SKIPPED:
            self.base[inside(item["box"])] = self.scene.stored[inside(item["box"])]

    def forget(self, action):
        """Forget the newest of some actions, since it is undone: the id of an answered region, or "step"."""
        self.answered = [item for item in self.answered if item["id"] != action]
        if action in self.done:
            del self.done[len(self.done) - 1 - self.done[::-1].index(action)]

    # ---- masks ------------------------------------------------------------------------------------------------------------

    def replace_masks(self, mask, base):
        """Read both masks from files: with the draft, and without it."""
        self.scene.replace(read_mask(mask))
        self.base, self.stale, self.stroke = read_mask(base), False, ""
        self.views.show_surface()

    def show_uncertainty(self, opacity, threshold):
        """Show the model's uncertainty where it is above a threshold, in nats."""
        if self._uncertainty:
            self.views.show_uncertainty(self._uncertainty, self.status["affine_ras"], opacity, threshold)

    def toggle_overview(self):
        """Show the whole image with all its regions, or what was shown before."""
        overview = self.views.overview
        if overview.shown:
            overview.hide()
        else:
            overview.show(self.items, self.item)

    def save_label(self, folder):
        """Write the mask to a new file in a folder. Return the file."""
        safe = re.sub(r"[^\w-]+", "_", self.name)
        file = Path(folder) / f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.scene.save_label(file, self.status.get("unit", "mm"))
        return file

    def _reset(self):
        self.name, self.status, self.folder, self.base, self._uncertainty = "", {}, None, None, None
        self.items, self.item, self.stroke, self.answered, self.clicks, self.done = [], None, "", [], [], []
        self._shown_at, self.stale = 0.0, False
