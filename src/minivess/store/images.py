"""The images of a studies folder. They are used in place, also in sub-folders; uploads are copied into the folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, NotFoundError, StoreError
from minivess.paths import file_sha256, fsync_file, fsync_folder
from minivess.store.events import Event, read_event, strict_json
from minivess.store.image_files import IMAGE_SUFFIXES, ExistingFiles, new_image_files
from minivess.store.journal import Journal, on_disk
from minivess.store.names import FINAL, check_name, id_from_path
from minivess.store.records import Case
from minivess.store.transaction import Transaction
from minivess.volume import Unit, read_volume
from minivess.volume.file_signature import check_file_signature
from minivess.volume.io import suffix_of

#: Key in the info of a case whose image is downloaded when it is first needed.
REMOTE = "remote"
#: Uploads begin with this until their case is in the store.
_STAGED = ".uploaded."
#: Number of new images that are added in one transaction.
_BATCH = 500
_logger = logging.getLogger(__name__)


class Images:
    """The cases of a studies folder.

    Attributes:
        skipped: Files of the studies that the last scan could not take -> why.
    """

    def __init__(self, journal: Journal, studies: Path, *, unit: Unit | None) -> None:
        """Use the journal of a store.

        Args:
            journal: Journal that new cases are entered in.
            studies: Folder with the images.
            unit: Unit of the spacing of images that do not state it, or state a wrong one.
        """
        self._journal = journal
        self.studies = studies
        self.unit = unit
        self.skipped: dict[str, str] = {}

    def scan(self) -> list[str]:
        """Add a case for each image file that has none yet, and complete uploads whose last step was interrupted.

        Returns:
            Image ids of the new cases. Files that cannot be taken are in :attr:`skipped` afterwards, with the reason.

        Raises:
            StoreError: When a case cannot be written.
        """
        known = {row["path"] for row in self._journal.connection.execute("SELECT path FROM cases")}
        self._complete_uploads(known)
        found = list(new_image_files(self.studies, self._journal.root, known))
        self.skipped = {ascii(path.relative_to(self.studies).as_posix())[1:-1]: why for path, why in found if why}
        new = [path for path, why in found if not why]
        ids: list[str] = []
        for start in range(0, len(new), _BATCH):
            with self._journal.transaction() as transaction:
                for path in new[start : start + _BATCH]:
                    try:
                        ids.append(self._enter(transaction, self._relative(path), actor="server", info={}))
                    except StoreError as error:  # a case whose history is damaged; nothing of it was written
                        self.skipped[self._relative(path)] = str(error)
            if len(new) > _BATCH:
                _logger.info("%d of %d new images were added to the store", len(ids), len(new))
        return ids

    def all(self, *, labelled: bool | None = None, tag: str = FINAL) -> list[Case]:
        """List the cases whose image file exists or can be downloaded, sorted by image id.

        Args:
            labelled: Only cases with (True) or without (False) a current label of the tag; None for all.
            tag: The tag.
        """
        return [Case.from_row(row, self.studies) for row in self._present(labelled, tag)]

    def ids(self, *, labelled: bool | None = None, tag: str = FINAL) -> list[str]:
        """List the image ids of :meth:`all`; of thousands of images this is faster.

        Args:
            labelled: Only cases with (True) or without (False) a current label of the tag; None for all.
            tag: The tag.
        """
        return [row["id"] for row in self._present(labelled, tag)]

    def _present(self, labelled: bool | None, tag: str) -> Iterator[sqlite3.Row]:
        """Yield the rows of the cases whose image file exists or can be downloaded."""
        connection = self._journal.connection
        current = connection.execute("SELECT case_id FROM revisions WHERE state = 'current' AND tag = ?", (tag,))
        have = {case for (case,) in current} if labelled is not None else set()
        files = ExistingFiles(self.studies)
        for row in connection.execute("SELECT id, path, info FROM cases WHERE removed = 0 ORDER BY id"):
            if labelled is not None and (row["id"] in have) != labelled:
                continue
            if files.contain(row["path"]) or (REMOTE in row["info"] and json.loads(row["info"]).get(REMOTE)):
                yield row

    def get(self, image_id: str) -> Case:
        """Return a case.

        Raises:
            UnsafeFileError: When ``image_id`` is not a valid id.
            NotFoundError: When there is no such case.
        """
        check_name(image_id, "The image id")
        row = self._journal.connection.execute("SELECT * FROM cases WHERE id = ? AND removed = 0", (image_id,)).fetchone()
        if row is None:
            raise NotFoundError(
                f"There is no image {image_id}. Its id is the file's name without the suffix; see GET /datastore/."
            )
        return Case.from_row(row, self.studies)

    def add(self, file: Path, *, image_id: str, actor: str, info: Mapping[str, Any] | None = None) -> Case:
        """Copy an uploaded image into the studies folder and add its case; the same upload once more changes nothing.

        Args:
            file: The upload; its content must have the format that its suffix states.
            image_id: Id of the new case.
            actor: Who uploads it.
            info: Facts about the image, for example ``subject``.

        Returns:
            The case.

        Raises:
            UnsafeFileError: When ``image_id`` is not a valid id, or the image is too large.
            UnsupportedFormatError: When the content is in no supported format.
            InputError: When the content is not a volume with a known spacing.
            ConflictError: When another image has this id, or an id that differs only in upper and lower case.
            StoreError: When it cannot be written; nothing was changed.
        """
        check_name(image_id, "The image id")
        check_file_signature(file, IMAGE_SUFFIXES)
        read_volume(file, unit=self.unit)
        existing = self._existing(image_id, file)
        if existing is not None:
            return existing
        target = self.studies / f"{image_id}{suffix_of(file)}"
        with on_disk(), tempfile.TemporaryDirectory(prefix=".upload.", dir=self.studies, ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / target.name
            shutil.copyfile(file, copy)
            fsync_file(copy)
            with self._journal.transaction() as transaction:  # its lock: another upload may have taken the id meanwhile
                existing = self._existing(image_id, file)
                if existing is not None:
                    return existing
                if target.exists() and file_sha256(target) != file_sha256(copy):
                    raise ConflictError(
                        f"The studies folder contains another file named {target.name}. Send this one under another name."
                    )
                staged = self.studies / f"{_STAGED}{target.name}"
                transaction.add_file(staged)
                copy.replace(staged)
                fsync_folder(self.studies)
                self._enter(transaction, target.name, actor=actor, info=info or {})
                case = self.get(image_id)
        self._complete_uploads({target.name})
        return case

    def _existing(self, image_id: str, file: Path) -> Case | None:
        """Return the case of an upload that is repeated; None when the id is free.

        Raises:
            ConflictError: When another image has the id, or one that differs only in upper and lower case.
        """
        row = self._journal.connection.execute("SELECT * FROM cases WHERE folded = ?", (image_id.casefold(),)).fetchone()
        if row is None:
            return None
        if row["removed"]:
            if row["path"] == f"{image_id}{suffix_of(file)}" and self._is_content_of(image_id, row["path"], file):
                return None  # the image comes back, with its labels
            raise ConflictError(
                f"An image with the id {row['id']} was removed; its labels are kept, and this is not known to be the same image. "
                "Send it under another name."
            )
        existing = Case.from_row(row, self.studies)
        self._complete_uploads({row["path"]})
        if existing.id == image_id and existing.image.is_file() and file_sha256(existing.image) == file_sha256(file):
            return existing
        raise ConflictError(f"Another image has the id {existing.id}. Send this one under another name; nothing is overwritten.")

    def _is_content_of(self, image_id: str, path: str, file: Path) -> bool:
        """Return whether a file may come back as a removed image: it is the same one, or nobody has worked on that."""
        removed = sorted(self._journal.folder(image_id).glob("*-remove.json"))
        stated = str(read_event(removed[-1])[0].body.get("image_sha256", "")) if removed else ""
        left = self.studies / path  # an event of before states no hash
        known = stated or (file_sha256(left) if left.is_file() else "")
        if known:
            return known == file_sha256(file)
        work = "SELECT 1 FROM revisions WHERE case_id = ? UNION SELECT 1 FROM places WHERE case_id = ? AND answer != ''"
        return self._journal.connection.execute(work, (image_id, image_id)).fetchone() is None

    def announce(self, name: str, *, info: Mapping[str, Any]) -> str:
        """Add a case for an image on another server, which is downloaded into the studies folder when it is first needed.

        Args:
            name: File name in the studies folder.
            info: Facts about the image.

        Returns:
            Image id of the case; an existing case is not changed.
        """
        with self._journal.transaction() as transaction:
            known = transaction.connection.execute("SELECT id FROM cases WHERE path = ?", (name,)).fetchone()
            if known is not None:  # also one that was removed: the server lists it for ever
                return str(known["id"])
            return self._enter(transaction, name, actor="server", info={**info, REMOTE: True})

    def remove(self, image_id: str, *, actor: str) -> None:
        """Remove a case from all lists; its image and its labels stay on the disk.

        Args:
            image_id: The case.
            actor: Who removes it.

        Raises:
            NotFoundError: When there is no such case.
            StoreError: When the event cannot be written; nothing was changed.
        """
        image = self.get(image_id).image
        content = {"image_sha256": file_sha256(image)} if image.is_file() else {}
        self._journal.enter(image_id, "remove", actor, content)

    def update_info(self, image_id: str, info: Mapping[str, Any], *, actor: str) -> None:
        """Merge facts into the info of a case (JSON merge patch, RFC 7396); recorded as an event.

        Args:
            image_id: The case.
            info: Keys and values to set; a value of None removes the key.
            actor: Who changes it.

        Raises:
            NotFoundError: When there is no such case.
            StoreError: When the event cannot be written; nothing was changed.
        """
        self.get(image_id)
        self._journal.enter(image_id, "info", actor, {"info": dict(info)})

    def set_transient_info(self, image_id: str, note: Mapping[str, Any]) -> None:
        """Store temporary info about a case, in the index only: it is not an event and not in the audit chain.

        Args:
            image_id: The case.
            note: Values that JSON can hold; they replace the previous ones.
        """
        body = strict_json(dict(note)).decode()
        with self._journal.transaction() as transaction:
            transaction.connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (image_id, body))

    def transient_info(self, image_id: str) -> dict[str, Any]:
        """Return the temporary info of a case; empty when there is none."""
        row = self._journal.connection.execute("SELECT body FROM notes WHERE case_id = ?", (image_id,)).fetchone()
        return dict(json.loads(row["body"])) if row else {}

    def _enter(self, transaction: Transaction, relative: str, *, actor: str, info: Mapping[str, Any]) -> str:
        image_id = id_from_path(Path(relative))
        execute = transaction.connection.execute
        same = execute("SELECT * FROM cases WHERE path = ?", (relative,)).fetchone()
        if same is not None and not same["removed"]:  # another process has added it at the same time
            return str(same["id"])
        row = execute("SELECT * FROM cases WHERE folded = ?", (image_id.casefold(),)).fetchone()
        if row is not None and row["path"] != relative:  # two files whose ids are equal or differ in case only
            image_id = f"{image_id[:110]}-{hashlib.sha256(relative.encode()).hexdigest()[:6]}"
        number = transaction.next_number(image_id)
        self._journal.folder(image_id).mkdir(exist_ok=True)
        transaction.write(Event(image_id, number, "case", actor, {"path": relative, "info": dict(info)}))
        return image_id

    def _complete_uploads(self, known: Collection[str]) -> None:
        """Move staged uploads whose cases are in the store to their place; the next scan does it where the disk fails now."""
        try:
            for staged in self.studies.glob(f"{_STAGED}*"):
                target = self.studies / staged.name.removeprefix(_STAGED)
                if target.name not in known:
                    continue  # not in the store, or not yet
                if target.exists():
                    staged.unlink()
                else:
                    staged.replace(target)
                    fsync_folder(self.studies)
        except OSError as error:
            _logger.warning("an uploaded image of the store is not in its place yet: %s", error)

    def remove_refused_uploads(self) -> None:
        """Delete staged uploads whose cases are not in the store; no other process may use the store.

        Raises:
            OSError: When one cannot be deleted.
        """
        known = {row["path"] for row in self._journal.connection.execute("SELECT path FROM cases")}
        self._complete_uploads(known)
        for staged in self.studies.glob(f"{_STAGED}*"):
            if staged.name.removeprefix(_STAGED) not in known:
                staged.unlink()

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.studies).as_posix()
