"""Interpolate between two sets of weights of one network (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903)."""

from __future__ import annotations

from pathlib import Path

from minivess.errors import WeightsError
from minivess.models.weights import read_weights, write_weights


def interpolate_weights(old: Path, new: Path, share: float, target: Path) -> Path:
    """Write ``(1 - share) * old + share * new`` with the metadata of the new weights.

    Counts, such as the number of batches that a normalisation has seen, are those of the new weights.

    Args:
        old: A safetensors file.
        new: A safetensors file of the same network.
        share: Share of the new weights, in [0, 1].
        target: The file to write.

    Returns:
        The target.

    Raises:
        WeightsError: When the files are of two networks, or one is missing or damaged.
    """
    before, after = read_weights(old)[0], read_weights(new)[0]
    if {name: value.shape for name, value in before.items()} != {name: value.shape for name, value in after.items()}:
        raise WeightsError(
            f"{old.name} and {new.name} belong to two networks: their names or shapes differ. Interpolate equal ones."
        )
    metadata = {**read_weights(new)[1], "share_of_new_weights": f"{share:g}"}
    mixed = {
        name: (before[name].lerp(value, share) if value.is_floating_point() else value).contiguous()
        for name, value in after.items()
    }
    write_weights(mixed, target, metadata)
    return target
