"""Simulate a time-of-flight MR angiogram of rasterised vessels."""

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
