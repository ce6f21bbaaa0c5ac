"""Voxel sizes that images of a modality usually have: others are most often in a wrong unit, or of another kind."""

from __future__ import annotations

from collections.abc import Sequence

#: Modality -> smallest and largest usual voxel edge in um.
_USUAL_UM = {
    "two_photon": (0.05, 50.0),
    "light_sheet": (0.05, 100.0),
    "mr_angiography": (50.0, 10_000.0),
    "ct_angiography": (50.0, 10_000.0),
}


def spacing_remark(spacing_um: Sequence[float], modality: str) -> str:
    """Return what is odd about a voxel size, as a sentence; empty when nothing is.

    Args:
        spacing_um: Voxel size along x, y, z in um.
        modality: Key of :data:`minivess.models.MODALITIES`.

    Example:
        >>> spacing_remark((1.0, 1.0, 5.0), "two_photon")
        ''
        >>> spacing_remark((994.0, 994.0, 5000.0), "two_photon")[:43]
        'voxels of 994 x 994 x 5000 um are unusual f'
    """
    smallest, largest = _USUAL_UM.get(modality, (0.0, float("inf")))
    if smallest <= min(spacing_um) and max(spacing_um) <= largest:
        return ""
    size = " x ".join(f"{edge:g}" for edge in spacing_um)
    return (
        f"voxels of {size} um are unusual for {modality} ({smallest:g} to {largest:g} um), which the model is for. Is the unit "
        "right (--unit um or mm)? Images of another kind need a model of their own."
    )
