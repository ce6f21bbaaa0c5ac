"""An ensemble of bundles as one Segmenter; its members may differ in network, voxel size and modality."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError, InputError, WeightsError
from minivess.models import (
    Capabilities,
    ModelRef,
    Prediction,
    Progress,
    load_bundle,
    model_reference,
    read_metadata,
    weights_path,
)
from minivess.models.small_pieces import check_min_mass, suppress_small_pieces
from minivess.models.threshold import check_threshold, choose_threshold
from minivess.paths import file_sha256
from minivess.uncertainty.passes import combine
from minivess.volume import Volume

#: ``mean`` of the probabilities, or ``vote``: the share of members whose own mask contains a voxel; a tie is background.
COMBINATIONS = ("mean", "vote")
#: Threshold of a vote: more than half of the weights.
_MAJORITY = 0.500001
#: Key of the metadata of an earlier version's weights file: SHA-256 of each member's weights, as JSON.
MEMBERS_KEY = "members"
#: Key of the same with how the members are combined, so that the hash of the file stands for one prediction. One key: the file
#: has several in no fixed order.
ENSEMBLE_KEY = "ensemble"


class EnsembleSegmenter:
    """Members are loaded one after the other for each prediction, so that the memory is that of one."""

    def __init__(
        self,
        root: str,
        weights: str,
        *,
        members: Mapping[str, float],
        modality: str,
        threshold: float | str,
        combination: str = "mean",
        min_piece_mass: float = 0.0,
        device: str = "",
    ) -> None:
        """Check the members; :func:`minivess.models.load_bundle` calls this for a bundle that states it.

        Args:
            root: Folder of the ensemble, with a folder ``members``.
            weights: Its weights file, which names the members' hashes.
            members: Folder name -> positive weight.
            modality: How intensities are normalised for the review; members use their own.
            threshold: A number in (0, 1), or ``"expected_dice"``.
            combination: One of :data:`COMBINATIONS`.
            min_piece_mass: Smallest sum of the probabilities of a piece that stays; 0 for none.
            device: Name of the device; empty for the default.

        Raises:
            BundleError: When a setting is not allowed.
            WeightsError: When a member is missing, or its weights are not those that the ensemble was made of.
        """
        if combination not in COMBINATIONS:
            raise BundleError(f"combination is {combination!r}. Allowed: {', '.join(COMBINATIONS)}.")
        if not members or not all(math.isfinite(value) and value > 0 for value in members.values()):
            raise BundleError(f"members is {dict(members)!r}. Allowed: folder names with positive weights.")
        check_threshold(threshold)
        self._root, self._members, self._combination, self._device = Path(root), dict(members), combination, device or None
        self._threshold, self._min_piece_mass = threshold, check_min_mass(min_piece_mass)
        self._capabilities = Capabilities(frozenset(), ("vessel",), modality)
        self._expected = self._check_members(Path(weights))
        self._check_settings(Path(weights))
        self._model = model_reference(self._root, file_sha256(Path(weights)))

    @property
    def capabilities(self) -> Capabilities:
        """It takes no prompts: its members may not."""
        return self._capabilities

    @property
    def model(self) -> ModelRef:
        """The ensemble; its hash covers the hashes of its members."""
        return self._model

    def predict(
        self,
        volume: Volume,
        prompts: Mapping[Any, Any] | None = None,
        roi: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Segment a volume, or only a box of it, by all members. The uncertainty is their disagreement: mutual information.

        Args:
            volume: The image, in its own unit and orientation.
            prompts: None are accepted.
            roi: Box in voxels, end excluded: x0 x1 y0 y1 z0 z1. Outside it, probability and uncertainty are 0.
            progress: Called with the finished share of the work, in [0, 1].

        Raises:
            InputError: When there is a prompt, or the box is empty or outside the volume.
        """
        if prompts:
            raise InputError(f"{self._model.bundle} takes no prompts: leave them out. Got {', '.join(sorted(prompts))}.")
        combined = combine(self._passes(volume, roi, progress), self._members.values())
        probability = combined.probability
        if roi is None:  # in a box, pieces that its faces cut would count as small; members have lowered theirs
            suppress_small_pieces(probability, self._min_piece_mass)
        threshold = _MAJORITY if self._combination == "vote" else choose_threshold(_inside(probability, roi), self._threshold)
        return Prediction(
            probability=volume.with_array(probability),
            uncertainty=volume.with_array(combined.mutual_information),
            model=self._model,
            threshold=threshold,
        )

    def _passes(self, volume: Volume, roi: Sequence[int] | None, progress: Progress | None) -> Iterator[NDArray[np.float32]]:
        """Predict with one member after the other; at the end of its pass a member is released."""
        for number, name in enumerate(self._members):
            report = None if progress is None else _part_of(progress, number, len(self._members))
            member = load_bundle(self._root / "members" / name, device=self._device)
            if member.model.weights_sha256 != self._expected[name]:
                raise WeightsError(f"The weights of {name} were replaced meanwhile. Make the ensemble again.")
            prediction = member.predict(volume, roi=roi, progress=report)
            yield prediction.mask.array.astype(np.float32) if self._combination == "vote" else prediction.probability.array

    def _check_settings(self, weights: Path) -> None:
        stated = _about(weights).get("settings")  # ensembles of earlier versions state none
        own = {"members": self._members, "combination": self._combination}
        text = settings_text(own, {"threshold": self._threshold, "min_piece_mass": self._min_piece_mass})
        if stated not in (None, text):
            raise WeightsError(f"The ensemble was made as {stated}, configs/inference.yaml states {text}. Make it again.")

    def _check_members(self, weights: Path) -> dict[str, str]:
        expected: dict[str, str] = _about(weights)["members"]
        for name in self._members:
            file = weights_path(self._root / "members" / name)
            got = file_sha256(file) if file.is_file() else "none"
            if got != expected.get(name):
                raise WeightsError(
                    f"The ensemble was made of other weights of {name}: {str(expected.get(name))[:12]}, there are {got[:12]}. "
                    "Make the ensemble again."
                )
        return expected


def _about(weights: Path) -> dict[str, Any]:
    """Return what an ensemble's weights file says of it."""
    metadata = read_metadata(weights)
    if ENSEMBLE_KEY not in metadata:
        return {"members": json.loads(metadata.get(MEMBERS_KEY, "{}"))}
    about: dict[str, Any] = json.loads(metadata[ENSEMBLE_KEY])
    return about


def settings_text(segmenter: Mapping[str, Any], inference: Mapping[str, Any]) -> str:
    """Return how predictions are combined, as JSON.

    Args:
        segmenter: ``members`` with their weights, and ``combination``.
        inference: ``threshold``, and ``min_piece_mass`` where pieces are suppressed.
    """
    members = {name: float(weight) for name, weight in segmenter["members"].items()}
    after = {"threshold": inference["threshold"], "min_piece_mass": float(inference.get("min_piece_mass", 0.0))}
    return json.dumps({"members": members, "combination": segmenter["combination"], **after}, sort_keys=True)


def _part_of(progress: Progress, number: int, count: int) -> Progress:
    return lambda share: progress((number + share) / count)


def _inside(probability: NDArray[np.float32], roi: Sequence[int] | None) -> NDArray[np.float32]:
    if roi is None:
        return probability
    pairs = [sorted(pair) for pair in zip(roi[::2], roi[1::2], strict=True)]
    return probability[tuple(slice(low, high) for low, high in pairs)]
