"""The nouns of the store: a case, and a revision of its label."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.store.events import label_path


@dataclass(frozen=True)
class Case:
    """One image of the studies.

    Attributes:
        id: Its name in the store and over HTTP.
        image: The image, where it lies.
        info: What is known of it, for example ``subject``.
    """

    id: str
    image: Path
    info: dict[str, Any]

    @property
    def subject(self) -> str:
        """Whom the image belongs to; the case itself where nothing else was said."""
        return str(self.info.get("subject", self.id))

    @staticmethod
    def of_row(row: sqlite3.Row, studies: Path) -> Case:
        """Make it from a row of the index."""
        return Case(row["id"], studies / row["path"], json.loads(row["info"]))


@dataclass(frozen=True)
class Revision:
    """One submitted label; it is never changed.

    Attributes:
        case: Id of the case.
        number: Its number within the case; numbers grow and may have gaps.
        tag: ``final``, ``original`` or another.
        path: The label, uint8 on the image's grid.
        sha256: Hash of that file.
        base: The revision it was made from, where it is known.
        actor: Who submitted it.
        time_utc: When.
        state: ``current``, ``superseded``, ``rival`` (made from an older base; waits for a decision), ``settled``, ``withdrawn``.
        info: Client, model, voxels of each label, what was changed on receipt, and what the client sent.
    """

    case: str
    number: int
    tag: str
    path: Path
    sha256: str
    base: int | None
    actor: str
    time_utc: str
    state: str
    info: dict[str, Any]

    @staticmethod
    def of_row(row: sqlite3.Row, root: Path) -> Revision:
        """Make it from a row of the index."""
        path = label_path(root, row["case_id"], row["number"], row["sha256"])
        named = {name: row[name] for name in ("number", "tag", "sha256", "base", "actor", "time_utc", "state")}
        return Revision(case=row["case_id"], path=path, info=json.loads(row["info"]), **named)
