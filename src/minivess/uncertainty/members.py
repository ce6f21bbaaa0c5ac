"""Ask a model more than once: members of an ensemble, mirrored views, dropout left on; and what their answers say together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.models import BundleSegmenter, Segmenter, binary_entropy
from minivess.volume import Volume

#: Axes that are mirrored together, in the order in which they are tried; the volume as it is comes first.
FLIPS: tuple[tuple[int, ...], ...] = tuple(
    axes for count in range(4) for axes in itertools.combinations(range(3), count)
)  # (), x, y, z, xy, xz, yz, xyz


@dataclass(frozen=True, eq=False)
class VoxelUncertainty:
    """What several answers say of each voxel; all on the grid of the volume, float32.

    Attributes:
        probability: Mean over the answers, in [0, 1].
        entropy: Of that mean, in nats, [0, ln 2]: doubt of any kind.
        mutual_information: Entropy of the mean less the mean entropy, in nats: doubt because the answers differ.
        answers: How many there were.
    """

    probability: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    answers: int

    def expected_error(self, threshold: float) -> NDArray[np.float32]:
        """Give the probability that a voxel of the mask cut at a threshold is wrong."""
        return expected_error(self.probability, threshold)


def expected_error(probability: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Give the probability that a voxel is wrong: 1 - p where it counts as vessel, p elsewhere; float32 in [0, 1]."""
    return np.where(probability >= threshold, np.float32(1.0) - probability, probability).astype(np.float32, copy=False)


def combine(probabilities: Iterable[NDArray[np.float32]]) -> VoxelUncertainty:
    """Combine answers one after the other; two volumes are held, however many there are.

    Args:
        probabilities: Of one volume, (x, y, z) float32 in [0, 1] each.

    Raises:
        InputError: When there is none, or their shapes differ.
    """
    mean: NDArray[np.float32] | None = None
    within: NDArray[np.float32] | None = None
    count = 0
    for p in probabilities:
        if mean is None or within is None:
            mean, within = np.zeros(p.shape, np.float32), np.zeros(p.shape, np.float32)
        elif p.shape != mean.shape:
            raise InputError(f"The answers lie on one grid. Got {mean.shape} and {p.shape}.")
        mean += p
        within += binary_entropy(p)
        count += 1
    if mean is None or within is None:
        raise InputError("There is no answer to combine.")
    mean /= count
    within /= count
    entropy = binary_entropy(mean)
    return VoxelUncertainty(mean, entropy, np.maximum(entropy - within, 0), count)


def ask_members(segmenters: Sequence[Segmenter], volume: Volume) -> Iterator[NDArray[np.float32]]:
    """Ask several models, trained from other seeds or saved at other epochs."""
    for segmenter in segmenters:
        yield segmenter.predict(volume).probability.array


def ask_mirrored(segmenter: Segmenter, volume: Volume, *, answers: int = 4) -> Iterator[NDArray[np.float32]]:
    """Ask one model about mirrored views (test-time augmentation); the first view is the volume as it is.

    Args:
        segmenter: What to ask.
        volume: What to segment.
        answers: How many views, 1 to 8.

    Raises:
        InputError: When there are not so many views.
    """
    if not 1 <= answers <= len(FLIPS):
        raise InputError(f"There are {len(FLIPS)} mirrored views. Got {answers}.")
    for axes in FLIPS[:answers]:
        view = volume.with_array(np.ascontiguousarray(np.flip(volume.array, axes)))
        yield np.ascontiguousarray(np.flip(segmenter.predict(view).probability.array, axes))


def ask_with_dropout(
    segmenter: BundleSegmenter, volume: Volume, *, answers: int = 4, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Ask one network with its dropout left on (Gal and Ghahramani, ICML 2016).

    Raises:
        InputError: When the network has no dropout.
    """
    for number in range(answers):
        with segmenter.dropping_out(seed + number):
            probability = segmenter.predict(volume).probability.array
        yield probability
