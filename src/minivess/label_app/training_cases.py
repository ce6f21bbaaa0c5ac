"""Collect what a training learns from and is judged on: submitted labels, and the answered places of other images."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from monailabel.interfaces.datastore import Datastore
from numpy.typing import NDArray
from scipy import ndimage

from minivess.datasets import TrainingCase, load_pair, load_reviewed
from minivess.errors import MinivessError, NotFoundError
from minivess.review.accepted_regions import apply_accepted
from minivess.review.service import ReviewService
from minivess.store import LabelStore, QueueItem
from minivess.volume import Unit, Volume, write_volume

#: One of so many answered places is held out to judge the new model.
HELD_OUT_PLACES = 5
#: From so many random checks of an image on, they are learned as often as its ranked places: six helped, three did not.
MIN_RANDOM_CHECKS = 5
#: Voxels (x, y, z) around what a person drew that count as looked at.
_AROUND = (5, 5, 1)


@dataclass
class ReviewedCases:
    """Images of which only places were answered.

    Attributes:
        training: Cases to learn, on most of the places.
        held_out: The same images, on the places that are held out.
        left_out: Name -> why an image cannot be used.
    """

    training: list[TrainingCase] = field(default_factory=list)
    held_out: list[TrainingCase] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def labelled_cases(datastore: Datastore, unit: Unit | None) -> dict[str, TrainingCase]:
    """Return the images with a final label, by their id.

    Args:
        datastore: Images and labels.
        unit: Unit of the images, for files that do not state it.
    """
    by_path = {datastore.get_image_uri(i): i for i in datastore.get_labeled_images()}
    return {
        by_path[row["image"]]: TrainingCase(
            Path(row["image"]), Path(row["label"]), subject_of(datastore, by_path[row["image"]]), unit=unit
        )
        for row in datastore.datalist()
    }


def reviewed_cases(
    datastore: Datastore, review: ReviewService, folder: Path, *, leave_out: set[str], unit: Unit | None
) -> ReviewedCases:
    """Write the answered places of images that have no final label; only their voxels count.

    One place in five is held out: which one depends on its name alone, so that a place that was held out stays held out.

    Args:
        datastore: The images.
        review: The answers.
        folder: Where masks are written.
        leave_out: Images with a final label.
        unit: Unit of the images, for files that do not state it.
    """
    found = ReviewedCases()
    answered = {item.image_id for item in review.store.queue.answered() if item.answer and item.answer.mask}
    for image_id in sorted(answered - leave_out):
        try:
            mask, _ = review.mask(image_id)
            items = [item for item in review.store.queue.answered(image_id) if item.answer and item.answer.mask]
            held_out = [item for item in items if _is_held_out(item)]
            judged = _voxels_of(held_out, mask)
            learned = _voxels_of([item for item in items if item not in held_out], mask) & ~judged
            if not learned.any():  # of few answers, all may be chosen to be held out
                learned, judged = judged, learned
        except NotFoundError:  # the image was removed
            continue
        except MinivessError as error:
            found.left_out[image_id] = str(error)
            continue
        case = TrainingCase(
            Path(datastore.get_image_uri(image_id)),
            _written(mask, mask.array, folder / f"{image_id}_label.nii.gz"),
            subject_of(datastore, image_id),
            unit=unit,
        )
        for name, voxels, cases in (("reviewed", learned, found.training), ("held_out", judged, found.held_out)):
            if voxels.any():
                cases.append(replace(case, reviewed=_written(mask, voxels, folder / f"{image_id}_{name}.nii.gz")))
    return found


def apart_by_kind(cases: Sequence[TrainingCase], datastore: Datastore, review: ReviewService, folder: Path) -> list[TrainingCase]:
    """Split cases of which only places were reviewed: those that the queue ranked, and its random checks, where there are five.

    The queue ranks the places where the model is unsure, and draws one in ten at random. As cases of their own the random checks
    are learned as often as all ranked places: the model forgets less of other images (docs/evidence/learning.md).

    Args:
        cases: Cases to learn.
        datastore: Their images.
        review: The answers.
        folder: Where masks are written.
    """
    checks: dict[Path, list[QueueItem]] = {}
    images = {case.image for case in cases if case.reviewed is not None}
    for item in review.store.queue.answered():
        if item.region.kind == "random check" and item.answer and item.answer.mask and not _is_held_out(item):
            try:
                path = Path(datastore.get_image_uri(item.image_id))
            except NotFoundError:  # the image was removed
                continue
            if path in images:
                checks.setdefault(path, []).append(item)
    return [part for case in cases for part in _apart(case, checks.get(case.image, []), folder)]


def _apart(case: TrainingCase, checks: Sequence[QueueItem], folder: Path) -> list[TrainingCase]:
    if len(checks) < MIN_RANDOM_CHECKS:
        return [case]
    image, _ = load_pair(case.to_item())
    learned, drawn = load_reviewed(case.to_item(), image), _voxels_of(checks, image)
    kinds = {"ranked": learned & ~drawn, "random_checks": learned & drawn}
    if not all(voxels.any() for voxels in kinds.values()):
        return [case]
    files = {name: folder / f"{checks[0].image_id}_{name}.nii.gz" for name in kinds}
    return [replace(case, reviewed=_written(image, voxels, files[name])) for name, voxels in kinds.items()]


def looked_at(cases: Sequence[tuple[str, TrainingCase]], review: ReviewService, folder: Path) -> list[TrainingCase]:
    """Restrict submitted labels to where a person has answered or drawn: the rest may be the model's own prediction.

    A label of an image that was never predicted counts as a whole; one that equals the prediction does not count at all. When a
    newer model has predicted the image since, it is not known what was drawn: then only the answered regions count.

    Args:
        cases: Image id and case.
        review: The answers and predictions.
        folder: Where masks are written.
    """
    found = []
    for image_id, case in cases:
        image, label = load_pair(case.to_item())
        voxels = _looked_at(image_id, label.array > 0, review)
        if voxels is None:
            found.append(case)
            continue
        if voxels.any():
            found.append(replace(case, reviewed=_written(image, voxels, folder / f"{image_id}_looked_at.nii.gz")))
    return found


def _looked_at(image_id: str, label: NDArray[np.bool_], review: ReviewService) -> NDArray[np.bool_] | None:
    """Return where a person has answered or drawn; None where there is no prediction, or it is of another image."""
    items = review.store.queue.answered(image_id)
    try:
        _, answered = apply_accepted(label, items)
    except MinivessError:  # the answers are of another image, or damaged
        return None
    try:
        prediction = review.contexts.get(image_id)
    except MinivessError:  # never predicted, or the prediction is lost
        return answered if answered.any() else None
    if prediction.mask.shape != label.shape:
        return None
    if not _was_shown(review.store, image_id, prediction.weights_sha256):
        return answered
    size = [2 * n + 1 for n in _AROUND]
    return answered | (ndimage.maximum_filter((label != prediction.mask).astype(np.uint8), size) > 0)


def _was_shown(store: LabelStore, image_id: str, weights_sha256: str) -> bool:
    """Return whether the image's current label was made from the prediction of these weights."""
    items = _before_label(store, image_id)
    last = max((item.queue_number for item in items), default=0)
    models = {item.model for item in items if item.queue_number == last}
    return not models or models == {weights_sha256}


