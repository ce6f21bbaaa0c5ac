"""Load a MONAI bundle as a Segmenter: check it as text, build its network, load safe weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer

from minivess.errors import BundleError, InputError, WeightsError
from minivess.models.bundle_check import check_bundle, read_config
from minivess.models.entropy import binary_entropy
from minivess.models.normalise import fit_scaling
from minivess.models.segmenter import Capabilities, ModelRef, Prediction, Progress, PromptKind, check_roi
from minivess.models.sliding import sliding_probability
from minivess.models.small_pieces import check_min_mass, suppress_small_pieces
from minivess.models.threshold import check_threshold, choose_threshold
from minivess.models.weights import FILE_NAME, load_weights
from minivess.paths import file_sha256
from minivess.volume import Box, Volume

#: The classes of every bundle that :func:`minivess.models.check_bundle` accepts.
LABELS = ("vessel",)


def pick_device(name: str | None = None) -> torch.device:
    """Return the named device; without a name the GPU if there is one, otherwise the CPU.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:N``, or ``auto``, an empty string or None for the default.

    Raises:
        InputError: When this machine does not have the named device.
    """
    if name in (None, "", "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    allowed = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "cuda" and len(allowed) > 1:
        return torch.device("cuda")
    if name not in allowed:
        raise InputError(f"There is no device {name!r} on this machine. Allowed: auto, {', '.join(allowed)}.")
    return torch.device(str(name))


def weights_path(root: Path) -> Path:
    """Return the path of a bundle's weights file, which may not exist yet."""
    return Path(root) / "models" / FILE_NAME


class BundleSegmenter:
    """A bundle with weights, ready to predict."""

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: SlidingWindowInferer,
        *,
        capabilities: Capabilities,
        model: ModelRef,
        threshold: float | str,
        device: torch.device,
        min_piece_mass: float = 0.0,
    ) -> None:
        """Store a network and its settings; :func:`load_bundle` builds them from a bundle.

        Args:
            network: Takes (batch, 1, x, y, z) normalised images, returns logits of vessel of the same shape.
            inferer: Window size, overlap and blending.
            capabilities: Accepted prompts, classes and modality.
            model: The model that predictions name.
            threshold: A number in (0, 1), or ``"expected_dice"``.
            device: Where to compute; the network is moved there.
            min_piece_mass: Smallest sum of the probabilities of a piece that stays; 0 for none.

        Raises:
            BundleError: When the threshold or the mass is no such value.
        """
        self._network = network.to(device).eval()
        self._inferer = inferer
        self._capabilities = capabilities
        self._model = model
        check_threshold(threshold)  # now, not after the first prediction
        self._threshold = threshold
        self._min_piece_mass = check_min_mass(min_piece_mass)
        self._device = device

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that it accepts, its classes and its modality."""
        return self._capabilities

    @property
    def model(self) -> ModelRef:
        """The model that its predictions name."""
        return self._model

    @contextmanager
    def dropout_enabled(self, seed: int) -> Iterator[None]:
        """Enable the network's dropout inside the context, so that predictions differ (Monte Carlo dropout).

        Args:
            seed: Seed of the dropout masks; torch's own random state is restored afterwards.

        Raises:
            InputError: When the network has no dropout.
        """
        layers = [m for m in self._network.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0]
        if not layers:
            raise InputError(f"The network of {self._model.bundle} has no dropout. Use mirrored views or several models instead.")
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                for layer in layers:
                    layer.train()
                yield
        finally:
            for layer in layers:
                layer.eval()

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
            prompts: Only kinds that :attr:`capabilities` names.
            roi: Box in voxels, end excluded: x0 x1 y0 y1 z0 z1. Outside it, probability and uncertainty are 0.
            progress: Called with the finished share of the work, in [0, 1].

        Raises:
            InputError: When a prompt is not accepted, or the box is empty or outside the volume.
            BundleError: When the network does not have one input and one output channel, whatever its metadata state.
        """
        unknown = set(prompts or {}) - self._capabilities.prompts
        if unknown:
            raise InputError(f"{self._model.bundle} takes no prompts. Got {', '.join(sorted(unknown))}. Leave them out.")
        box = Box.from_corners((0, 0, 0), volume.shape) if roi is None else check_roi(roi, volume.shape)
        report = progress or (lambda _: None)
        scaling = fit_scaling(volume.array, self._capabilities.modality, check=lambda: report(0.0))
        inside = sliding_probability(
            self._network,
            volume.array[box.slices],
            scaling,
            self._inferer,
            device=self._device,
            at=box.low,
            progress=progress,
        )
        suppress_small_pieces(inside, self._min_piece_mass, cut_faces=_cut_faces(box, volume.shape))
        if roi is None:
            probability = inside
        else:
            probability = np.zeros(volume.shape, np.float32)
            probability[box.slices] = inside
        return Prediction(
            probability=volume.with_array(probability),
            uncertainty=volume.with_array(binary_entropy(probability)),
            model=self._model,
            threshold=choose_threshold(inside, self._threshold),
        )


def load_bundle(root: Path | str, *, weights: Path | None = None, device: str | None = None) -> BundleSegmenter:
    """Load a bundle for prediction.

    Args:
        root: The bundle's folder, with ``configs/inference.yaml`` and ``configs/metadata.json``.
        weights: A safetensors file; default: ``models/model.safetensors`` in the bundle.
        device: ``cpu``, ``cuda``, ``cuda:N``; default: the GPU if there is one.

    Raises:
        BundleError: When :func:`minivess.models.check_bundle` refuses the bundle, or its network cannot be built.
        WeightsError: When the weights are missing, damaged or made for another network. Random weights are never used.
        InputError: When this machine does not have the device.
    """
    root = Path(root)
    check_bundle(root)
    metadata = read_config(root / "configs" / "metadata.json")
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(root)
    file = Path(weights) if weights is not None else weights_path(root)
    network = _build(parser, "network_def")
    sha256 = file_sha256(file) if file.is_file() else ""
    load_weights(network, file)
    if file_sha256(file) != sha256:
        raise WeightsError(f"{file.name} was replaced while it was read. Try again.")
    return BundleSegmenter(
        network,
        _build(parser, "inferer"),
        capabilities=Capabilities(frozenset(), LABELS, str(_build(parser, "modality"))),
        model=ModelRef(str(metadata["name"]), str(metadata["version"]), sha256),
        threshold=_build(parser, "threshold"),
        min_piece_mass=_build(parser, "min_piece_mass") if "min_piece_mass" in parser else 0.0,
        device=pick_device(device),
    )


def _cut_faces(box: Box, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return the faces of a box that lie inside a volume, as (axis, 0 or -1)."""
    low = [(axis, 0) for axis in range(3) if box.low[axis] > 0]
    return low + [(axis, -1) for axis in range(3) if box.high[axis] < shape[axis]]


def _build(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise BundleError(f"configs/inference.yaml: {key} cannot be built: {error}") from error
