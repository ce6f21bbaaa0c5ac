"""Score every case with every method: the rows that a report is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from minivess.datasets.dataset import TrainingCase
from minivess.datasets.pairs import load_pair
from minivess.evaluate.probability_calibration import calibration_errors
from minivess.metrics import compare_masks
from minivess.metrics.calibre import CalibreScores, length_by_calibre
from minivess.metrics.morphology import measure_vessels
from minivess.models import Segmenter
from minivess.pictures import Rgb, overlay, projection, side_by_side
from minivess.volume import Volume

BASELINE = "Otsu's threshold"


@dataclass(frozen=True, eq=False)
class CaseFacts:
    """What is known of a case without any prediction.

    Attributes:
        spacing_um: Voxel size along x, y, z.
        vessel_share: Share of vessel voxels in the label.
        components: Pieces of the label.
        mean_calibre_voxels: Mean diameter of its vessels in voxels of the plane; 0 without vessels.
        brightness: Mean intensity of the vessels, in standard deviations of the background above its mean.
        border_share: Share of the label's pieces that touch the border of the volume.
    """

    spacing_um: tuple[float, float, float]
    vessel_share: float
    components: int
    mean_calibre_voxels: float
    brightness: float
    border_share: float


@dataclass(frozen=True, eq=False)
class CaseResult:
    """The result of one method on one case.

    Attributes:
        case: Name of the case.
        subject: Its subject.
        method: Name of the method.
        scores: Score name -> value; see :class:`minivess.metrics.MaskScores` and ``ece``, ``ece_near_surface``, ``brier``.
        calibres: Length recall and precision by calibre class.
        facts: Facts of the case.
        missed: Share of vessel voxels in the background zone; None without zones.
        picture: Outline of the mask in red and what it misses in blue, over the projection.
    """

    case: str
    subject: str
    method: str
    scores: Mapping[str, float | None]
    calibres: Sequence[CalibreScores]
    facts: CaseFacts
    missed: float | None = None
    picture: Rgb | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without the picture."""
        return {
            "case": self.case,
            "subject": self.subject,
            "method": self.method,
            **self.scores,
            "missed_in_background_zone": self.missed,
            "calibres": [calibre.to_json() for calibre in self.calibres],
        }


def evaluate_cases(
    cases: Sequence[TrainingCase],
    methods: Mapping[str, Segmenter],
    *,
    background_below: Mapping[str, float] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[CaseResult]:
    """Yield the results of all methods and of Otsu's threshold on all cases; one case is in memory at a time.

    Args:
        cases: The cases.
        methods: Name -> model.
        background_below: Name -> upper limit of the background zone, a probability.
        progress: Called with the name of each case when it begins.
    """
    for case in cases:
        progress(case.name)
        image, label = load_pair(case.to_item())
        reference = label.array > 0
        facts = case_facts(image, reference)
        otsu = image.array > threshold_otsu(image.array.astype(np.float32))  # of int32 it counts every grey value
        yield _result(case, BASELINE, image, reference, otsu, facts)
        for name, segmenter in methods.items():
            prediction = segmenter.predict(image)
            probability = prediction.probability.array
            mask, limit = prediction.mask.array > 0, (background_below or {}).get(name)
            is_lost = None if limit is None or not reference.any() else (probability <= limit) & ~mask
            missed = None if is_lost is None else float(is_lost[reference].mean())
            result = _result(case, name, image, reference, mask, facts, missed=missed)
            errors = calibration_errors(probability, reference, image.spacing_um).to_json()
            yield CaseResult(**{**vars(result), "scores": {**result.scores, **errors}})


def case_facts(image: Volume, reference: NDArray[np.bool_]) -> CaseFacts:
    """Compute the facts of a case.

    Args:
        image: The image.
        reference: (x, y, z) bool, its label.
    """
    spacing = image.spacing_um
    inside, outside = image.array[reference], image.array[~reference]
    bright = float(inside.mean() - outside.mean()) / max(float(outside.std()), 1e-9) if inside.size and outside.size else 0.0
    labels, count = cc3d.connected_components(reference, connectivity=26, return_N=True)
    touching = set()
    for axis in range(3):
        for side in (0, -1):
            touching |= set(np.unique(np.take(labels, side, axis=axis)).tolist())
    measured = measure_vessels(reference, spacing)
    return CaseFacts(
        spacing_um=spacing,
        vessel_share=float(reference.mean()),
        components=int(count),
        mean_calibre_voxels=1000 * measured.mean_diameter_mm / spacing[0],
        brightness=bright,
        border_share=len(touching - {0}) / count if count else 0.0,
    )


def _result(
    case: TrainingCase,
    method: str,
    image: Volume,
    reference: NDArray[np.bool_],
    mask: NDArray[np.bool_],
    facts: CaseFacts,
    *,
    missed: float | None = None,
) -> CaseResult:
    grey = projection(image)
    return CaseResult(
        case=case.name,
        subject=case.subject,
        method=method,
        scores=compare_masks(reference, mask, image.spacing_um).to_json(),
        calibres=length_by_calibre(reference, mask, image.spacing_um),
        facts=facts,
        missed=missed,
        picture=side_by_side(grey, overlay(grey, mask, reference)),
    )
