"""How does one revision of a label differ from another?"""

from __future__ import annotations

from typing import Any

from minivess.store.model import Revision
from minivess.volume import read_volume


def compare_revisions(revision: Revision, other: Revision) -> dict[str, Any]:
    """Count the voxels by which a revision differs from another of the same image.

    Returns:
        ``added_voxels`` and ``removed_voxels`` from the other to this one, and ``dice`` (DSC) of both.
    """
    label, before = (read_volume(r.path).array > 0 for r in (revision, other))
    added, removed = int((label & ~before).sum()), int((before & ~label).sum())
    both = int(label.sum()) + int(before.sum())
    return {"added_voxels": added, "removed_voxels": removed, "dice": 1.0 if both == 0 else 1.0 - (added + removed) / both}