def with_later_answers(cases: Mapping[str, TrainingCase], review: ReviewService, folder: Path) -> dict[str, TrainingCase]:
    """Lay answers that are newer than the label over it: they are the latest that a person has said there.

    Args:
        cases: Image id -> case with a submitted label.
        review: The answers.
        folder: Where masks are written.
    """
    found = dict(cases)
    for image_id, case in cases.items():
        head = review.store.head(image_id)
        items = review.store.queue.answered(image_id)
        later = [item for item in items if head and item.answer and item.answer.number > head.number]
        if any(item.answer and item.answer.mask for item in later):
            try:
                image, label = load_pair(case.to_item())
                mask, _ = apply_accepted(label.array > 0, later)
            except MinivessError:  # what cannot be used is left out, and named, when all cases are checked
                continue
            found[image_id] = replace(case, label=_written(image, mask, folder / f"{image_id}_answered.nii.gz"))
    return found


def only_reviewed(cases: Mapping[str, TrainingCase], review: ReviewService, folder: Path) -> dict[str, TrainingCase]:
    """Restrict labels that were submitted while regions were open to where a person has answered or drawn.

    Args:
        cases: Image id -> case with a submitted label.
        review: The answers and predictions.
        folder: Where masks are written.
    """
    partly = [(image_id, case) for image_id, case in cases.items() if open_regions(review.store, image_id)]
    return {**cases, **{image_id: part for image_id, case in partly for part in looked_at([(image_id, case)], review, folder)}}


def open_regions(store: LabelStore, image_id: str) -> int:
    """Return how many regions were open when the image's current label was submitted; now, where there is no label.

    0 when nobody had answered any: a label from another program, or of somebody who looked at the whole image, counts as a whole.

    Args:
        store: The store.
        image_id: The image.
    """
    items = _before_label(store, image_id)
    until = _label_number(store, image_id)
    looked_at = [item for item in items if item.state in ("accepted", "fixed")]  # skips count as not reviewed
    answered = {item.id for item in looked_at if item.answer and item.answer.number < until}
    if not answered:
        return 0
    last = max(item.queue_number for item in items)
    return sum(item.queue_number == last and item.id not in answered for item in items)


def _label_number(store: LabelStore, image_id: str) -> int:
    """Return the number of the image's current label: its queues, answers and labels are numbered in one row."""
    head = store.head(image_id)
    return head.number if head else sys.maxsize


def _before_label(store: LabelStore, image_id: str) -> list[QueueItem]:
    until = _label_number(store, image_id)
    return [item for item in store.queue.all(image_id, limit=-1)[0] if item.queue_number < until]


def subject_of(datastore: Datastore, image_id: str) -> str:
    """Return the animal or patient of an image; its id where none is stated.

    Args:
        datastore: The images.
        image_id: One of them.
    """
    return str(datastore.get_image_info(image_id).get("subject", image_id))


def _is_held_out(item: QueueItem) -> bool:
    return int(sha256(item.id.encode()).hexdigest(), 16) % HELD_OUT_PLACES == 0


def _voxels_of(items: Sequence[QueueItem], image: Volume) -> NDArray[np.bool_]:
    voxels = np.zeros(image.shape, bool)
    for item in items:
        voxels[item.region.box.slices] = True
    return voxels


def _written(grid: Volume, array: NDArray[np.generic], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(grid.with_array(array.astype(np.uint8)), path)
    return path
