"""The interface of a segmenter and its result. The label app and the MAPs use this, never networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np

from minivess.errors import InputError
from minivess.models.threshold import apply_threshold
from minivess.volume import Box, Volume

PromptKind = Literal["class", "text", "point", "box", "mask"]
#: Called with the finished share of the work, in [0, 1]; an exception raised in it cancels the prediction.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class ModelRef:
    """The model that made a prediction.

    Attributes:
        bundle: Name in the bundle's metadata.
        version: Version in the bundle's metadata.
        weights_sha256: SHA-256 of the weights file, hexadecimal.
        release: Id of the signed release that these weights are part of; empty where they are of none.
    """

    bundle: str
    version: str
    weights_sha256: str
    release: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the strings by name; no release where there is none."""
        return {name: value for name, value in asdict(self).items() if value or name != "release"}


@dataclass(frozen=True)
class Click:
    """A prompt of kind ``point``.

    Attributes:
        voxel: Voxel (x, y, z) of the volume.
        positive: Whether the object is there; False for what is not the object.
    """

    voxel: tuple[int, int, int]
    positive: bool = True


@dataclass(frozen=True)
class Capabilities:
    """The inputs that a segmenter accepts, and the classes that it returns.

    Attributes:
        prompts: Kinds of prompts that it accepts; it needs none of them.
        labels: Names of the classes, in the order of their label values 1, 2, ...
        modality: Key of :data:`minivess.models.normalise.MODALITIES`: how intensities are normalised.
        spacing_um: Voxel size (x, y, z) to which volumes are interpolated for it; None for their own.
    """

    prompts: frozenset[PromptKind]
    labels: tuple[str, ...]
    modality: str
    spacing_um: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result of a segmenter, on the grid of the input volume.

    Attributes:
        probability: float32 volume in [0, 1], probability of vessel.
        uncertainty: float32 volume in nats, binary entropy of the probability, in [0, ln 2].
        model: The model that made it.
        threshold: Probability from which a voxel counts as vessel.
    """

    probability: Volume
    uncertainty: Volume
    model: ModelRef
    threshold: float

    @property
    def mask(self) -> Volume:
        """uint8 volume, 1 where the probability reaches the threshold."""
        return self.probability.with_array(apply_threshold(self.probability.array, self.threshold).astype(np.uint8))


class Segmenter(Protocol):
    """A model that turns a volume into a prediction: a bundle, an ensemble, a foreign network."""

    @property
    def capabilities(self) -> Capabilities:
        """The inputs that it accepts."""
        ...

    @property
    def model(self) -> ModelRef:
        """The model that its predictions name."""
        ...

    def predict(
        self,
        volume: Volume,
        prompts: Mapping[PromptKind, Any] | None = None,
        roi: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Segment a volume, or only a box of it.

        Args:
            volume: The image, in its own unit and orientation.
            prompts: Only kinds that :attr:`capabilities` names. ``point`` is a list of :class:`Click`: then only the object at
                the clicks is segmented, and the probability is 0 outside the windows around them. ``box`` is a
                :class:`minivess.volume.Box`, at least two voxels wide along two axes: then only the object inside it is
                segmented, and the probability is 0 outside it.
            roi: Box in voxels, end excluded: x0 x1 y0 y1 z0 z1. Outside it, probability and uncertainty are 0.
            progress: Called with the finished share of the work, in [0, 1].

        Raises:
            InputError: When a prompt is not accepted, or the box is empty or outside the volume.
        """
        ...


def check_roi(values: Sequence[int], shape: tuple[int, int, int]) -> Box:
    """Check the bounds of a box. Each pair is sorted first, since a viewer that flips an axis sends it swapped.

    Args:
        values: Voxel bounds x0 x1 y0 y1 z0 z1, end excluded.
        shape: Number of voxels (x, y, z) of the volume.

    Returns:
        The box, with sorted bounds.

    Raises:
        InputError: When there are not six integers, or the box is empty or not inside the volume.
    """
    try:
        x0, x1, y0, y1, z0, z1 = (int(value) for value in values)
    except (TypeError, ValueError) as error:
        raise InputError(f"A roi is six integers, x0 x1 y0 y1 z0 z1. Got {values!r}.") from error
    box = Box(*sorted((x0, x1)), *sorted((y0, y1)), *sorted((z0, z1)))
    if not box.fits(shape):
        raise InputError(f"The roi {tuple(values)} is empty along an axis, or not inside the volume of {shape} voxels.")
    return box
