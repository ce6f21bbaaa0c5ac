"""Read and write weights as safetensors: numbers only, nothing that could run code when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minivess.errors import WeightsError
from minivess.paths import atomic_file

FILE_NAME = "model.safetensors"
#: Key of the metadata: SHA-256 of names, types, shapes and values.
TENSORS_KEY = "tensors_sha256"


def save_weights(network: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write a network's parameters and buffers atomically, with metadata in the same file.

    Args:
        network: Any module.
        path: The file to write, usually ``model.safetensors``.
        metadata: How the weights were made: data, seed, score; strings only.
    """
    # Cloned: some networks, such as DynUNet, have one tensor under two names, which safetensors refuses.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    write_weights(tensors, path, {**metadata, **_base_of(network)})


def write_weights(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write tensors atomically, with metadata and their own hash, so that a changed byte is noticed when they are read.

    Args:
        tensors: Name -> contiguous tensor.
        path: The file to write.
        metadata: Strings.
    """
    with atomic_file(path) as temporary:
        save_file(dict(tensors), temporary, metadata={**metadata, TENSORS_KEY: _tensors_sha256(tensors)})


def load_weights(network: torch.nn.Module, path: Path) -> dict[str, str]:
    """Load weights into a network that they fit exactly.

    Args:
        network: The module to fill.
        path: A safetensors file.

    Returns:
        The metadata that were written with the weights.

    Raises:
        WeightsError: When the file is missing or damaged, its names or shapes differ from the network's, or a value is
            not finite. The network is then unchanged.
    """
    tensors, metadata = read_weights(path)
    for key, sha256 in _base_of(network).items():
        if metadata.get(key) != sha256:
            raise WeightsError(
                f"{path.name} was trained on the base {metadata.get(key, 'none')[:12]}, the bundle has {sha256[:12]}. "
                "Use the base that it was trained on, or train again."
            )
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    differences = [
        f"{name}: the network has {expected.get(name, 'none')}, the file {got.get(name, 'none')}"
        for name in sorted(set(expected) | set(got))
        if expected.get(name) != got.get(name)
    ]
    if differences:
        raise WeightsError(
            f"{path.name} was made for another network: {len(differences)} differences, the first: "
            f"{'; '.join(differences[:3])}. Use the bundle that these weights were trained with."
        )
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise WeightsError(f"{path.name} contains NaN or infinity in {', '.join(bad[:3])}. The training diverged: train again.")
    network.load_state_dict(tensors, strict=True)
    return metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a weights file without its tensors.

    Raises:
        WeightsError: When the file is missing or damaged.
    """
    with _open(path) as file:
        return dict(file.metadata() or {})


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors by name, and the metadata.

    Raises:
        WeightsError: When the file is missing or damaged.
    """
    with _open(path) as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    stated = metadata.get(TENSORS_KEY)
    if stated is not None and stated != _tensors_sha256(tensors):
        raise WeightsError(f"{path.name} is damaged: its tensors are not those that were written. Copy it again, or roll back.")
    return tensors, metadata


def _tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _base_of(network: torch.nn.Module) -> dict[str, str]:
    """Return the hash of the frozen base that a network stands on; nothing for a network without one."""
    identity = getattr(network, "base_identity", None)
    return {"base_sha256": identity()} if identity else {}


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise WeightsError(f"No weights at {path}. Train the bundle first (`minivess train --help`), or name a trained bundle.")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is not a safetensors file ({error}). Pickled weights are never opened.") from error
