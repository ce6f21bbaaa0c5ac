"""What a segmenter is, and what it gives back. The label app and the MAPs know this, never networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.volume import Volume

Prompt = Literal["class", "text", "point", "box", "mask"]
#: Bounds of a box in voxels, end excluded: (x0, x1, y0, y1, z0, z1).
Roi = tuple[int, int, int, int, int, int]
#: Called with the share done, in [0, 1]; an exception raised in it cancels the prediction.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class ModelRef:
    """Which model made a prediction.

    Attributes:
        bundle: Name in the bundle's metadata.
        version: Version in the bundle's metadata.
        weights_sha256: Hash of the weights' file.
    """

    bundle: str
    version: str
    weights_sha256: str

    def to_json(self) -> dict[str, str]:
        """Give plain strings."""
        return asdict(self)


@dataclass(frozen=True)
class Capabilities:
    """What a segmenter takes.

    Attributes:
        prompts: Kinds of prompts; empty where it segments by itself.
        labels: Names of the classes, in the order of their label values 1, 2, ...
        modality: Key of :data:`minivess.models.normalise.MODALITIES`: how intensities are scaled first.
    """

    prompts: frozenset[Prompt]
    labels: tuple[str, ...]
    modality: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a segmenter thinks of a volume, on the volume's own grid.

    Attributes:
        probability: float32 volume in [0, 1], probability of vessel.
        uncertainty: float32 volume in nats, binary entropy of the probability, in [0, ln 2].
        model: Which model it came from.
        threshold: Probability from which a voxel counts as vessel.
    """

    probability: Volume
    uncertainty: Volume
    model: ModelRef
    threshold: float

    @property
    def mask(self) -> Volume:
        """uint8 volume, 1 where the probability reaches the threshold."""
        return self.probability.with_array((self.probability.array >= self.threshold).astype(np.uint8))


class Segmenter(Protocol):
    """Anything that turns a volume into a prediction: a bundle, an ensemble, a foreign network."""

    @property
    def capabilities(self) -> Capabilities:
        """What it takes."""
        ...

    @property
    def model(self) -> ModelRef:
        """What it is."""
        ...

    def predict(
        self,
        volume: Volume,
        prompts: Mapping[Prompt, Any] | None = None,
        roi: Roi | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Segment a volume, or only a box of it.

        Args:
            volume: What to segment, in its own unit and orientation.
            prompts: Only kinds that :attr:`capabilities` names.
            roi: Where to look; outside, probability and uncertainty are 0.
            progress: Told about the share done.

        Raises:
            InputError: When a prompt is not one it takes, or the box is empty or outside the volume.
        """
        ...


def binary_entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the entropy of a two-class probability in nats, slice by slice so that memory stays bounded.

    Args:
        probability: Any shape, float32 in [0, 1].

    Returns:
        The same shape, float32 in [0, ln 2].
    """
    entropy = np.empty_like(probability, dtype=np.float32)
    tiny = np.float32(np.finfo(np.float32).tiny)
    for row, out in zip(probability, entropy, strict=True):
        rest = 1.0 - row
        np.negative(row * np.log(np.maximum(row, tiny)) + rest * np.log(np.maximum(rest, tiny)), out=out)
    return entropy


def check_roi(roi: Roi, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    """Turn a box into slices; each pair is sorted first, since a viewer that flips an axis sends them swapped.

    Raises:
        InputError: When the box is empty or not inside the volume.
    """
    if len(roi) != 6:
        raise InputError(f"A roi is six integers, x0 x1 y0 y1 z0 z1. Got {roi}.")
    box = []
    for axis, n in enumerate(shape):
        low, high = sorted((int(roi[2 * axis]), int(roi[2 * axis + 1])))
        if low < 0 or high > n or low == high:
            raise InputError(f"The roi {tuple(roi)} does not lie in the volume of {shape} voxels, or is empty along an axis.")
        box.append(slice(low, high))
    return box[0], box[1], box[2]
