"""Open a MONAI bundle as a Segmenter: check it as text, build its network, fill it with safe weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer

from minivess.errors import BundleError, InputError, WeightsError
from minivess.models.bundle_check import check_bundle, read_config
from minivess.models.decision import choose_threshold
from minivess.models.normalise import fit_scaling
from minivess.models.segmenter import (
    Capabilities,
    ModelRef,
    Prediction,
    Progress,
    Prompt,
    Roi,
    binary_entropy,
    check_roi,
)
from minivess.models.sliding import sliding_probability
from minivess.models.weights import FILE_NAME, load_weights
from minivess.paths import sha256_of
from minivess.volume import Volume


def pick_device(name: str | None = None) -> torch.device:
    """Choose where to compute: the named device, or the GPU where there is one, else the CPU.

    Raises:
        InputError: When the named device does not exist here.
    """
    if name in (None, "", "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    allowed = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "cuda" and len(allowed) > 1:
        return torch.device("cuda")
    if name not in allowed:
        raise InputError(f"There is no device {name!r} here. Allowed: auto, {', '.join(allowed)}.")
    return torch.device(str(name))


def weights_path(root: Path) -> Path:
    """Say where a bundle keeps its weights."""
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
    ) -> None:
        """Take over what :func:`load_bundle` has built."""
        self._network = network.to(device).eval()
        self._inferer = inferer
        self._capabilities = capabilities
        self._model = model
        self._threshold = threshold
        choose_threshold(np.zeros((1, 1, 1), np.float32), threshold)  # a rule that is none is said now, not after the prediction
        self._device = device

    @property
    def capabilities(self) -> Capabilities:
        """What it takes."""
        return self._capabilities

    @property
    def model(self) -> ModelRef:
        """What it is."""
        return self._model

    @contextmanager
    def dropping_out(self, seed: int) -> Iterator[None]:
        """Leave the network's dropout on inside the context, so that each prediction is another answer (MC dropout).

        Raises:
            InputError: When the network has no dropout.
        """
        layers = [m for m in self._network.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0]
        if not layers:
            raise InputError(f"The network of {self._model.bundle} has no dropout. Ask it about mirrored views, or ask several.")
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
        prompts: Mapping[Prompt, Any] | None = None,
        roi: Roi | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Segment a volume, or only a box of it; see :class:`minivess.models.segmenter.Segmenter`."""
        unknown = set(prompts or {}) - self._capabilities.prompts
        if unknown:
            raise InputError(f"{self._model.bundle} segments by itself and takes no prompts. Got {', '.join(sorted(unknown))}.")
        box = check_roi(roi, volume.shape) if roi is not None else (slice(0, None),) * 3
        scaling = fit_scaling(volume.array, self._capabilities.modality)
        inside = sliding_probability(
            self._network,
            volume.array[box],
            scaling,
            self._inferer,
            device=self._device,
            at=(box[0].start, box[1].start, box[2].start),
            progress=progress,
        )
        if roi is None:
            probability = inside
        else:
            probability = np.zeros(volume.shape, np.float32)
            probability[box] = inside
        return Prediction(
            probability=volume.with_array(probability),
            uncertainty=volume.with_array(binary_entropy(probability)),
            model=self._model,
            threshold=choose_threshold(inside, self._threshold),
        )


def load_bundle(root: Path | str, *, weights: Path | None = None, device: str | None = None) -> BundleSegmenter:
    """Open a bundle for prediction.

    Args:
        root: The bundle's folder, with ``configs/inference.yaml`` and ``configs/metadata.json``.
        weights: A safetensors file; ``models/model.safetensors`` in the bundle where not stated.
        device: ``cpu``, ``cuda``, ``cuda:N``; the GPU where there is one when not stated.

    Raises:
        BundleError: When the bundle is incomplete or its configuration asks for more than is allowed.
        WeightsError: When the weights are missing, damaged or made for another network. Never random weights.
        InputError: When there is no such device.
    """
    root = Path(root)
    check_bundle(root)
    metadata = read_config(root / "configs" / "metadata.json")
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "inference.yaml"))
    parser["bundle_root"] = str(root)
    file = Path(weights) if weights is not None else weights_path(root)
    network = _built(parser, "network_def")
    sha256 = sha256_of(file) if file.is_file() else ""
    load_weights(network, file)
    if sha256_of(file) != sha256:
        raise WeightsError(f"{file.name} was replaced while it was read. Try again.")
    return BundleSegmenter(
        network,
        _built(parser, "inferer"),
        capabilities=Capabilities(frozenset(), _labels(metadata, root), str(_built(parser, "modality"))),
        model=ModelRef(str(metadata["name"]), str(metadata["version"]), sha256),
        threshold=_built(parser, "threshold"),
        device=pick_device(device),
    )


def _built(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise BundleError(f"configs/inference.yaml: {key} cannot be built: {error}") from error


def _labels(metadata: dict[str, Any], root: Path) -> tuple[str, ...]:
    try:
        channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    except (KeyError, TypeError) as error:
        raise BundleError(f"{root.name}: metadata.json lacks network_data_format.outputs.pred.channel_def.") from error
    names = [str(name) for _, name in sorted(channels.items(), key=lambda item: int(item[0]))]
    return tuple(name for name in names if name.lower() != "background")
