"""The records of the store: a case (one image), and a revision of its label."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from minivess.store.events import label_path

#: ``rival``: made from an older base than the current one; waits for the decision of a reviewer. ``settled``: a rival after it.
RevisionState = Literal["current", "superseded", "rival", "settled", "withdrawn"]


@dataclass(frozen=True)
class Case:
    """One image of the studies.

    Attributes:
        id: Image id, in the store and over HTTP.
        image: File of the image.
        info: Facts about the image, for example ``subject``.
    """

    id: str
    image: Path
    info: dict[str, Any]

    @property
    def subject(self) -> str:
        """Animal or patient that the image is of; the image id when not stated."""
        return str(self.info.get("subject", self.id))

    @staticmethod
    def from_row(row: sqlite3.Row, studies: Path) -> Case:
        """Read a row of the index.

        Args:
            row: Row of the table ``cases``.
            studies: Folder with the images.
        """
        return Case(row["id"], studies / row["path"], json.loads(row["info"]))


@dataclass(frozen=True)
class SegCopy:
    """The DICOM SEG of a revision on a DICOM server.

    Attributes:
        revision: Number of the revision that was sent.
        sop_instance_uid: SOPInstanceUID of the SEG.
    """

    revision: int
    sop_instance_uid: str

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> SegCopy:
        """Read the values of :meth:`to_json`."""
        return SegCopy(int(values["revision"]), str(values["SOPInstanceUID"]))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"revision": self.revision, "SOPInstanceUID": self.sop_instance_uid}


@dataclass(frozen=True)
class RevisionInfo:
    """What is recorded with a revision.

    Attributes:
        voxels: Label name -> number of voxels.
        changes: What was changed on receipt, in sentences for the sender.
        params: What the client sent with the label.
        imported: Whether it was in the studies before the store; it overrules nobody.
        restored_from: Number of the revision that it is a copy of.
        dicom: Its copy on a DICOM server.
        other: Further keys, as they were recorded.
    """

    voxels: dict[str, int] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    imported: bool = False
    restored_from: int | None = None
    dicom: SegCopy | None = None
    other: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> RevisionInfo:
        """Read the values of :meth:`to_json`; further keys are stored in ``other``."""
        known = ("voxels", "changes", "params", "imported", "restored_from", "dicom")
        return RevisionInfo(
            voxels=dict(values.get("voxels") or {}),
            changes=tuple(values.get("changes") or ()),
            params=dict(values.get("params") or {}),
            imported=bool(values.get("imported", False)),
            restored_from=values.get("restored_from"),
            dicom=SegCopy.from_json(values["dicom"]) if values.get("dicom") else None,
            other={key: value for key, value in values.items() if key not in known},
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values: ``voxels`` and ``changes`` always, other fields when they are set."""
        content: dict[str, Any] = {**self.other, "voxels": self.voxels, "changes": list(self.changes)}
        if self.params:
            content["params"] = self.params
        if self.imported:
            content["imported"] = True
        if self.restored_from is not None:
            content["restored_from"] = self.restored_from
        if self.dicom is not None:
            content["dicom"] = self.dicom.to_json()
        return content

    def restored(self, number: int) -> RevisionInfo:
        """Return the info of a copy of revision ``number``; ``dicom`` still names the SEG of the older revision.

        The copy is the decision of who restored it, also where the revision was imported: a later label is compared with it.
        """
        return replace(self, restored_from=number, imported=False)


@dataclass(frozen=True)
class Revision:
    """One submitted label; it is never changed.

    Attributes:
        image_id: The image.
        number: Number within the case; numbers increase and may have gaps.
        tag: ``final``, ``original`` or another.
        path: The label file, uint8 on the image's grid.
        sha256: Hash of that file.
        base: Number of the revision that it was made from; None when unknown.
        actor: Who submitted it.
        time_utc: When.
        state: See :data:`RevisionState`.
        info: What is recorded with it.
    """

    image_id: str
    number: int
    tag: str
    path: Path
    sha256: str
    base: int | None
    actor: str
    time_utc: str
    state: RevisionState
    info: RevisionInfo

    @staticmethod
    def from_row(row: sqlite3.Row, root: Path) -> Revision:
        """Read a row of the index.

        Args:
            row: Row of the table ``revisions``.
            root: Folder of the store.
        """
        path = label_path(root, row["case_id"], row["number"], row["sha256"])
        columns = {name: row[name] for name in ("number", "tag", "sha256", "base", "actor", "time_utc", "state")}
        info = RevisionInfo.from_json(json.loads(row["info"]))
        return Revision(image_id=row["case_id"], path=path, info=info, **columns)
