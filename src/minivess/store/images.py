"""Which images are there? They stay where they are, also in sub-folders; an upload is laid into the studies folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, NotFoundError
from minivess.paths import fsync_file, fsync_folder, sha256_of
from minivess.store.events import Event
from minivess.store.journal import Journal, on_disk
from minivess.store.model import Case
from minivess.store.names import FINAL, check_name, id_of
from minivess.store.submission import check_magic
from minivess.volume import Unit, read_volume
from minivess.volume.io import VOLUME_SUFFIXES, suffix_of

#: In what is known of a case: its image is fetched when it is first needed.
REMOTE = "remote"
#: Plain TIFF is not among them: it does not say how large a voxel is.
IMAGE_SUFFIXES = tuple(s for s in VOLUME_SUFFIXES if s not in (".tif", ".tiff"))


class Images:
    """The cases of a studies folder."""

    def __init__(self, journal: Journal, studies: Path, *, unit: Unit | None) -> None:
        """Take the folder, and the journal that cases are entered in."""
        self._journal = journal
        self._index = journal.index
        self.studies = studies
        self.unit = unit

    def scan(self) -> list[str]:
        """Take in the images that are not known yet.

        Returns:
            Ids of the new cases.
        """
        known = {row["path"] for row in self._index.connection.execute("SELECT path FROM cases")}
        fresh = [path for path in self._found() if self._relative(path) not in known]
        return [self._enter(path, actor="server", info={}) for path in fresh]

    def all(self, *, labelled: bool | None = None, tag: str = FINAL) -> list[Case]:
        """List the cases whose image is there, every one or those with, or without, a current label of a tag."""
        rows = self._index.connection.execute(
            "SELECT *, EXISTS (SELECT 1 FROM revisions WHERE case_id = cases.id AND state = 'current' AND tag = ?) AS has "
            "FROM cases WHERE removed = 0 ORDER BY id",
            (tag,),
        )
        cases = [Case.of_row(row, self.studies) for row in rows if labelled is None or bool(row["has"]) == labelled]
        return [case for case in cases if case.image.exists() or case.info.get(REMOTE)]

    def get(self, case_id: str) -> Case:
        """Find a case.

        Raises:
            UnsafeFileError: When the id is none.
            NotFoundError: When there is no such case.
        """
        check_name(case_id, "The image id")
        row = self._index.connection.execute("SELECT * FROM cases WHERE id = ? AND removed = 0", (case_id,)).fetchone()
        if row is None:
            raise NotFoundError(
                f"There is no image {case_id}. Its id is the file's name without the suffix; see GET /datastore/."
            )
        return Case.of_row(row, self.studies)

    def add(self, file: Path, *, case_id: str, actor: str, info: Mapping[str, Any] | None = None) -> Case:
        """Take an uploaded image into the studies folder; the same one sent again is taken once.

        Args:
            file: The upload; its suffix says the format that its content must have.
            case_id: Id it is to have.
            actor: Who sends it.
            info: What is known of it.

        Raises:
            UnsafeFileError: When the id is none, or the image too large.
            UnsupportedFormatError: When the content is of no format that is taken.
            InputError: When it is no volume with a known spacing.
            ConflictError: When another image has that id, or one that differs in upper and lower case only.
            StoreError: When it cannot be kept.
        """
        check_name(case_id, "The image id")
        check_magic(file, IMAGE_SUFFIXES)
        read_volume(file, unit=self.unit)
        row = self._index.connection.execute("SELECT * FROM cases WHERE folded = ?", (case_id.casefold(),)).fetchone()
        if row is not None and not row["removed"]:
            there = Case.of_row(row, self.studies)
            if there.id == case_id and there.image.is_file() and sha256_of(there.image) == sha256_of(file):
                return there
            raise ConflictError(f"Another image has the id {there.id}. Send this one under another name; nothing is overwritten.")
        target = self.studies / f"{case_id}{suffix_of(file)}"
        if target.exists():
            raise ConflictError(f"The studies hold another file named {target.name}. Send this one under another name.")
        with on_disk(), tempfile.TemporaryDirectory(prefix=".upload.", dir=self.studies) as folder:
            copy = Path(folder) / target.name
            shutil.copyfile(file, copy)
            fsync_file(copy)
            copy.replace(target)
            fsync_folder(self.studies)
        self._enter(target, actor=actor, info=info or {})
        return self.get(case_id)

    def announce(self, name: str, *, info: Mapping[str, Any]) -> str:
        """Take in an image that is somewhere else and will be laid into the studies under a name when it is needed.

        Args:
            name: File name in the studies.
            info: What is known of it.

        Returns:
            The id of the case; one that is known already stays as it is.
        """
        return self._enter(self.studies / name, actor="server", info={**info, REMOTE: True})

    def remove(self, case_id: str, *, actor: str) -> None:
        """Take a case out of all lists; its image and its labels stay on the disk."""
        self.get(case_id)
        self._journal.enter(case_id, "remove", actor, {})

    def update_info(self, case_id: str, info: Mapping[str, Any], *, actor: str) -> None:
        """Add to what is known of a case."""
        self.get(case_id)
        self._journal.enter(case_id, "info", actor, {"info": dict(info)})

    def note(self, case_id: str, note: Mapping[str, Any]) -> None:
        """Keep something passing about a case, in the index alone: not an event, not in the audit chain."""
        with self._index.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (case_id, json.dumps(dict(note))))

    def noted(self, case_id: str) -> dict[str, Any]:
        """Give the note of a case."""
        row = self._index.connection.execute("SELECT body FROM notes WHERE case_id = ?", (case_id,)).fetchone()
        return dict(json.loads(row["body"])) if row else {}

    def _enter(self, path: Path, *, actor: str, info: Mapping[str, Any]) -> str:
        relative = self._relative(path)
        case_id = id_of(path.relative_to(self.studies))
        with on_disk(), self._index.transaction() as connection:
            same = connection.execute("SELECT * FROM cases WHERE path = ?", (relative,)).fetchone()
            if same is not None and not same["removed"]:  # another process has found it too
                return str(same["id"])
            row = connection.execute("SELECT * FROM cases WHERE folded = ?", (case_id.casefold(),)).fetchone()
            if row is not None and row["path"] != relative:  # two files of one name in different formats or folders
                case_id = f"{case_id[:110]}-{hashlib.sha256(relative.encode()).hexdigest()[:6]}"
            self._journal.folder(case_id).mkdir(exist_ok=True)
            number = self._journal.next_number(connection, case_id)
            self._journal.write(connection, Event(case_id, number, "case", actor, {"path": relative, "info": dict(info)}))
        return case_id

    def _found(self) -> Iterator[Path]:
        """Walk through the studies, past what is hidden, the store, and MONAI Label's labels; folders may vanish meanwhile."""
        for name, folders, files in os.walk(self.studies):
            here = Path(name)
            apart = {self._journal.root, self.studies / "labels"}
            folders[:] = sorted(f for f in folders if not f.startswith(".") and here / f not in apart)
            paths = (here / file for file in sorted(files) if not file.startswith("."))
            yield from (path for path in paths if suffix_of(path) in IMAGE_SUFFIXES and path.is_file())

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.studies).as_posix()
