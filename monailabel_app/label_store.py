"""The label store behind MONAI Label's `Datastore` interface; label ids are image ids, as its clients expect."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from monailabel.interfaces.datastore import Datastore

from http_errors import as_http
from minivess.errors import InputError, MinivessError, NotFoundError
from minivess.store import FINAL, Case, LabelStore, Revision, current_actor
from minivess.volume.io import suffix_of

RESCAN_S = 10.0
#: Seconds that a case stays reserved for whom it was given to, if they are not heard of again.
LEASE_S = 3600.0
#: Of what is known of an image: not a client's to say.
SERVER_OWNED = frozenset({"remote", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "instances", "unreadable", "changed"})


class StoreDatastore(Datastore):
    """MONAI Label's view of a :class:`minivess.store.LabelStore`."""

    def __init__(self, store: LabelStore) -> None:
        """Take the store, and look which images there are."""
        self.store = store
        self._thread = threading.local()
        self._scanned = 0.0
        self._rescan()

    def name(self) -> str:
        """Name of the studies' folder."""
        return self.store.studies.name

    def set_name(self, name: str) -> None:
        """Do nothing: the folder has its name."""

    def description(self) -> str:
        """What this is."""
        return "MinIVess label store"

    def set_description(self, description: str) -> None:
        """Do nothing: it is what it is."""

    def datalist(self) -> list[dict[str, Any]]:
        """Pair each image that has a final label with it."""
        rows = []
        for case in self.store.images.all(labelled=True):
            head = self.store.head(case.id)
            if head is not None:
                rows.append({"image": str(case.image), "label": str(head.path)})
        return rows

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tag -> label id, for the labels that count."""
        return dict.fromkeys(self.store.heads(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Give the id of a label; empty where there is none."""
        return image_id if self.store.head(image_id, tag) else ""

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Read an image's file."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """Say where an image lies."""
        with _answering():
            return str(self.store.images.get(image_id).image)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Read a label's file."""
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Say where the label lies that counts; empty where there is none."""
        with _answering():
            self.store.images.get(label_id)
            head = self.store.head(label_id, label_tag)
            return str(head.path) if head else ""

    def shown(self, label_id: str, label_tag: str) -> None:
        """Note that who acts now was sent the label that counts: what they submit next is made from it."""
        if current_actor.get():
            self.store.leases.saw(label_id, label_tag, current_actor.get())

    def is_here(self, image_id: str) -> bool:
        """Tell whether an image can be read without being fetched first."""
        return True

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image."""
        with _answering():
            case = self.store.images.get(image_id)
            return {**case.info, **self.store.images.noted(image_id), "path": str(case.image), "name": case.image.name}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of the label that counts."""
        with _answering():
            self.store.images.get(label_id)
            head = self.store.head(label_id, label_tag)
            return _label_info(head) if head else {}

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images with a label of a tag, ``final`` where none is named."""
        return [case.id for case in self.store.images.all(labelled=True, tag=label_tag or FINAL)]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images without one, and not reserved for somebody else."""
        self._rescan()
        taken = self.store.leases.held(by_others_than=current_actor.get())
        cases = self.store.images.all(labelled=False, tag=label_tag or FINAL)
        return [case.id for case in cases if case.id not in taken]

    def list_images(self) -> list[str]:
        """Ids of all images."""
        self._rescan()
        return [case.id for case in self.store.images.all()]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write a ZIP of the images with a final label, and of these labels."""
        cases = self.store.images.all(labelled=True)[: limit_cases or None]
        with _answering():
            if not cases:
                raise NotFoundError("There is no final label yet, so there is nothing to pack.")
            with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
                try:
                    self._pack(cases, file)
                except BaseException:
                    Path(file.name).unlink()
                    raise
            return file.name

    def _pack(self, cases: list[Case], file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for case in cases:
                head = self.store.head(case.id)
                if head is not None:
                    archive.write(case.image, f"image/{case.id}{suffix_of(case.image)}")
                    archive.write(head.path, f"label/{case.id}.nii.gz")
            archive.writestr("metadata.json", json.dumps(self.json()))

    def refresh(self) -> None:
        """Look for new images now."""
        self._rescan(older_than_s=0.0)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take an uploaded image."""
        with _answering():
            return self.store.images.add(Path(image_filename), case_id=image_id, actor=actor_of(image_info), info=image_info).id

    def remove_image(self, image_id: str) -> None:
        """Take an image out of the lists; nothing is deleted."""
        with _answering():
            self.store.images.remove(image_id, actor=actor_of({}))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label as a revision."""
        info = label_info or {}
        with _answering():
            self._thread.saved = None
            self._thread.saved = self.store.submit(
                Path(label_filename),
                case_id=image_id,
                actor=actor_of(info),
                tag=label_tag,
                base=info.get("base"),
                key=str(info.get("idempotency_key", "")),
                label_info=info.get("label_info"),
                may_be_empty=info.get("empty") is True or label_tag != FINAL,
                info={"params": {**info, "ts": int(time.time())}},
            )
            self.store.leases.release(image_id, actor_of(info))
        return image_id

    def saved(self) -> Revision | None:
        """Give the revision that this thread has just saved."""
        return getattr(self._thread, "saved", None)

    def remarks(self, saved: Revision) -> dict[str, Any]:
        """Say what became of a label besides."""
        return {}

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Let no label of a tag count; its revisions stay."""
        with _answering():
            self.store.withdraw(label_id, label_tag, actor=actor_of({}))

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of an image; what a strategy notes at each turn is kept apart."""
        with _answering():
            owned = sorted(SERVER_OWNED & set(info))
            if owned:
                raise InputError(f"{owned[0]!r} is kept by the server and cannot be set. Leave it out.")
            passing = {k: v for k, v in info.items() if k in ("strategy", "minivess_uncertainty")}
            if passing:
                self.store.images.note(image_id, {**self.store.images.noted(image_id), **passing})
            lasting = {k: v for k, v in info.items() if k not in passing}
            if lasting:
                self.store.images.update_info(image_id, lasting, actor=actor_of(info))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label; what MONAI Label's reviewer says becomes a review."""
        with _answering():
            head = self.store.head(label_id, label_tag)
            if head is None:
                raise NotFoundError(f"{label_id} has no current label with the tag {label_tag}.")
            actor = actor_of(info)
            self.store.update_label_info(label_id, label_tag, {"params": dict(info)}, actor=actor)
            said = info.get("segmentationMeta") or {}
            if said.get("status") in ("approved", "flagged"):
                self.store.review(label_id, head.number, said["status"], actor=actor, comment=str(said.get("comment", "")))

    def status(self) -> dict[str, Any]:
        """Count images and labels."""
        total, labelled = self.store.images.all(), self.store.images.all(labelled=True)
        return {"total": len(total), "completed": len(labelled), "label_tags": self.store.counts()}

    def json(self) -> dict[str, Any]:
        """List everything in the form of MONAI Label's own index."""
        objects = {}
        for case in self.store.images.all():
            heads = {tag: {"ext": ".nii.gz", "info": _label_info(head)} for tag, head in self.store.heads(case.id).items()}
            info = {**case.info, **self.store.images.noted(case.id)}
            objects[case.id] = {"image": {"ext": suffix_of(case.image), "info": info}, "labels": heads}
        return {
            "name": self.name(),
            "description": self.description(),
            "images_dir": ".",
            "labels_dir": "labels",
            "objects": objects,
        }

    def _rescan(self, older_than_s: float = RESCAN_S) -> None:
        if time.monotonic() - self._scanned >= older_than_s or not self._scanned:
            self._scanned = time.monotonic()
            self.store.images.scan()


def actor_of(info: Mapping[str, Any]) -> str:
    """Name who acts: whom the server has recognised; a server that recognises nobody has the client's word."""
    return current_actor.get() or str(info.get("client_id") or info.get("user") or "annotator")


def _label_info(head: Revision) -> dict[str, Any]:
    ours = {"revision": head.number, "actor": head.actor, "voxels": head.info.get("voxels"), "changes": head.info.get("changes")}
    return {**head.info.get("params", {}), "name": head.path.name, "minivess": ours}


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except MinivessError as error:
        raise as_http(error) from error
