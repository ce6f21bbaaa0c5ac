"""The store of a studies folder: immutable label revisions, the current one per tag, reviews, leases and the review queue."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from minivess.errors import ConflictError, DamagedLabelError, InputError, NotFoundError, StoreError
from minivess.paths import file_sha256, fsync_file
from minivess.store.checked_files import CheckedFiles
from minivess.store.images import Images
from minivess.store.journal import Journal, on_disk
from minivess.store.label_check import check_label
from minivess.store.leases import Leases
from minivess.store.names import FINAL, check_name
from minivess.store.queue import ReviewQueue
from minivess.store.records import Case, Revision, RevisionInfo
from minivess.store.revision_writer import current_revision, find_repeated, write_revision
from minivess.volume import Unit, Volume, read_volume, write_volume

#: Default folder of the store inside the studies.
STORE_FOLDER = "minivess_store"
ReviewState = Literal["approved", "flagged", "rejected"]
REVIEW_STATES: tuple[ReviewState, ...] = get_args(ReviewState)


class LabelStore:
    """All cases, label revisions and verdicts of a studies folder; any number of threads and processes may use it at once.

    Attributes:
        images: The cases.
        leases: Reservations of cases.
        queue: The review queue.
        journal: Events, index and audit chain.
    """

    def __init__(
        self, studies: Path, *, root: Path | None = None, labels: Mapping[str, int] | None = None, unit: Unit | None = None
    ) -> None:
        """Open the store of a studies folder; create it when it does not exist.

        Args:
            studies: Folder with the images, also in sub-folders; they are not moved.
            root: Folder of the store; by default ``minivess_store`` inside the studies.
            labels: Label name -> value, from 1 to 255; ``{"vessel": 1}`` by default.
            unit: Unit of the spacing of images that do not state it, or state a wrong one.

        Raises:
            StoreError: When the folder cannot be written, or its files are damaged.
        """
        self.studies = Path(studies).resolve()
        self.root = Path(root).resolve() if root else self.studies / STORE_FOLDER
        self.labels = dict(labels or {"vessel": 1})
        self.unit = unit
        self.journal = Journal(self.root)
        self.images = Images(self.journal, self.studies, unit=unit)
        self.leases = Leases(self.journal)
        self.queue = ReviewQueue(self.journal)
        self._label_files = CheckedFiles()

    def check_readable(self) -> None:
        """Check that the studies and the index can be read now.

        Raises:
            StoreError: When one cannot.
        """
        if not self.studies.is_dir():
            raise StoreError(f"The studies folder {self.studies.name} cannot be read. Is its disk mounted?")
        self.journal.connection.execute("SELECT 1 FROM applied")

    def close(self) -> None:
        """Close the store: other processes may repair or upgrade it when nobody uses it."""
        self.journal.close()

    def submit(
        self,
        upload: Path,
        *,
        image_id: str,
        actor: str,
        tag: str = FINAL,
        base: int | None = None,
        key: str = "",
        label_info: Sequence[Mapping[str, Any]] | None = None,
        may_be_empty: bool = False,
        info: RevisionInfo | None = None,
    ) -> Revision:
        """Store a label as a new revision. When this returns, it is on the disk, in the audit chain and in the index.

        Args:
            upload: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.bin``, see :func:`~minivess.store.label_check.check_label`.
            image_id: The image.
            actor: Who submits it.
            tag: Tag of the label; ``final`` labels are those that annotators accept and that are used for training.
            base: Number of the revision that it was made from; by default the one last served to this actor.
            key: Idempotency key; the same key with the same content returns the same revision. Without a key, a repetition of
                this actor's last submission for this image and tag is recognised by its content.
            label_info: Meaning of the values: rows of ``name`` and ``idx``.
            may_be_empty: Whether a label without foreground is accepted.
            info: More to record with it; ``voxels`` and ``changes`` are replaced.

        Returns:
            The new revision, or the existing one of a repeated submission.

        Raises:
            ConflictError: When another user has submitted a final label since ``base``; both are stored, this one as a rival
                that waits for the decision of a reviewer.
            InputError: When it is not a label of this image, or the key was used for another label.
            NotFoundError: When there is no such image.
            StoreError: When the revision cannot be written; nothing was changed.
            UnsafeFileError: When ``image_id`` or ``tag`` is not a valid name.
        """
        case = self.images.get(image_id)
        check_name(tag, "The tag")
        if base is not None and (not isinstance(base, int) or isinstance(base, bool)):
            raise InputError(f"base must be the number of a revision. Got {str(base)[:40]!r}.")
        with on_disk():
            upload_hash = hashlib.sha256(f"{file_sha256(upload)} {json.dumps(label_info, sort_keys=True)}".encode()).hexdigest()
        body: dict[str, Any] = {"tag": tag, "base": base, "key": key, "upload": upload_hash}
        revision = find_repeated(self.journal, image_id, actor, body)
        if revision is None:
            image = read_volume(case.image, unit=self.unit)
            checked = check_label(
                upload, image, labels=self.labels, label_info=label_info, may_be_empty=may_be_empty, unit=self.unit
            )
            recorded = replace(info or RevisionInfo(), voxels=checked.voxels, changes=tuple(checked.changes))
            revision = self._write(checked.volume, image_id, actor, {**body, "info": recorded.to_json()})
        if revision.state == "rival":
            raise self._rival_error(revision)
        return revision

    def _write(self, label: Volume, image_id: str, actor: str, body: dict[str, Any]) -> Revision:
        """Write a label that was checked as a new revision."""
        with on_disk():
            folder = self.journal.folder(image_id)
            with tempfile.TemporaryDirectory(prefix=".submit.", dir=folder, ignore_cleanup_errors=True) as temporary:
                file = write_volume(label, Path(temporary) / "label.nii.gz")
                return write_revision(self.journal, image_id, actor, file, body)

    def _rival_error(self, revision: Revision) -> ConflictError:
        """Return the message for the user whose label is not the current one, since another user was faster."""
        head = self.head(revision.image_id, revision.tag)
        return ConflictError(
            f"Your label was stored as revision {revision.number}, but it was made from "
            f"{f'revision {revision.base}' if revision.base else 'no revision'}, and since then "
            f"{head.actor if head else 'another user'} submitted revision {head.number if head else '?'}. "
            "A reviewer decides between them; nothing is lost."
        )

    def head(self, image_id: str, tag: str = FINAL) -> Revision | None:
        """Return the current revision of a tag; None when there is none.

        Args:
            image_id: The image.
            tag: The tag.
        """
        return current_revision(self.journal, image_id, tag)

    def heads(self, image_id: str) -> dict[str, Revision]:
        """Return tag -> current revision of a case."""
        rows = self.journal.connection.execute("SELECT * FROM revisions WHERE case_id = ? AND state = 'current'", (image_id,))
        return {row["tag"]: Revision.from_row(row, self.root) for row in rows}

    def history(self, image_id: str) -> list[Revision]:
        """List all revisions of a case, the oldest first.

        Raises:
            NotFoundError: When there is no such image.
        """
        self.images.get(image_id)
        rows = self.journal.connection.execute("SELECT * FROM revisions WHERE case_id = ? ORDER BY number", (image_id,))
        return [Revision.from_row(row, self.root) for row in rows]

    def revision(self, image_id: str, number: int) -> Revision:
        """Return a revision.

        Args:
            image_id: The image.
            number: Number of the revision.

        Raises:
            NotFoundError: When there is no such image or revision.
        """
        for revision in self.history(image_id):
            if revision.number == number:
                return revision
        raise NotFoundError(f"{image_id} has no revision {number}. See `minivess store log STUDIES {image_id}`.")

    def label_file(self, revision: Revision) -> Path:
        """Return the file of a revision after a comparison with its recorded hash; read labels through it.

        Raises:
            DamagedLabelError: When the file is missing, or is not the one that was submitted.
        """
        fault = self._label_files.fault(revision.path, revision.sha256)
        if fault:
            raise DamagedLabelError(
                f"Revision {revision.number} of {revision.image_id} cannot be used: {fault}. Restore the file from a backup of "
                "the store, or make an earlier revision current again."
            )
        return revision.path

    def intact_heads(self, tag: str = FINAL) -> tuple[list[tuple[Case, Revision]], dict[str, str]]:
        """List the images with a current label whose file is intact.

        Args:
            tag: The tag.

        Returns:
            Pairs of case and revision, sorted by image id; and image id -> fault of those that are left out.
        """
        pairs, faults = [], {}
        for case in self.images.all(labelled=True, tag=tag):
            head = self.head(case.id, tag)
            if head is None:
                continue
            try:
                self.label_file(head)
                pairs.append((case, head))
            except DamagedLabelError as error:
                faults[case.id] = str(error)
        return pairs, faults

    def restore(self, image_id: str, number: int, *, actor: str) -> Revision:
        """Make an earlier revision, or a rival, current again, as a new revision with the same content; this settles all rivals.

        Args:
            image_id: The image.
            number: Number of the revision to restore.
            actor: Who restores it.

        Returns:
            The new revision.

        Raises:
            NotFoundError: When there is no such revision.
            DamagedLabelError: When its file is missing or was changed.
            ConflictError: When another user submits at the same moment.
            StoreError: When the revision cannot be written; nothing was changed.
        """
        old = self.revision(image_id, number)
        head = self.head(image_id, old.tag)
        body: dict[str, Any] = {"tag": old.tag, "base": head.number if head else None, "key": "", "upload": ""}
        body["info"] = old.info.restored(number).to_json()
        with (
            on_disk(),
            tempfile.TemporaryDirectory(
                prefix=".submit.", dir=self.journal.folder(image_id), ignore_cleanup_errors=True
            ) as folder,
        ):
            copy = Path(folder) / "label.nii.gz"
            shutil.copyfile(self.label_file(old), copy)
            fsync_file(copy)
            restored = write_revision(self.journal, image_id, actor, copy, body, settle=True)
        if restored.state == "rival":
            raise ConflictError(f"Another user submitted a label of {image_id} at the same moment. Check it, and restore again.")
        return restored

    def withdraw(self, image_id: str, tag: str, *, actor: str) -> None:
        """Withdraw the current label of a tag, so that the tag has none; all revisions stay in the history.

        Args:
            image_id: The image.
            tag: The tag.
            actor: Who withdraws it.

        Raises:
            NotFoundError: When there is no such image, or no current label.
            StoreError: When the event cannot be written; nothing was changed.
        """
        check_name(tag, "The tag")
        self.images.get(image_id)
        if self.head(image_id, tag) is None:
            raise NotFoundError(f"{image_id} has no current label with the tag {tag}.")
        self.journal.enter(image_id, "withdraw", actor, {"tag": tag})

    def update_label_info(self, image_id: str, tag: str, info: Mapping[str, Any], *, actor: str) -> None:
        """Merge values into the info of the current revision of a tag (JSON merge patch, RFC 7396); recorded as an event.

        Args:
            image_id: The image.
            tag: The tag.
            info: Keys and values to set; a value of None removes the key.
            actor: Who changes it.

        Raises:
            NotFoundError: When there is no current label.
            StoreError: When the event cannot be written; nothing was changed.
        """
        head = self.head(image_id, tag)
        if head is None:
            raise NotFoundError(f"{image_id} has no current label with the tag {tag}.")
        self.journal.enter(image_id, "info", actor, {"revision": head.number, "info": dict(info)})

    def conflicting(self) -> list[Revision]:
        """List the revisions that conflict with a current one and wait for a reviewer, the oldest first; no removed cases."""
        rows = self.journal.connection.execute(
            "SELECT revisions.* FROM revisions JOIN cases ON cases.id = case_id "
            "WHERE state = 'rival' AND removed = 0 ORDER BY revisions.time_utc, case_id"
        )
        return [Revision.from_row(row, self.root) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return tag -> number of current labels, without removed cases."""
        rows = self.journal.connection.execute(
            "SELECT tag, COUNT(*) FROM revisions JOIN cases ON cases.id = case_id "
            "WHERE state = 'current' AND removed = 0 GROUP BY tag"
        )
        return {row[0]: row[1] for row in rows}

    def review(self, image_id: str, number: int, state: str, *, actor: str, comment: str = "") -> None:
        """Record a reviewer's opinion of a revision.

        Args:
            image_id: The image.
            number: Number of the revision.
            state: One of :data:`REVIEW_STATES`.
            actor: The reviewer.
            comment: Free text.

        Raises:
            InputError: When the state is unknown.
            NotFoundError: When there is no such revision.
            StoreError: When the event cannot be written; nothing was changed.
        """
        if state not in REVIEW_STATES:
            raise InputError(f"The state of a review is one of {', '.join(REVIEW_STATES)}. Got {state!r}.")
        self.revision(image_id, number)
        self.journal.enter(image_id, "review", actor, {"revision": number, "review": {"state": state, "comment": comment}})

    def reviews(self, image_id: str) -> list[dict[str, Any]]:
        """List the reviews of a case, the oldest first: ``revision``, ``state``, ``comment``, ``actor`` and ``time_utc`` each."""
        rows = self.journal.connection.execute("SELECT * FROM reviews WHERE case_id = ? ORDER BY number", (image_id,))
        return [{**json.loads(r["body"]), **{k: r[k] for k in ("revision", "actor", "time_utc")}} for r in rows]
