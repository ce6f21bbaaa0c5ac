"""The lineage of one voxel of a label: which revision gave it its value, and who answered a region around it."""

from __future__ import annotations

from typing import Any

from minivess.errors import ConflictError, InputError
from minivess.store import LabelStore, Revision
from minivess.volume import read_volume


def trace_voxel(store: LabelStore, image_id: str, voxel: tuple[int, int, int]) -> dict[str, Any]:
    """Return what gave a voxel of the current label its value.

    Args:
        store: The store of the labels.
        image_id: The image.
        voxel: Index (x, y, z) on the image's grid.

    Returns:
        ``value``, the ``revision`` that set it with ``by`` and ``time_utc``, and the ``answers`` to regions around the voxel, the
        oldest first, each with who gave it, the verdict and the hash of the model that had proposed the region.

    Raises:
        NotFoundError: When there is no such image.
        ConflictError: When it has no label.
        InputError: When the voxel is outside the image.
        DamagedLabelError: When a label's file is not the one that was submitted.
    """
    store.images.get(image_id)
    head = store.head(image_id)
    if head is None:
        raise ConflictError(f"{image_id} has no final label yet. Submit one, or see `minivess store log STUDIES`.")
    value = _value(store, head, voxel)
    revisions = {revision.number: revision for revision in store.history(image_id)}
    setter = head
    while (before := _base(setter, revisions)) is not None and _value(store, before, voxel) == value:
        setter = before
    around = [item for item in store.queue.answered(image_id) if item.region.box.contains(voxel)]
    return {
        "voxel": list(voxel),
        "value": value,
        "revision": setter.number,
        "by": setter.actor,
        "time_utc": setter.time_utc,
        "answers": [
            {"region": i.id, "by": i.holder, "verdict": i.state, "model": i.model, "note": i.answer.note if i.answer else ""}
            for i in around
        ],
    }


def _base(revision: Revision, revisions: dict[int, Revision]) -> Revision | None:
    number = revision.info.restored_from if revision.info.restored_from is not None else revision.base
    return None if number is None else revisions.get(number)


def _value(store: LabelStore, revision: Revision, voxel: tuple[int, int, int]) -> int:
    label = read_volume(store.label_file(revision)).array
    if not all(0 <= index < size for index, size in zip(voxel, label.shape, strict=True)):
        shape = " x ".join(map(str, label.shape))
        raise InputError(f"The voxel {voxel} is outside the image of {shape} voxels. Indices count from 0.")
    return int(label[voxel])
