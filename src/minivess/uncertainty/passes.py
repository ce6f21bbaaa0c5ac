"""Predict a volume in several passes and combine them: ensemble members, mirrored views, Monte Carlo dropout.

Library functions for experiments; the command line and the server predict in one pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.models import BundleSegmenter, Segmenter, binary_entropy
from minivess.volume import Volume

#: Axes that are mirrored together, in order of use; the unchanged volume is first.
FLIPS: tuple[tuple[int, ...], ...] = tuple(
    axes for count in range(4) for axes in itertools.combinations(range(3), count)
)  # (), x, y, z, xy, xz, yz, xyz


@dataclass(frozen=True, eq=False)
class VoxelUncertainty:
    """Uncertainty of each voxel over several passes; arrays are (x, y, z) float32 on the grid of the volume.

    Attributes:
        probability: Mean over the passes, in [0, 1].
        entropy: Entropy of that mean, in nats, in [0, ln 2]: total uncertainty.
        mutual_information: Entropy of the mean minus the mean entropy, in nats, in [0, ln 2]: disagreement of the passes.
        passes: Number of passes.
    """

    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    passes: int

    def expected_error(self, threshold: float) -> NDArray[np.float32]:
        """Return the probability that each voxel of the mask is wrong; see :func:`expected_error`."""
        return expected_error(self.probability, threshold)


def expected_error(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Return the probability that each voxel of a mask is wrong: 1 - p where it is vessel, p elsewhere.

    Args:
        probability: (x, y, z) float32 in [0, 1].
        threshold: Probability from which a voxel counts as vessel.

    Returns:
        The same shape, float32 in [0, 1].
    """
    return np.where(probability >= threshold, np.float32(1.0) - probability, probability).astype(np.float32, copy=False)


def combine(probabilities: Iterable[NDArray[np.float32]], weights: Iterable[float] | None = None) -> VoxelUncertainty:
    """Combine passes one after the other; two volumes are in memory, however many passes there are.

    Args:
        probabilities: Passes over one volume, (x, y, z) float32 in [0, 1] each.
        weights: A positive weight of each pass; equal ones by default.

    Raises:
        InputError: When there is no pass, or their shapes differ.
    """
    mean: NDArray[np.float32] | None = None
    within: NDArray[np.float32] | None = None
    count, total = 0, 0.0
    for p, weight in zip(probabilities, itertools.repeat(1.0) if weights is None else weights, strict=False):
        if mean is None or within is None:
            mean, within = np.zeros(p.shape, np.float32), np.zeros(p.shape, np.float32)
        elif p.shape != mean.shape:
            raise InputError(f"All passes must be on one grid. Got shapes {mean.shape} and {p.shape}.")
        mean += np.float32(weight) * p
        within += np.float32(weight) * binary_entropy(p)
        count, total = count + 1, total + weight
    if mean is None or within is None:
        raise InputError("There is no pass to combine. Predict the volume at least once.")
    mean /= np.float32(total)
    within /= np.float32(total)
    entropy = binary_entropy(mean)
    return VoxelUncertainty(mean, entropy, np.maximum(entropy - within, 0), count)


def predict_members(segmenters: Sequence[Segmenter], volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Predict with several models: trained from other seeds, or saved at other epochs.

    Args:
        segmenters: The models.
        volume: The image.

    Yields:
        Probability of each model, (x, y, z) float32 in [0, 1].
    """
    for segmenter in segmenters:
        yield segmenter.predict(volume).probability.array


def predict_tta(segmenter: Segmenter, volume: Volume, *, passes: int = 4) -> Iterator[NDArray[np.float32]]:
    """Predict mirrored views with one model (test-time augmentation); the first view is the unchanged volume.

    Args:
        segmenter: The model.
        volume: The image.
        passes: Number of views, 1 to 8.

    Yields:
        Probability of each view, mirrored back, (x, y, z) float32 in [0, 1].

    Raises:
        InputError: When there are not so many views.
    """
    if not 1 <= passes <= len(FLIPS):
        raise InputError(f"There are {len(FLIPS)} mirrored views. Got passes = {passes}. Allowed: 1 to {len(FLIPS)}.")
    for axes in FLIPS[:passes]:
        view = volume.with_array(np.ascontiguousarray(np.flip(volume.array, axes)))
        yield np.ascontiguousarray(np.flip(segmenter.predict(view).probability.array, axes))


def predict_mc_dropout(
    segmenter: BundleSegmenter, volume: Volume, *, passes: int = 4, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Predict with the dropout of one network enabled, Monte Carlo dropout (Gal and Ghahramani, ICML 2016).

    Args:
        segmenter: The model.
        volume: The image.
        passes: Number of passes.
        seed: Seed of the first pass; each further pass uses the next one.

    Yields:
        Probability of each pass, (x, y, z) float32 in [0, 1].

    Raises:
        InputError: When the network has no dropout.
    """
    for number in range(passes):
        with segmenter.dropout_enabled(seed + number):
            probability = segmenter.predict(volume).probability.array
        yield probability
