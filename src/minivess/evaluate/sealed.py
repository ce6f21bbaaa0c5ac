"""The sealed test set: cases for reporting only, recognised by content, so that no model is trained on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from minivess.datasets.dataset import SEAL_FOLDER, SEAL_POINTER
from minivess.datasets.pairs import load_item
from minivess.errors import InputError, LockoutError
from minivess.evaluate.likeness import shows_the_same, thumbnail
from minivess.paths import file_sha256, write_json
from minivess.store import AuditChain
from minivess.volume import Volume

_FILE = "sealed.json"
_NEW = "sealed.json.new"
#: How often a test set is opened, unless it was sealed for another number.
LOOKS = 20


class SealedTestSet:
    """The fingerprints and subjects of the cases of a test set, with their own audit chain."""

    def __init__(self, folder: Path) -> None:
        """Open a sealed test set.

        Args:
            folder: The folder that :meth:`seal` wrote.

        Raises:
            InputError: When the folder contains no sealed test set.
            LockoutError: When it was modified after it was sealed.
        """
        self.folder = Path(folder)
        file = self.folder / _FILE
        if not is_sealed(self.folder):
            raise InputError(f"There is no sealed test set in {folder}. Seal one: minivess testset seal DATASET")
        self.chain = AuditChain(self.folder / "audit")
        checked, sealed = self.chain.verify(), _last_seal(self.folder)
        why = "" if checked.ok else f"its audit chain: {checked.reason}"
        if not why and (not file.is_file() or not sealed or sealed["sha256"] != file_sha256(file)):
            why = f"{_FILE} is not the file that was sealed"
        if why:
            raise LockoutError(f"The test set in {folder} is not as it was sealed: {why}. Restore the folder from a backup.")
        content = json.loads(file.read_text())
        self.subjects: frozenset[str] = frozenset(content["subjects"])
        self.fingerprints: frozenset[str] = frozenset(content["fingerprints"])
        self.budget: int = int(content.get("looks", LOOKS))
        self.withdrawn: frozenset[str] = frozenset(content.get("withdrawn", []))
        self.sets = [set(one) for one in content.get("sets", [content["fingerprints"]])]
        self.thumbnails = [_from_text(text) for text in content.get("thumbnails", [])]

    @staticmethod
    def seal(folder: Path, items: Iterable[Mapping[str, Any]], *, actor: str, looks: int = LOOKS) -> SealedTestSet:
        """Seal cases: write and sign their fingerprints and subjects, which training refuses from then on.

        Args:
            folder: Folder of the test set; cases are added to an existing one.
            items: Rows with ``image``, ``subject``, and ``spacing`` and ``unit`` if the files do not state them.
            actor: User who seals, for the audit chain.
            looks: How often it may be opened for an evaluation; cases that are added do not change it.

        Raises:
            InputError: When there is no case, looks is below 1, or an image cannot be read.
            LockoutError: When the existing test set was modified.
        """
        if looks < 1:
            raise InputError(f"A test set is opened at least once. Got {looks} looks.")
        rows = []
        for item in items:
            image = load_item(item, "image")
            rows.append((str(item["subject"]), fingerprint(image), _as_text(thumbnail(image))))
        if not rows:
            raise InputError("There is no test case to seal. Name subjects for the test: minivess data make --test SUBJECT")
        with _locked(Path(folder)):
            return SealedTestSet._add(Path(folder), rows, actor=actor, looks=looks)

    @staticmethod
    def _add(folder: Path, rows: Sequence[tuple[str, str, str]], *, actor: str, looks: int) -> SealedTestSet:
        """Write the seal of subjects, fingerprints and thumbnails beside those that are sealed in the folder."""
        before = SealedTestSet(folder) if is_sealed(folder) else None
        subjects = {subject for subject, _, _ in rows} | (before.subjects if before else set())
        new, withdrawn = {content for _, content, _ in rows}, before.withdrawn if before else frozenset()
        fingerprints = new | (before.fingerprints if before else set())
        thumbnails = {picture for _, _, picture in rows} | {_as_text(t) for t in (before.thumbnails if before else ())}
        content = {
            "subjects": sorted(subjects),
            "fingerprints": sorted(fingerprints),
            "sets": [sorted(one) for one in _with_set(before.sets if before else [], new - withdrawn)],
            "withdrawn": sorted(withdrawn),
            "thumbnails": sorted(thumbnails),
            "looks": before.budget if before else looks,
        }
        return _write_seal(folder, content, actor=actor, details={"cases": len(fingerprints)})

    def check_withdrawal(self, items: Iterable[Mapping[str, Any]]) -> list[set[str]]:
        """Return what would be left of the sets that looks are at without these cases.

        Args:
            items: Rows as in :meth:`seal`, whose images are still there.

        Raises:
            InputError: When one is not in the test set, or none would be left.
        """
        gone = {fingerprint(load_item(item, "image")) for item in items}
        if not gone or not gone <= set().union(*self.sets):
            raise InputError(f"Not every one of these {len(gone)} cases is in the sealed test set. Nothing was changed.")
        left = [one - gone for one in self.sets if one - gone]
        if not left:
            raise InputError("No case would be left in the sealed test set. Nothing was changed. Seal others first.")
        return left

    def withdraw(self, items: Iterable[Mapping[str, Any]], *, reason: str, actor: str) -> SealedTestSet:
        """Withdraw cases from what a look is at, such as those of a subject whose consent is withdrawn; training refuses them on.

        Args:
            items: Rows as in :meth:`seal`, whose images are still there.
            reason: Why, for the audit chain; no patient data.
            actor: User who withdraws them.

        Raises:
            InputError: As :meth:`check_withdrawal`.
            LockoutError: When the test set was modified.
        """
        rows = list(items)
        with _locked(self.folder):  # what was sealed since this was opened stays
            return SealedTestSet(self.folder)._without(rows, reason=reason, actor=actor)

    def _without(self, items: Iterable[Mapping[str, Any]], *, reason: str, actor: str) -> SealedTestSet:
        """Write the seal without these cases."""
        left = self.check_withdrawal(items)
        gone = set().union(*self.sets) - set().union(*left)
        content = json.loads((self.folder / _FILE).read_text())
        content |= {"sets": [sorted(one) for one in left], "withdrawn": sorted(self.withdrawn | gone)}
        about = {"cases": sum(map(len, left)), "withdrawn": len(gone), "reason": reason}
        return _write_seal(self.folder, content, actor=actor, details=about)

    def refuse(self, items: Iterable[Mapping[str, Any]], *, purpose: str, actor: str) -> None:
        """Refuse cases that belong to the test set; a refusal is written to the audit chain.

        Args:
            items: Rows as in :meth:`seal`.
            purpose: Intended use, for example ``training``.
            actor: User who requested it, for the audit chain.

        Raises:
            LockoutError: When one is a case of the test set, whatever its name, format, orientation, compression, contrast or
                resolution, or another case of one of its subjects.
            InputError: When an image cannot be read.
        """
        refused = []
        for item in items:
            why = self._why_refused(item)
            if why:
                refused.append((str(item["image"]), why))
        if refused:
            self.chain.append("testset.refuse", actor=actor, details={"purpose": purpose, "cases": len(refused)})
            reasons = "; ".join(f"{Path(image).name}: {why}" for image, why in refused[:5])
            raise LockoutError(
                f"{len(refused)} cases for {purpose} belong to the sealed test set in {self.folder}. {reasons}. "
                "Remove them: a score on training data is not a test."
            )

    def check_whole(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Check that cases are the whole test set of a data set and nothing else: a look at a part tells of single cases.

        Args:
            items: Rows as in :meth:`seal`.

        Raises:
            LockoutError: When they are not.
        """
        found = {fingerprint(load_item(item, "image")) for item in items}
        if found not in self.sets:
            cases = set().union(*self.sets)
            raise LockoutError(
                f"A look is at the whole sealed test set, and at nothing else: {len(found & cases)} of its "
                f"{len(cases)} cases are named, and {len(found - cases)} others. Nothing was opened. "
                "Name all of them in the section test; seal others first: minivess testset seal DATASET"
            )

    def contains(self, items: Iterable[Mapping[str, Any]]) -> bool:
        """Return whether any of the cases belongs to the test set; nothing is written.

        Args:
            items: Rows as in :meth:`seal`.
        """
        return any(self._why_refused(item) for item in items)

    def _why_refused(self, item: Mapping[str, Any]) -> str:
        if str(item["subject"]) in self.subjects:
            return "its subject is in the test set"
        image = load_item(item, "image")
        if fingerprint(image) in self.fingerprints:
            return "its voxels are those of a test case"
        picture = thumbnail(image)
        if any(shows_the_same(picture, known) for known in self.thumbnails):
            return "it shows what a test case shows"
        return ""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a seal while it is changed: two changes at once would lose what one of them adds."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".seal.lock"):
        yield


