"""The sealed test set: what a model is reported on, it has never learned from, under whatever name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from minivess.errors import InputError, LockoutError
from minivess.models.transforms import load_item
from minivess.paths import sha256_of, write_json
from minivess.store import AuditChain
from minivess.volume import Volume

FOLDER = "sealed_test"
_FILE = "sealed.json"


class SealedTestSet:
    """The fingerprints and subjects of cases that are only reported on, with an audit chain of their own."""

    def __init__(self, folder: Path) -> None:
        """Open a sealed test set.

        Raises:
            InputError: When there is none in the folder.
            LockoutError: When it is not as it was sealed.
        """
        self.folder = Path(folder)
        file = self.folder / _FILE
        if not file.is_file():
            raise InputError(f"There is no sealed test set in {folder}. Seal one: minivess testset seal DATASET")
        self.chain = AuditChain(self.folder / "audit")
        sealed = [e for e in self.chain.entries() if e["action"] == "testset.seal"]
        if not self.chain.verify().ok or not sealed or sealed[-1]["details"]["sha256"] != sha256_of(file):
            raise LockoutError(f"The test set in {folder} is not as it was sealed. See: minivess testset verify {folder}")
        content = json.loads(file.read_text())
        self.subjects: frozenset[str] = frozenset(content["subjects"])
        self.fingerprints: frozenset[str] = frozenset(content["fingerprints"])

    @staticmethod
    def seal(folder: Path, items: Iterable[Mapping[str, Any]], *, actor: str) -> SealedTestSet:
        """Seal cases: their contents and subjects are written down, signed, and refused from now on.

        Args:
            folder: Where; a test set that is sealed there already can only grow.
            items: Rows with ``image``, ``subject``, and ``spacing`` and ``unit`` where the files do not state them.
            actor: Who does it.

        Raises:
            InputError: When there is no case, or one cannot be read.
        """
        rows = [(str(item["subject"]), fingerprint(load_item(item, "image"))) for item in items]
        if not rows:
            raise InputError("There is no test case to seal. Name subjects for the test: minivess data make --test SUBJECT")
        before = SealedTestSet(folder) if (Path(folder) / _FILE).is_file() else None
        subjects = {subject for subject, _ in rows} | (before.subjects if before else set())
        fingerprints = {content for _, content in rows} | (before.fingerprints if before else set())
        chain = AuditChain(Path(folder) / "audit")
        write_json(Path(folder) / _FILE, {"subjects": sorted(subjects), "fingerprints": sorted(fingerprints)})
        chain.append("testset.seal", actor=actor, details={"sha256": sha256_of(Path(folder) / _FILE), "cases": len(fingerprints)})
        chain.checkpoint()
        return SealedTestSet(folder)

    def refuse(self, items: Iterable[Mapping[str, Any]], *, purpose: str, actor: str) -> None:
        """Let nothing pass that belongs to the test set; an attempt is entered in the audit chain.

        Args:
            items: Rows as in :meth:`seal`.
            purpose: What they are wanted for, for example ``training``.
            actor: Who wants them.

        Raises:
            LockoutError: When one is a case of the test set, whatever its name, format, orientation or compression, or
                another case of one of its subjects.
        """
        caught = []
        for item in items:
            if str(item["subject"]) in self.subjects:
                caught.append((str(item["image"]), "its subject is in the test set"))
            elif fingerprint(load_item(item, "image")) in self.fingerprints:
                caught.append((str(item["image"]), "its voxels are those of a test case"))
        if caught:
            self.chain.append("testset.refuse", actor=actor, details={"purpose": purpose, "cases": len(caught)})
            said = "; ".join(f"{Path(image).name}: {why}" for image, why in caught[:5])
            raise LockoutError(
                f"{len(caught)} cases for {purpose} belong to the sealed test set in {self.folder}. {said}. "
                "Take them out; a score on what was learned from says nothing."
            )


def fingerprint(volume: Volume) -> str:
    """Hash which values a volume holds, and how often each.

    It is the same in every format, data type, orientation and compression that keeps the values; a crop or a rescaled copy
    has another.

    Args:
        volume: Any volume; its affine does not count.

    Returns:
        SHA-256 in hexadecimal digits.
    """
    values, counts = np.unique(volume.array, return_counts=True)
    shape = np.array(sorted(volume.shape), dtype="<i8")
    parts = (shape, values.astype("<f8"), counts.astype("<i8"))
    return sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
