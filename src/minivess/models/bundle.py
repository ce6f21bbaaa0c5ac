"""Load a MONAI bundle as a Segmenter: check it as text, build its network, load safe weights."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from minivess.errors import BundleError, InputError, MinivessError, WeightsError
from minivess.models.bundle_check import check_bundle, members_of, prediction_config, read_config
from minivess.models.bundle_segmenter import BundleSegmenter
from minivess.models.config_values import ConfigPath
from minivess.models.pipeline_check import resolve
from minivess.models.resample import check_spacing
from minivess.models.segmenter import Capabilities, ModelRef, PromptKind, Segmenter
from minivess.models.weights import FILE_NAME, load_weights
from minivess.paths import file_sha256

#: The classes of every bundle that :func:`minivess.models.check_bundle` accepts.
LABELS = ("vessel",)
#: File in a bundle that was released: id of the release, and hash of the weights that it is true of.
RELEASE_MARK = "release.json"
#: Where a hash of how a bundle predicts is written: in that mark, and in a registry.
INFERENCE_HASH = "inference_sha256"


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


def base_path(root: Path) -> Path:
    """Return the folder of the frozen base that a bundle's network stands on, which most bundles do not have."""
    return Path(root) / "models" / "base"


def inference_sha256(root: Path) -> str:
    """Return a hash of how a bundle predicts, beside its weights: its ``inference.yaml``, and those of its members.

    Args:
        root: The bundle's folder.
    """
    digest = hashlib.sha256()
    for bundle in (root, *members_of(root)):
        digest.update((bundle / "configs" / "inference.yaml").read_bytes() + b"\0")
    return digest.hexdigest()


def load_bundle(root: Path | str, *, weights: Path | None = None, device: str | None = None) -> Segmenter:
    """Load a bundle for prediction.

    A bundle becomes a :class:`BundleSegmenter`, unless its ``inference.yaml`` has a key ``segmenter`` that builds another one.

    Args:
        root: The bundle's folder, with ``configs/inference.yaml`` and ``configs/metadata.json``.
        weights: A safetensors file; default: ``models/model.safetensors`` in the bundle.
        device: ``cpu``, ``cuda``, ``cuda:N``; default: the GPU if there is one.

    Raises:
        BundleError: When :func:`minivess.models.check_bundle` refuses what prediction needs, or the network cannot be built.
        WeightsError: When the weights are missing, damaged or made for another network. Random weights are never used.
        InputError: When this machine does not have the device.
    """
    root = Path(root)
    check_bundle(root, only_prediction=True)
    parser = ConfigParser(prediction_config(read_config(root / "configs" / "inference.yaml")))
    parser["bundle_root"] = ConfigPath(root)
    if "segmenter" in parser:
        parser["weights"], parser["device"] = ConfigPath(weights or weights_path(root)), device or ""
        segmenter: Segmenter = _build(parser, "segmenter")
        return segmenter
    file = Path(weights) if weights is not None else weights_path(root)
    network = build_network(parser)
    sha256 = file_sha256(file) if file.is_file() else ""
    load_weights(network, file)
    if file_sha256(file) != sha256:
        raise WeightsError(f"{file.name} was replaced while it was read. Try again.")
    return BundleSegmenter(
        network,
        _build(parser, "inferer"),
        capabilities=Capabilities(
            getattr(network, "prompts", frozenset()),
            LABELS,
            str(_build(parser, "modality")),
            check_spacing(_build(parser, "spacing_um")) if "spacing_um" in parser else None,
        ),
        model=model_reference(root, sha256),
        threshold=_build(parser, "threshold"),
        min_piece_mass=_build(parser, "min_piece_mass") if "min_piece_mass" in parser else 0.0,
        device=pick_device(device),
    )


def with_other_weights(segmenter: Segmenter, root: Path, file: Path) -> Segmenter:
    """Return a loaded bundle with other weights of the same network.

    Args:
        segmenter: The bundle as it was loaded.
        root: The bundle's folder.
        file: A safetensors file.

    Raises:
        WeightsError: When the weights are missing, damaged or made for another network.
        InputError: When the bundle is no single network.
    """
    if not isinstance(segmenter, BundleSegmenter):
        raise InputError(f"{segmenter.model.bundle} is no single network: it has no other weights.")
    sha256 = file_sha256(file) if file.is_file() else ""
    other = segmenter.with_weights(file, model_reference(root, sha256))
    if file_sha256(file) != sha256:
        raise WeightsError(f"{file.name} was replaced while it was read. Try again.")
    return other


def model_reference(root: Path, weights_sha256: str) -> ModelRef:
    """Return what names a bundle's model in results.

    Args:
        root: The bundle's folder, checked before.
        weights_sha256: Hash of its weights file.
    """
    metadata = read_config(root / "configs" / "metadata.json")
    mark = read_config(root / RELEASE_MARK) if (root / RELEASE_MARK).is_file() else {}
    mine = isinstance(mark, Mapping) and mark.get("weights_sha256") == weights_sha256  # else it was trained further
    mine = mine and mark.get(INFERENCE_HASH, inference_sha256(root)) == inference_sha256(root)  # marks of before state none
    release = str(mark.get("id", "")) if mine else ""
    return ModelRef(str(metadata["name"]), str(metadata["version"]), weights_sha256, release)


def accepted_prompts(root: Path) -> frozenset[PromptKind]:
    """Return the kinds of prompts that a bundle's network accepts, without building it.

    Args:
        root: The bundle's folder, checked before.
    """
    return frozenset(getattr(network_class(root), "prompts", ()))


def network_class(root: Path) -> Any:
    """Return the class or function that a bundle's network is built by; None where another key builds its segmenter.

    Args:
        root: The bundle's folder, checked before.
    """
    network = resolve(read_config(root / "configs" / "inference.yaml"), "@network_def")
    if not isinstance(network, Mapping):
        return None
    module, _, name = str(network["_target_"]).rpartition(".")
    return getattr(importlib.import_module(module), name)


def build_network(parser: ConfigParser) -> torch.nn.Module:
    """Build the network of a bundle's configuration, with random weights.

    Args:
        parser: Of ``inference.yaml``, checked before.

    Raises:
        BundleError: When it cannot be built.
    """
    network: torch.nn.Module = _build(parser, "network_def")
    return network


def _build(parser: ConfigParser, key: str) -> Any:
    try:
        return parser.get_parsed_content(key)
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MinivessError):  # MONAI wraps what a network says about itself
                raise cause from None
            cause = cause.__cause__
        raise BundleError(f"configs/inference.yaml: {key} cannot be built: {error}") from error