def _write_seal(folder: Path, content: Mapping[str, Any], *, actor: str, details: Mapping[str, Any]) -> SealedTestSet:
    """Write and sign a seal; it counts from its entry on: an interruption leaves the old one or the new one."""
    new, chain = folder / _NEW, AuditChain(folder / "audit")
    write_json(new, content)
    chain.append("testset.seal", actor=actor, details={"sha256": file_sha256(new), **details})
    chain.checkpoint()
    return SealedTestSet(folder)


def _with_set(sets: Sequence[set[str]], new: set[str]) -> list[set[str]]:
    """Add the cases of one data set to those of others in the folder; it is one set with those that it shares cases with."""
    if not new:  # all of its cases were withdrawn
        return list(sets)
    shared = [one for one in sets if one & new]
    return [one for one in sets if not one & new] + [new.union(*shared)]


def _last_seal(folder: Path) -> dict[str, Any]:
    """Return the details of the last seal in the audit chain of a folder; empty where there is none."""
    entries = AuditChain(folder / "audit").entries() if (folder / "audit").is_dir() else ()
    sealed = [entry["details"] for entry in entries if entry["action"] == "testset.seal"]
    return sealed[-1] if sealed else {}


def is_sealed(folder: Path) -> bool:
    """Return whether a folder holds a sealed test set; a seal that was entered and interrupted then is brought to its end."""
    new = folder / _NEW
    if new.is_file() and _last_seal(folder).get("sha256") == file_sha256(new):
        new.replace(folder / _FILE)
    return (folder / _FILE).is_file() or bool(_last_seal(folder))


