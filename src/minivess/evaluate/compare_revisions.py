"""Compare two revisions of a label."""

from __future__ import annotations

from typing import Any

from minivess.metrics import dsc
from minivess.store import LabelStore, Revision
from minivess.volume import read_volume


def compare_revisions(store: LabelStore, revision: Revision, other: Revision) -> dict[str, Any]:
    """Count the voxels by which a revision differs from another one of the same image.

    Args:
        store: Store of both.
        revision: The revision.
        other: The revision to compare with.

    Returns:
        ``added_voxels`` and ``removed_voxels`` from the other to this one, and their ``dice`` (DSC).

    Raises:
        DamagedLabelError: When the file of a revision is missing or was changed.
    """
    label, before = (read_volume(store.label_file(r)).array > 0 for r in (revision, other))
    added, removed = int((label & ~before).sum()), int((before & ~label).sum())
    return {"added_voxels": added, "removed_voxels": removed, "dice": dsc(before, label)}
