"""The store of a lab's annotations: immutable label revisions, which of them counts, and what reviewers think of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, InputError, NotFoundError
from minivess.paths import fsync_file, sha256_of
from minivess.store.events import Event, label_path
from minivess.store.images import Images
from minivess.store.journal import Journal, on_disk
from minivess.store.leases import Leases
from minivess.store.model import Revision
from minivess.store.names import FINAL, check_name
from minivess.store.places import Places
from minivess.store.submission import check_label
from minivess.volume import Unit, read_volume, write_volume

#: Where the store lies inside the studies, unless another place is named.
STORE_FOLDER = "minivess_store"
REVIEW_STATES = ("approved", "flagged", "rejected")


class LabelStore:
    """All that a lab's people have decided, on disk; any number of threads and processes may use it at once.

    Raises:
        StoreError: When the folder cannot be written, or its files are damaged.
    """

    def __init__(
        self, studies: Path, *, root: Path | None = None, labels: Mapping[str, int] | None = None, unit: Unit | None = None
    ) -> None:
        """Open the store of some studies, and make it where there is none.

        Args:
            studies: Folder with the images, also in sub-folders; they stay where they are.
            root: The store's own folder; by default ``minivess_store`` inside the studies.
            labels: Label names and values; ``{"vessel": 1}`` by default.
            unit: Unit of the spacing of images that do not state it, or state it wrongly.
        """
        self.studies = Path(studies).resolve()
        self.root = Path(root).resolve() if root else self.studies / STORE_FOLDER
        self.labels = dict(labels or {"vessel": 1})
        self.unit = unit
        self.journal = Journal(self.root)
        self.images = Images(self.journal, self.studies, unit=unit)
        self.leases = Leases(self.journal.index)
        self.places = Places(self.journal)

    def submit(
        self,
        upload: Path,
        *,
        case_id: str,
        actor: str,
        tag: str = FINAL,
        base: int | None = None,
        key: str = "",
        label_info: Sequence[Mapping[str, Any]] | None = None,
        may_be_empty: bool = False,
        info: Mapping[str, Any] | None = None,
    ) -> Revision:
        """Keep a label. When this returns it is on the disk, in the audit chain and in the index.

        Args:
            upload: ``.nii``, ``.nii.gz`` or ``.nrrd``.
            case_id: The image it labels.
            actor: Who submits it.
            tag: What it is: ``final`` is what people accept and what is trained on.
            base: The revision it was made from; by default the one that this actor was shown last.
            key: Idempotency key; the same key with the same content gives the same revision. By default, what this actor
                submitted last for this image and tag is recognised by its content.
            label_info: What the values mean: rows of ``name`` and ``idx``.
            may_be_empty: Nothing is to be labelled, and that is meant.
            info: More to keep with it.

        Raises:
            ConflictError: When somebody else's final label came in between: both are kept, and this one waits for a decision.
            InputError: When the label is not one of this image, or the key was used for another one.
            NotFoundError: When there is no such image.
            StoreError: When it cannot be kept; nothing was changed.
        """
        case = self.images.get(case_id)
        check_name(tag, "The tag")
        if base is not None and (not isinstance(base, int) or isinstance(base, bool)):
            raise InputError(f"base is the number of a revision. Got {str(base)[:40]!r}.")
        with on_disk():
            sent = hashlib.sha256(f"{sha256_of(upload)} {json.dumps(label_info, sort_keys=True)}".encode()).hexdigest()
        known = self._same_submission(case_id, tag, actor, key, sent)
        if known is None:
            image = read_volume(case.image, unit=self.unit)
            checked = check_label(
                upload, image, labels=self.labels, label_info=label_info, may_be_empty=may_be_empty, unit=self.unit
            )
            body: dict[str, Any] = {"tag": tag, "base": base, "key": key, "upload": sent}
            body["info"] = {**(info or {}), "voxels": checked.voxels, "changes": checked.changes}
            with on_disk(), tempfile.TemporaryDirectory(prefix=".submit.", dir=self.journal.folder(case_id)) as folder:
                file = write_volume(checked.volume, Path(folder) / "label.nii.gz")
                known = self._keep(case_id, file, actor, body)
        if known.state == "rival":
            head = self.head(case_id, tag)
            raise ConflictError(
                f"Your label was kept as revision {known.number}, but it was made from "
                f"{f'revision {known.base}' if known.base else 'no revision'} and meanwhile {head.actor if head else 'somebody'} "
                f"submitted revision {head.number if head else '?'}. A reviewer decides between them; nothing is lost."
            )
        return known

    def head(self, case_id: str, tag: str = FINAL) -> Revision | None:
        """Find the label that counts now."""
        row = self.journal.index.connection.execute(
            "SELECT * FROM revisions WHERE case_id = ? AND tag = ? AND state = 'current'", (case_id, tag)
        ).fetchone()
        return Revision.of_row(row, self.root) if row else None

    def heads(self, case_id: str) -> dict[str, Revision]:
        """Find the labels of a case that count now, by tag."""
        rows = self.journal.index.connection.execute(
            "SELECT * FROM revisions WHERE case_id = ? AND state = 'current'", (case_id,)
        )
        return {row["tag"]: Revision.of_row(row, self.root) for row in rows}

    def history(self, case_id: str) -> list[Revision]:
        """List all revisions of a case, the oldest first."""
        self.images.get(case_id)
        rows = self.journal.index.connection.execute("SELECT * FROM revisions WHERE case_id = ? ORDER BY number", (case_id,))
        return [Revision.of_row(row, self.root) for row in rows]

    def revision(self, case_id: str, number: int) -> Revision:
        """Find a revision by its number.

        Raises:
            NotFoundError: When there is none.
        """
        found = [r for r in self.history(case_id) if r.number == number]
        if not found:
            raise NotFoundError(f"{case_id} has no revision {number}. See `minivess store log {case_id}`.")
        return found[0]

    def restore(self, case_id: str, number: int, *, actor: str) -> Revision:
        """Make an earlier revision, or a rival, count again: as a new one with the same content. Rivals are settled by it.

        Raises:
            NotFoundError: When there is no such revision.
            ConflictError: When somebody submits at the same moment.
        """
        old = self.revision(case_id, number)
        head = self.head(case_id, old.tag)
        body: dict[str, Any] = {"tag": old.tag, "base": head.number if head else None, "key": "", "upload": ""}
        body["info"] = {**old.info, "restored_from": number}
        with on_disk(), tempfile.TemporaryDirectory(prefix=".submit.", dir=self.journal.folder(case_id)) as folder:
            copy = Path(folder) / "label.nii.gz"
            shutil.copyfile(old.path, copy)
            fsync_file(copy)
            kept = self._keep(case_id, copy, actor, body)
        if kept.state == "rival":
            raise ConflictError(f"Somebody submitted a label of {case_id} at the same moment. Look at it, and restore again.")
        if any(r.state == "rival" and r.tag == old.tag for r in self.history(case_id)):
            self.journal.enter(case_id, "settle", actor, {"tag": old.tag, "by": kept.number})
        return kept

    def withdraw(self, case_id: str, tag: str, *, actor: str) -> None:
        """Let no label of a tag count; its revisions stay.

        Raises:
            NotFoundError: When none counts.
        """
        check_name(tag, "The tag")
        self.images.get(case_id)
        if self.head(case_id, tag) is None:
            raise NotFoundError(f"{case_id} has no current label with the tag {tag}.")
        self.journal.enter(case_id, "withdraw", actor, {"tag": tag})

    def update_label_info(self, case_id: str, tag: str, info: Mapping[str, Any], *, actor: str) -> None:
        """Add to what is kept with the current label of a tag."""
        head = self.head(case_id, tag)
        if head is None:
            raise NotFoundError(f"{case_id} has no current label with the tag {tag}.")
        self.journal.enter(case_id, "info", actor, {"revision": head.number, "info": dict(info)})

    def rivals(self) -> list[Revision]:
        """List what waits for a decision between two annotators."""
        rows = self.journal.index.connection.execute("SELECT * FROM revisions WHERE state = 'rival' ORDER BY time_utc, case_id")
        return [Revision.of_row(row, self.root) for row in rows]

    def counts(self) -> dict[str, int]:
        """Count the current labels of each tag."""
        rows = self.journal.index.connection.execute(
            "SELECT tag, COUNT(*) FROM revisions JOIN cases ON cases.id = case_id "
            "WHERE state = 'current' AND removed = 0 GROUP BY tag"
        )
        return {row[0]: row[1] for row in rows}

    def review(self, case_id: str, number: int, state: str, *, actor: str, comment: str = "") -> None:
        """Say what a reviewer thinks of a revision.

        Raises:
            InputError: When the state is not one of ``approved``, ``flagged``, ``rejected``.
        """
        if state not in REVIEW_STATES:
            raise InputError(f"A review is one of {', '.join(REVIEW_STATES)}. Got {state!r}.")
        self.revision(case_id, number)
        self.journal.enter(case_id, "review", actor, {"revision": number, "review": {"state": state, "comment": comment}})

    def reviews(self, case_id: str) -> list[dict[str, Any]]:
        """List the reviews of a case, the oldest first."""
        rows = self.journal.index.connection.execute("SELECT * FROM reviews WHERE case_id = ? ORDER BY number", (case_id,))
        return [{**json.loads(r["body"]), **{k: r[k] for k in ("revision", "actor", "time_utc")}} for r in rows]

    def _same_submission(self, case_id: str, tag: str, actor: str, key: str, sent: str) -> Revision | None:
        """Find the revision that this submission has made already: a client tries again when it got no answer."""
        if key:
            row = self.journal.index.connection.execute(
                "SELECT * FROM revisions WHERE case_id = ? AND actor = ? AND key = ?", (case_id, actor, key)
            ).fetchone()
            if row is not None and (row["upload"], row["tag"]) != (sent, tag):
                raise InputError(f"The idempotency key {key[:40]!r} was used for another label. Take a new key for a new label.")
        else:
            row = self.journal.index.connection.execute(
                "SELECT * FROM revisions WHERE case_id = ? AND tag = ? AND actor = ? ORDER BY number DESC", (case_id, tag, actor)
            ).fetchone()
            if row is not None and (row["upload"] != sent or row["state"] not in ("current", "rival")):
                row = None
        return Revision.of_row(row, self.root) if row else None

    def _keep(self, case_id: str, file: Path, actor: str, body: dict[str, Any]) -> Revision:
        sha256 = sha256_of(file)
        with self.journal.index.transaction() as connection:
            number = self.journal.next_number(connection, case_id)
            known = self._same_submission(case_id, body["tag"], actor, body["key"], body["upload"]) if body["upload"] else None
            if known is not None:  # the same request, sent twice, arrived at the same time
                return known
            head = self.head(case_id, body["tag"])
            if body["base"] is None:
                body = {**body, "base": self._base(connection, case_id, actor, body["tag"], head)}
            rival = body["tag"] == FINAL and head is not None and (body["base"] or 0) != head.number
            target = label_path(self.root, case_id, number, sha256)
            event = Event(case_id, number, "label", actor, {**body, "sha256": sha256, "rival": rival})
            file.replace(target)
            try:
                self.journal.write(connection, event)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
            row = connection.execute("SELECT * FROM revisions WHERE case_id = ? AND number = ?", (case_id, number)).fetchone()
            return Revision.of_row(row, self.root)

    def _base(self, connection: sqlite3.Connection, case_id: str, actor: str, tag: str, head: Revision | None) -> int | None:
        """Find out what a client that does not say it has built on: its own last revision, or what it was shown since.

        A label that was there before the store was, belongs to nobody who could be overruled.
        """
        if head is not None and head.info.get("imported"):
            return head.number
        row = connection.execute(
            "SELECT MAX(number) AS number FROM (SELECT number FROM seen WHERE case_id = ? AND tag = ? AND holder = ? "
            "UNION SELECT number FROM revisions WHERE case_id = ? AND tag = ? AND actor = ? AND state != 'rival')",
            (case_id, tag, actor, case_id, tag, actor),
        ).fetchone()
        return row["number"] or None