def find_sealed(dataset: Path) -> Path | None:
    """Return the folder of the sealed test set of a data set; None when there is none.

    Args:
        dataset: Folder of the data set, or its ``dataset.json``.

    Raises:
        LockoutError: When the data set states a folder elsewhere, and nothing is there.
    """
    data = dataset if dataset.is_dir() else dataset.parent
    if is_sealed(data / SEAL_FOLDER):
        return data / SEAL_FOLDER
    if not (data / SEAL_POINTER).is_file():
        return None
    folder = Path(json.loads((data / SEAL_POINTER).read_text(encoding="utf-8"))["folder"])
    if not is_sealed(folder):
        raise LockoutError(f"The test cases of {data} are sealed in {folder}, which is not there. Bring it back, then try again.")
    return folder


def refuse_sealed(dataset: Path, items: Iterable[Mapping[str, Any]], *, purpose: str, actor: str) -> None:
    """Refuse cases that belong to the sealed test set beside their data set, if there is one.

    Args:
        dataset: Folder of the data set, or its ``dataset.json``.
        items: Rows as in :meth:`SealedTestSet.seal`.
        purpose: Intended use, for example ``calibration``.
        actor: User who requested it.

    Raises:
        LockoutError: When one belongs to it.
    """
    folder = find_sealed(dataset)
    if folder is not None:
        SealedTestSet(folder).refuse(items, purpose=purpose, actor=actor)


def _as_text(picture: NDArray[np.uint8]) -> str:
    return picture.tobytes().hex()


def _from_text(text: str) -> NDArray[np.uint8]:
    cells = np.frombuffer(bytes.fromhex(text), np.uint8)
    return cells.reshape((round(cells.size ** (1 / 3)),) * 3)


def fingerprint(volume: Volume) -> str:
    """Compute a hash of the shape and the histogram of a volume.

    It does not depend on format, data type, orientation and compression while the values stay; a crop or a rescaled copy has
    another hash.

    Args:
        volume: Any volume; its affine is not used.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    values, counts = np.unique(volume.array, return_counts=True)
    shape = np.array(sorted(volume.shape), dtype="<i8")
    parts = (shape, values.astype("<f8"), counts.astype("<i8"))
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
