"""Simulate angiograms of rasterised vessels: time-of-flight MR, and CT with contrast agent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.synth.microscope import smooth_field


def expose_tof(
    rng: np.random.Generator, brightness: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.uint16]:
    """Simulate the image: textured tissue, inflow signal that saturates along z, slab boundaries, Rician noise.

    Args:
        rng: Random number generator.
        brightness: (x, y, z) float32, relative brightness, 0 outside vessels; blood enters at z = 0.
        spacing_mm: Voxel size along x, y, z in mm.

    Returns:
        (x, y, z) uint16 in [0, 1023].
    """
    size = np.asarray(spacing_mm)
    shape = brightness.shape
    coarse, fine = (smooth_field(rng, shape, width / size) for width in (12.0, 2.0))
    tissue = 0.28 + 0.07 * coarse + 0.03 * fine
    folds = 0.06 * (np.abs(smooth_field(rng, shape, 5.0 / size)) < 0.15)  # thin dark lines, as between gyri
    height = np.arange(shape[2]) * size[2]
    saturation = np.exp(-height / rng.uniform(120.0, 300.0))
    slab = 1.0 + 0.04 * np.sin(2 * np.pi * height / rng.uniform(20.0, 40.0))
    flow = ndimage.gaussian_filter(brightness, 0.35 / size) * saturation
    clean = (np.maximum(tissue - folds, 0.02) + 0.7 * flow) * slab
    noise = rng.uniform(0.012, 0.03)
    real = clean + rng.normal(0.0, noise, shape)
    imaginary = rng.normal(0.0, noise, shape)
    magnitude = np.sqrt(real**2 + imaginary**2)
    return np.clip(np.round(magnitude * 700.0), 0, 1023).astype(np.uint16)


def expose_cta(
    rng: np.random.Generator, brightness: NDArray[np.float32], spacing_mm: tuple[float, float, float]
) -> NDArray[np.int16]:
    """Simulate the image: soft tissue, bone as bright as vessels and brighter, air around, calcified walls, correlated noise.

    Args:
        rng: Random number generator.
        brightness: (x, y, z) float32, relative brightness, 0 outside vessels.
        spacing_mm: Voxel size along x, y, z in mm.

    Returns:
        (x, y, z) int16 in Hounsfield units, [-1024, 3071].
    """
    size, shape, vessel = np.asarray(spacing_mm), brightness.shape, brightness > 0
    coarse, fine = (smooth_field(rng, shape, width / size) for width in (15.0, 3.0))
    density = 35.0 + 8.0 * coarse + 4.0 * fine
    depth = _depth_mm(rng, shape, size)
    skull = (depth > 0) & (depth < rng.uniform(4.0, 8.0) * (1.0 + 0.3 * coarse))
    base = smooth_field(rng, shape, 6.0 / size) > rng.uniform(1.2, 2.0)  # pieces, as of the skull's base and of vertebrae
    bone = (skull | base) & ~ndimage.binary_dilation(vessel)
    density[bone] = (rng.uniform(500.0, 1100.0) + 250.0 * fine)[bone]
    scalp_mm = rng.uniform(6.0, 20.0) * (1.0 + 0.2 * coarse)
    density[(depth <= -scalp_mm) & ~ndimage.binary_dilation(vessel, iterations=3)] = -1000.0
    contrast = rng.uniform(180.0, 420.0)
    density = np.where(vessel, 35.0 + contrast * brightness, density)
    wall = vessel & ~ndimage.binary_erosion(vessel)
    density[wall & (fine > rng.uniform(1.8, 2.6))] += 600.0  # calcified
    sharp = ndimage.gaussian_filter(density, rng.uniform(0.3, 0.5) / size)
    noise = smooth_field(rng, shape, rng.uniform(0.4, 0.8) / size)  # correlated, as reconstruction leaves it
    return np.clip(np.round(sharp + rng.uniform(8.0, 22.0) * noise), -1024, 3071).astype(np.int16)


def _depth_mm(rng: np.random.Generator, shape: tuple[int, ...], size_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how deep each voxel lies in a body that the field of view holds as a whole, or is wholly inside of."""
    extent = np.asarray(shape) * size_mm
    radii = extent * (rng.uniform(0.42, 0.5) if rng.random() < 0.6 else 1.0)
    axes = [(np.arange(n) + 0.5) * step - 0.5 * n * step for n, step in zip(shape, size_mm, strict=True)]
    x, y, z = np.meshgrid(axes[0] / radii[0], axes[1] / radii[1], axes[2] / (2.0 * radii[2]), indexing="ij", sparse=True)
    return np.asarray((1.0 - np.sqrt(x**2 + y**2 + z**2)) * radii.min())
