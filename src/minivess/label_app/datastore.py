"""The label store behind MONAI Label's ``Datastore`` interface; label ids are image ids, as its clients expect."""

from __future__ import annotations

import io
import json
import logging
import tempfile
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from monailabel.interfaces.datastore import Datastore

from minivess.errors import InputError, NotFoundError, StoreError, UsageError
from minivess.label_app.http_errors import http_errors
from minivess.models import ModelRef
from minivess.store import FINAL, Case, LabelStore, Revision, RevisionInfo, current_actor
from minivess.volume.io import suffix_of

_logger = logging.getLogger(__name__)
RESCAN_S = 10.0
#: Seconds that a case stays reserved for an annotator who does nothing.
LEASE_S = 3600.0
#: Keys of an image's info that clients cannot set.
SERVER_OWNED = frozenset({"remote", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "instances", "unreadable", "changed"})
#: Keys of an image's info that change with each sample, and are not recorded as events.
_TRANSIENT = ("strategy", "minivess_uncertainty")


class StoreDatastore(Datastore):
    """MONAI Label's view of a :class:`minivess.store.LabelStore`."""

    def __init__(self, store: LabelStore) -> None:
        """Open the view, and scan the studies for images."""
        self.store = store
        self._thread = threading.local()
        self._scanned = 0.0
        self._rescan()

    def start(self) -> None:
        """Start background work of a server; a folder of studies needs none."""

    def name(self) -> str:
        """Return the name of the studies' folder."""
        return self.store.studies.name

    def set_name(self, name: str) -> None:
        """Do nothing: the name is that of the folder."""

    def description(self) -> str:
        """Return the kind of datastore."""
        return "MinIVess label store"

    def set_description(self, description: str) -> None:
        """Do nothing: the description is fixed."""

    def datalist(self) -> list[dict[str, Any]]:
        """List image and label files of the cases that have a final label."""
        return [{"image": str(case.image), "label": str(head.path)} for case, head in self._intact()]

    def _intact(self) -> list[tuple[Case, Revision]]:
        """List the cases with an intact final label; the others are reported in the log and left out."""
        pairs, faults = self.store.intact_heads()
        for fault in faults.values():
            _logger.warning("%s", fault)
        return pairs

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Return tag -> label id of the current labels."""
        return dict.fromkeys(self.store.heads(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Return the id of a label; empty when there is none.

        Args:
            image_id: The image.
            tag: Tag of the label.
        """
        return image_id if self.store.head(image_id, tag) else ""

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Read the file of an image.

        Args:
            image_id: The image.
            params: Not used.
        """
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of an image."""
        with http_errors():
            return str(self.store.images.get(image_id).image)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Read the file of a label.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
            params: Not used.
        """
        return io.BytesIO(Path(self.get_label_uri(label_id, label_tag)).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Return the path of the current label; empty when there is none.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
        """
        with http_errors():
            self.store.images.get(label_id)
            head = self.store.head(label_id, label_tag)
            return str(self.store.label_file(head)) if head else ""

    def record_served(self, label_id: str, label_tag: str) -> None:
        """Record that the current label was served to the current user; it is the default base of their next submission.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
        """
        if current_actor.get():
            self.store.leases.record_served(label_id, label_tag, current_actor.get())

    def write_dicom_seg(self, image_id: str, mask: Path, model: ModelRef | None, target: Path) -> Path:
        """Write a mask as DICOM SEG; only images of a DICOMweb server can be referenced by one.

        Args:
            image_id: The image.
            mask: File of the mask.
            model: The model that predicted it; None for a label.
            target: File to write.

        Raises:
            UsageError: When the studies are a folder.
        """
        raise UsageError("output=dicom_seg needs an image of a DICOM server: minivess serve http://HOST/dicom-web.")

    def is_local(self, image_id: str) -> bool:
        """Return whether an image can be read without a download."""
        return True

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return the facts about an image."""
        with http_errors():
            case = self.store.images.get(image_id)
            transient = self.store.images.transient_info(image_id)
            relative = case.image.relative_to(self.store.studies).as_posix()
            return {**case.info, **transient, "path": relative, "name": case.image.name}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Return what is recorded with the current label.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
        """
        with http_errors():
            self.store.images.get(label_id)
            head = self.store.head(label_id, label_tag)
            return _label_info(head) if head else {}

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """List the images that have a label.

        Args:
            label_tag: Tag of the label; ``final`` by default.
            labels: Not used.
        """
        return [case.id for case, _ in self.store.intact_heads(label_tag or FINAL)[0]]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """List the images that have no label and are not reserved for another user.

        Args:
            label_tag: Tag of the label; ``final`` by default.
            labels: Not used.
        """
        self._rescan()
        reserved = self.store.leases.held(by_others_than=current_actor.get())
        return [i for i in self.store.images.ids(labelled=False, tag=label_tag or FINAL) if i not in reserved]

    def list_images(self) -> list[str]:
        """List all images."""
        self._rescan()
        return self.store.images.ids()

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write a ZIP file of the images that have a final label, with these labels, and return its path."""
        pairs = self._intact()[: limit_cases or None]
        with http_errors():
            if not pairs:
                raise NotFoundError("There is no final label yet. Submit a label first.")
            with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file:
                try:
                    self._write_archive(pairs, file)
                except BaseException:
                    Path(file.name).unlink()
                    raise
            return file.name

    def _write_archive(self, pairs: list[tuple[Case, Revision]], file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", strict_timestamps=False) as archive:  # microscopes without a clock write 1970
            for case, head in pairs:
                archive.write(case.image, f"image/{case.id}{suffix_of(case.image)}")
                archive.write(head.path, f"label/{case.id}.nii.gz")
            archive.writestr("metadata.json", json.dumps(self.json()))

    def refresh(self) -> None:
        """Scan the studies for new images now."""
        self._rescan(older_than_s=0.0)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add an uploaded image and return its id.

        Args:
            image_id: Id that it should have.
            image_filename: The upload.
            image_info: Facts about it.
        """
        with http_errors():
            actor = actor_of(image_info)
            refused = sorted((SERVER_OWNED | {"subject"}) & set(image_info))
            if refused:
                raise InputError(
                    f"{refused[0]!r} cannot be set with an upload. A reviewer sets the subject: PUT /datastore/image/info."
                )
            return self.store.images.add(Path(image_filename), image_id=image_id, actor=actor, info=image_info).id

    def remove_image(self, image_id: str) -> None:
        """Remove an image from the lists; no file is deleted."""
        with http_errors():
            self.store.images.remove(image_id, actor=actor_of({}))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Record a label as a revision and return its id.

        Args:
            image_id: The image.
            label_filename: The upload.
            label_tag: Tag of the label.
            label_info: What the client sent with it.
        """
        info = label_info or {}
        with http_errors():
            self._thread.saved = None
            self._thread.saved = self.store.submit(
                Path(label_filename),
                image_id=image_id,
                actor=actor_of(info),
                tag=label_tag,
                base=info.get("base"),
                key=str(info.get("idempotency_key", "")),
                label_info=info.get("label_info"),
                may_be_empty=info.get("empty") is True or label_tag != FINAL,
                info=RevisionInfo(params={**info, "ts": int(time.time())}),
            )
        try:
            self.store.leases.release(image_id, actor_of(info))
        except StoreError as error:  # the label is stored: this is no refusal
            _logger.warning("the reservation of an image stays until it expires: %s", error)
        return image_id

    def saved_revision(self) -> Revision | None:
        """Return the revision that this thread has just saved."""
        return getattr(self._thread, "saved", None)

    def remarks(self, saved: Revision) -> dict[str, Any]:
        """Return further facts about a saved label, for the annotator."""
        return {}

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Withdraw the current label of a tag; its revisions stay.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
        """
        with http_errors():
            self.store.withdraw(label_id, label_tag, actor=actor_of({}))

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add facts about an image; those of the strategies are not recorded as events.

        Args:
            image_id: The image.
            info: The facts.
        """
        with http_errors():
            owned = sorted(SERVER_OWNED & set(info))
            if owned:
                raise InputError(f"{owned[0]!r} is set by the server only. Leave it out.")
            transient = {key: value for key, value in info.items() if key in _TRANSIENT}
            if transient:
                self.store.images.set_transient_info(image_id, {**self.store.images.transient_info(image_id), **transient})
            lasting = {key: value for key, value in info.items() if key not in transient}
            if lasting:
                self.store.images.update_info(image_id, lasting, actor=actor_of(info))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add facts about a label; the status that MONAI Label's reviewer sets becomes a review.

        Args:
            label_id: The image.
            label_tag: Tag of the label.
            info: The facts.
        """
        with http_errors():
            head = self.store.head(label_id, label_tag)
            if head is None:
                raise NotFoundError(f"{label_id} has no current label with the tag {label_tag}.")
            actor = actor_of(info)
            review = info.get("segmentationMeta") or {}
            if not isinstance(review, dict):
                raise InputError(f"segmentationMeta is an object with status and comment. Got {str(review)[:40]!r}.")
            self.store.update_label_info(label_id, label_tag, {"params": dict(info)}, actor=actor)
            if review.get("status") in ("approved", "flagged"):
                comment = str(review.get("comment", ""))
                self.store.review(label_id, head.number, review["status"], actor=actor, comment=comment)

    def status(self) -> dict[str, Any]:
        """Count images and labels."""
        total, labelled = self.store.images.ids(), self.store.images.ids(labelled=True)
        return {"total": len(total), "completed": len(labelled), "label_tags": self.store.counts()}

    def json(self) -> dict[str, Any]:
        """List everything in the form of MONAI Label's own index."""
        objects = {}
        for case in self.store.images.all():
            heads = {tag: {"ext": ".nii.gz", "info": _label_info(head)} for tag, head in self.store.heads(case.id).items()}
            info = {**case.info, **self.store.images.transient_info(case.id)}
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
    """Return who acts: the authenticated user, or the name that a client of a server without accounts has sent."""
    return current_actor.get() or str(info.get("client_id") or info.get("user") or "annotator")


def _label_info(head: Revision) -> dict[str, Any]:
    recorded = {"revision": head.number, "actor": head.actor, "voxels": head.info.voxels, "changes": list(head.info.changes)}
    return {**head.info.params, "name": f"{head.image_id}.nii.gz", "minivess": recorded}
