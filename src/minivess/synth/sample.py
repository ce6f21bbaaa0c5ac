"""Generate one synthetic volume of a given kind, with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.synth.angiography import expose_cta, expose_tof
from minivess.synth.graph import VesselGraph
from minivess.synth.mesh import capillary_mesh
from minivess.synth.microscope import draw_brightness, draw_optics, expose
from minivess.synth.random_anatomy import draw_spacing, random_vessels
from minivess.synth.random_microscope import expose_randomised
from minivess.synth.raster import Raster, rasterise
from minivess.synth.tree import TreeStyle, grow_tree
from minivess.volume.checks import check_spacing
from minivess.volume.units import Unit
from minivess.volume.volume import Volume, affine_from_spacing

Kind = Literal["capillary", "large", "tof", "randomised", "cta"]  # a new kind comes last: the position is part of the seed
KINDS: tuple[Kind, ...] = get_args(Kind)

_SHAPE: dict[Kind, tuple[int, int, int]] = {
    "capillary": (512, 512, 25),
    "large": (512, 512, 25),
    "tof": (160, 160, 96),
    "randomised": (192, 192, 20),
    "cta": (160, 160, 96),
}
#: The voxel size of a randomised volume is drawn by its seed.
_SPACING: dict[Kind, tuple[float, float, float]] = {
    "capillary": (0.994, 0.994, 5.0),
    "large": (0.994, 0.994, 5.0),
    "tof": (0.6, 0.6, 0.6),
    "cta": (0.55, 0.55, 0.8),
}
_UNIT: dict[Kind, Unit] = {"capillary": "um", "large": "um", "tof": "mm", "randomised": "um", "cta": "mm"}
#: Range of the fraction of voxels inside vessels.
_FOREGROUND: dict[Kind, tuple[float, float]] = {
    "capillary": (0.03, 0.04),
    "large": (0.10, 0.40),
    "tof": (0.006, 0.02),
    "cta": (0.006, 0.02),
}


@dataclass(frozen=True, eq=False)
class SyntheticSample:
    """A synthetic volume and its ground truth.

    Attributes:
        image: uint16 volume, the simulated image; of kind ``cta`` int16, in Hounsfield units.
        mask: uint8 volume, 1 inside vessels; of a randomised volume, in the extent that is visible.
        centreline: uint8 volume, 1 in voxels that a centre-line passes through.
        radius: float32 volume, vessel radius at centre-line voxels in the volume's unit, 0 elsewhere.
        graph: The vessel network.
    """

    image: Volume
    mask: Volume
    centreline: Volume
    radius: Volume
    graph: VesselGraph


def make_sample(
    kind: Kind,
    seed: int,
    *,
    shape: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> SyntheticSample:
    """Generate one synthetic volume; equal arguments give equal voxels.

    Args:
        kind: ``"capillary"`` (two-photon, 3 to 4 % vessel), ``"large"`` (two-photon, 10 to 40 % vessel), ``"tof"``
            (time-of-flight MR angiogram, 0.6 to 2 % vessel; more in smaller volumes than by default), ``"randomised"``
            (microscopy of any calibre, voxel size, noise, staining and detector) or ``"cta"`` (CT angiogram with bone and air,
            vessels as in ``"tof"``).
        seed: Any non-negative integer.
        shape: Number of voxels along x, y, z, each at least 8; the default depends on the kind.
        spacing: Voxel size along x, y, z, in um (tof, cta: mm); the default depends on the kind.

    Raises:
        InputError: When the kind is unknown, the seed is negative, the shape is not three numbers of at least 8, or the spacing
            is not three positive numbers.

    Example:
        >>> sample = make_sample("tof", 0, shape=(24, 24, 16))
        >>> sample.image.shape, sample.image.spacing, sample.image.unit
        ((24, 24, 16), (0.6, 0.6, 0.6), 'mm')
        >>> sample.mask.same_grid(sample.image)
        True
    """
    if kind not in KINDS:
        raise InputError(f"Unknown kind {kind!r}. Allowed: {', '.join(KINDS)}.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more. Got {seed}.")
    shape = shape or _SHAPE[kind]
    if len(shape) != 3 or min(shape) < 8:
        raise InputError(f"A synthetic volume needs at least 8 voxels along x, y and z. Got shape {shape}.")
    # Separate random streams for anatomy and imaging: the same vessels can be imaged again.
    anatomy, imaging = (np.random.default_rng(s) for s in np.random.SeedSequence([seed, KINDS.index(kind)]).spawn(2))
    if spacing is not None:
        spacing = check_spacing(spacing, source="a synthetic volume")
    spacing = spacing or (draw_spacing(anatomy) if kind == "randomised" else _SPACING[kind])
    graph = _ANATOMY[kind](anatomy, shape, spacing)
    spread = imaging.uniform(0.2, 0.9) if kind == "randomised" else 0.15 if kind in ("tof", "cta") else 0.6
    raster = rasterise(graph, shape, spacing, brightness=draw_brightness(imaging, graph, spread))
    array: NDArray[Any]
    if kind == "tof":
        array = expose_tof(imaging, raster.brightness, spacing)
    elif kind == "cta":
        array = expose_cta(imaging, raster.brightness, spacing)
    elif kind == "randomised":
        array, visible = expose_randomised(imaging, raster.brightness, spacing)
        raster = replace(raster, mask=visible)
    else:
        array = expose(imaging, raster.brightness, spacing, draw_optics(imaging))
    return _as_sample(array, raster, graph, spacing, _UNIT[kind])


def _as_sample(
    array: NDArray[Any], raster: Raster, graph: VesselGraph, spacing: tuple[float, float, float], unit: Unit
) -> SyntheticSample:
    affine = affine_from_spacing(spacing)
    layers = (array, raster.mask.astype(np.uint8), raster.centreline.astype(np.uint8), raster.radius)
    image, mask, centreline, radius = (Volume(layer, affine, unit) for layer in layers)
    return SyntheticSample(image, mask, centreline, radius, graph)


def _capillaries(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> VesselGraph:
    extent = np.array(shape) * np.array(spacing)
    graph = capillary_mesh(rng, extent, junction_distance=rng.uniform(32.0, 42.0), radius=(2.2, 3.6))
    if rng.random() < 0.6:  # a penetrating vessel crosses most fields of view
        style = TreeStyle(min_radius=3.0, flatness=1.0)
        graph = graph.joined(grow_tree(rng, extent, rng.uniform(5.0, 8.0), style))
    return _fit_width(graph, shape, spacing, rng.uniform(*_FOREGROUND["capillary"]))


def _large_vessels(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> VesselGraph:
    extent = np.array(shape) * np.array(spacing)
    target = rng.uniform(0.13, 0.36)
    widest = min(40.0, 0.3 * extent[2], 0.1 * extent[0])
    graph = capillary_mesh(rng, extent, junction_distance=rng.uniform(50.0, 80.0), radius=(2.2, 3.6))
    mask = rasterise(graph, shape, spacing).mask
    for _ in range(40):
        if mask.mean() >= target:
            break
        stem = rng.uniform(0.3, 1.0) * widest
        style = TreeStyle(
            min_radius=max(3.0, rng.uniform(0.2, 0.5) * stem),
            length_per_radius=(4.0, 12.0),
            fork_ratio=(0.3, 0.8),
            tortuosity=0.07,
            flatness=0.85,
        )
        tree = grow_tree(rng, extent, stem, style)
        graph, mask = graph.joined(tree), mask | rasterise(tree, shape, spacing).mask
    low, high = _FOREGROUND["large"]
    return _fit_width(graph, shape, spacing, float(np.clip(mask.mean(), low, 0.95 * high)))


def _arteries(rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> VesselGraph:
    extent = np.array(shape) * np.array(spacing)
    style = TreeStyle(min_radius=0.45, length_per_radius=(8.0, 22.0), flatness=1.0)
    graph = grow_tree(rng, extent, rng.uniform(1.6, 2.2), style)
    for _ in range(int(rng.integers(1, 4))):
        graph = graph.joined(grow_tree(rng, extent, rng.uniform(1.0, 1.9), style))
    return _fit_width(graph, shape, spacing, rng.uniform(*_FOREGROUND["tof"]))


def _fit_width(
    graph: VesselGraph, shape: tuple[int, int, int], spacing: tuple[float, float, float], target: float
) -> VesselGraph:
    """Scale all radii by one factor until the vessels fill the target fraction of the volume; Murray's law stays valid."""
    for _ in range(4):
        fraction = rasterise(graph, shape, spacing).mask.mean()
        if abs(fraction - target) < 0.05 * target:
            break
        graph = graph.scaled(float(np.clip(np.sqrt(target / fraction), 0.5, 2.0)))
    return graph


_ANATOMY = {"capillary": _capillaries, "large": _large_vessels, "tof": _arteries, "randomised": random_vessels, "cta": _arteries}
