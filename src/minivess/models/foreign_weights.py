"""Import weights that others have published, into the safetensors file of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from minivess.errors import WeightsError
from minivess.models.bundle import build_network, network_class, weights_path
from minivess.models.bundle_check import check_bundle, read_config
from minivess.models.config_values import ConfigPath
from minivess.models.weights import read_weights, save_weights
from minivess.paths import file_sha256

#: Keys of dictionaries around a state dict, in checkpoints of common training loops.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "ema")
SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".npz")


def import_weights(source: Path, bundle: Path, target: Path | None = None) -> Path:
    """Convert published weights for the network of a bundle, and write them with source and licence in the metadata.

    The network is filled completely or not at all: a name or a shape that differs is an error. A network with another layout than
    the file says how to read it in its method ``load_foreign``.

    Args:
        source: A state dict (``.pt``, ``.pth``, ``.ckpt``, tensors only), safetensors, or arrays (``.npz``).
        bundle: The bundle's folder.
        target: File to write; that of the bundle by default.

    Returns:
        The file.

    Raises:
        WeightsError: When the file is missing, contains more than tensors, or does not fit the network.
        BundleError: When the bundle is refused.
    """
    check_bundle(bundle)
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    parser["bundle_root"] = ConfigPath(bundle)
    network: Any = build_network(parser)
    tensors = read_foreign(source)
    if hasattr(network, "load_foreign"):
        network.load_foreign(tensors)
    else:
        _load(network, tensors, source)
    broken = [name for name, value in network.state_dict().items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WeightsError(f"{source.name} has values that are no finite numbers, in {', '.join(broken[:3])}. Take another file.")
    metadata = {"imported_from": source.name, "source_sha256": file_sha256(source), "licence": licence_of(bundle)}
    file = target or weights_path(bundle)
    save_weights(network, file, metadata)
    return file


def published_weights(bundle: Path) -> Path:
    """Return the file of published weights that a package has installed with the network of a bundle.

    Args:
        bundle: The bundle's folder.

    Raises:
        WeightsError: When they come with no package.
        BundleError: When the bundle is refused.
        MissingExtraError: When the package is not installed.
    """
    check_bundle(bundle)
    published = getattr(network_class(bundle), "published_weights", None)
    if published is None:
        raise WeightsError(
            f"No package brings weights for {bundle.name}. Give their file: minivess bundle import-weights FILE BUNDLE."
        )
    return Path(published())


def licence_of(bundle: Path) -> str:
    """Return what a bundle states about the licence of its published weights; an empty string when nothing."""
    return str(read_config(bundle / "configs" / "metadata.json").get("weights_licence", ""))


def read_foreign(source: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name, without running code that a pickle may contain.

    Raises:
        WeightsError: When the file is missing, of another kind, or contains more than tensors.
    """
    if not source.is_file() or source.suffix not in SUFFIXES:
        raise WeightsError(f"No weights at {source}. Allowed: an existing file of {', '.join(SUFFIXES)}.")
    if source.suffix == ".safetensors":
        return read_weights(source)[0]
    try:
        if source.suffix == ".npz":
            with np.load(source, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch and numpy raise many kinds for a damaged file
        raise WeightsError(f"{source.name} cannot be read as tensors alone: {str(error)[:200]}") from error
    while isinstance(content, dict) and (inner := next((k for k in _WRAPPERS if isinstance(content.get(k), dict)), None)):
        content = content[inner]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{source.name} holds no state dict: names with tensors.")
    return dict(content)


def _load(network: torch.nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Load tensors whose names are those of the network, or of the one network that it wraps."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for prefix in ("", *(f"{name}." for name, _ in network.named_children())):
        renamed = {prefix + name.removeprefix("module."): value for name, value in tensors.items()}
        if expected == {name: tuple(value.shape) for name, value in renamed.items()}:
            network.load_state_dict(renamed, strict=True)
            return
    names = {name.removeprefix("module.") for name in tensors}
    missing = sorted(name for name in expected if name not in names and name.partition(".")[2] not in names)
    raise WeightsError(
        f"{source.name} does not fit the network of the bundle: {len(expected)} tensors are needed, it has {len(tensors)}. "
        f"Missing or of another shape: {', '.join(missing[:3])}. Nothing is left at random values."
    )
