"""The image under review: what was fetched of it, and how it stands. MRML only; what is asked of the server is in `review`."""

import re
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import slicer

from .scene import Scene, read_mask
from .views import Views
from .voxels import inside


class Case:
    """One image, or none (`name` is "" then); `base` is the mask without the draft, (k, j, i) bool."""

    def __init__(self):
        self.scene = Scene()
        self.views = Views(self.scene)
        self._fetched = tempfile.mkdtemp(prefix="minivess_", dir=slicer.app.temporaryPath)
        self.folder = None
        self._forget()

    def close(self):
        """Leave no image behind on this computer."""
        shutil.rmtree(self._fetched, ignore_errors=True)

    def new_folder(self):
        """Make a folder for what is fetched of an image."""
        return Path(tempfile.mkdtemp(dir=self._fetched))

    def load(self, name, opened, folder):
        """Show an image in place of the one before."""
        self.leave()
        self.name, self.standing, self.folder, self._heat = name, opened.standing, folder, opened.heat
        self.scene.load(name, opened.volume, opened.mask, opened.standing.get("affine_ras"))
        self.base = read_mask(opened.base) if opened.base else None

    def leave(self, scene_closed=False):
        """Take the image out of the scene, and what was fetched of it off the disk."""
        if scene_closed:  # its nodes are gone
            self.views.forget()
            self.scene.forget()
        self.views.clear()
        self.scene.clear()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._forget()

    def changed(self, box):
        """Tell whether the draft differs in a box from the mask without it."""
        return bool((self.scene.held[inside(box)] != self.base[inside(box)]).any())

    def accept(self, box):
        """What is drawn in a box is the mask from now on."""
        self.base[inside(box)] = self.scene.held[inside(box)]

    def replace(self, mask, base):
        """Take both masks anew, from files."""
        self.scene.replace(read_mask(mask))
        self.base = read_mask(base)
        self.views.show_surface()

    def show_heat(self, opacity, threshold):
        """Show the model's doubt from a threshold on, in nats."""
        if self._heat:
            self.views.show_heat(self._heat, self.standing["affine_ras"], opacity, threshold)

    def save_label(self, folder):
        """Write the mask to a new file in a folder; gives the file."""
        safe = re.sub(r"[^\w-]+", "_", self.name)
        file = Path(folder) / f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.scene.save_label(file, self.standing.get("unit", "mm"))
        return file

    def _forget(self):
        self.name, self.standing, self.folder, self.base, self._heat = "", {}, None, None, None
