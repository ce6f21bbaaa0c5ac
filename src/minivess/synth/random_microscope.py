"""Simulate stacks of many microscopes and preparations, for domain randomisation (vesselFM, arXiv 2411.17386).

The ranges are wider than those of any one microscope: a network that has seen them all meets a real stack inside them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.synth.microscope import smooth_field

Image = NDArray[np.float32]


#: An annotator outlines a vessel where it still has this share of its light: on real stacks, labels are wider than the lumen.
VISIBLE = 0.15
#: Standard deviation, in voxels (x, y, z), of what an annotator's pen adds to the blur.
_PEN = (0.6, 0.6, 0.2)


def expose_randomised(
    rng: np.random.Generator, brightness: Image, spacing_um: tuple[float, float, float]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Simulate an image with a random microscope, preparation, detector and postprocessing.

    Args:
        rng: Random number generator.
        brightness: (x, y, z) float32, relative brightness, 0 outside vessels; z increases with depth.
        spacing_um: Voxel size along x, y, z in um.

    Returns:
        (x, y, z) uint8 in [0, 255], or uint16 in [0, 65535]; and (x, y, z) bool, the visible extent of the vessels: the lumen
        and the blur around it, as annotators outline it.
    """
    size = np.asarray(spacing_um)
    vessels = _stained(rng, brightness, size)
    objects = vessels + _cells(rng, brightness.shape, size)
    psf = np.array([1.0, 1.0, rng.uniform(2.0, 6.0)]) * np.exp(rng.uniform(np.log(0.3), np.log(1.4)))
    light = ndimage.gaussian_filter(objects, psf / size)
    inside = brightness > 0
    visible = inside | (ndimage.gaussian_filter(inside.astype(np.float32), np.hypot(psf / size, _PEN)) >= VISIBLE)
    light += _out_of_focus(rng, vessels, size) + _leakage(rng, vessels, size) + _tissue(rng, brightness.shape, size)
    light = np.maximum(light, 0.0) * _illumination(rng, brightness.shape, size)
    return _digitised(rng, _smoothed(rng, _detected(rng, light))), visible


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _stained(rng: np.random.Generator, brightness: Image, size: NDArray[np.float64]) -> Image:
    """Stain plasma or walls unevenly; moving red cells are dark stripes."""
    light = brightness * np.maximum(
        0.15, 1.0 + rng.uniform(0.05, 0.45) * smooth_field(rng, brightness.shape, rng.uniform(1.5, 8.0) / size)
    )
    if rng.random() < 0.15:  # the wall is stained (lectin), the lumen is dim
        depth = ndimage.distance_transform_edt(brightness > 0, sampling=size)
        light *= 0.3 + 0.7 * np.exp(-depth / rng.uniform(1.5, 4.0))
    if rng.random() < 0.3:
        stripes = smooth_field(rng, brightness.shape, np.array([0.5, rng.uniform(2.0, 6.0), 0.2]) / size)
        light *= np.clip(1.0 + rng.uniform(0.2, 0.5) * stripes, 0.3, 1.7)
    return np.asarray(light, dtype=np.float32)


def _cells(rng: np.random.Generator, shape: tuple[int, ...], size: NDArray[np.float64]) -> Image:
    """Return debris of a voxel or two, and cell bodies of 2 to 7 um radius, brighter or dimmer than vessels."""
    image = np.zeros(shape, np.float32)
    volume = float(np.prod(np.array(shape) * size)) / 1e6
    for share, density, radius_um, light in ((0.5, 60.0, (0.3, 1.5), (0.2, 2.5)), (0.4, 25.0, (2.0, 7.0), (0.1, 1.2))):
        if rng.random() > share:
            continue
        for _ in range(min(400, rng.poisson(rng.uniform(0.0, density) * volume))):
            radius = np.maximum(rng.uniform(*radius_um) / size, 0.5) * rng.uniform(0.8, 1.25, 3)
            _add_blob(image, np.array([rng.uniform(0, n) for n in shape]), radius, _log_uniform(rng, *light))
    return image


def _add_blob(image: Image, centre: NDArray[np.float64], radius: NDArray[np.float64], light: float) -> None:
    """Raise an ellipsoid of an image to at least a brightness, in place."""
    low = np.maximum(0, np.floor(centre - radius).astype(int))
    high = np.minimum(image.shape, np.ceil(centre + radius).astype(int) + 1)
    axes = [(np.arange(a, b) + 0.5 - c) / r for a, b, c, r in zip(low, high, centre, radius, strict=True)]
    inside = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2 <= 1.0
    box = image[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    np.maximum(box, light * inside, out=box)


def _out_of_focus(rng: np.random.Generator, vessels: Image, size: NDArray[np.float64]) -> Image:
    """Return the light of vessels above and below: little in two-photon stacks, much in confocal and light-sheet ones."""
    wide = np.array([1.0, 1.0, rng.uniform(1.0, 2.5)]) * _log_uniform(rng, 5.0, 20.0)
    return np.asarray(_log_uniform(rng, 0.02, 0.6) * ndimage.gaussian_filter(vessels, wide / size), dtype=np.float32)


def _leakage(rng: np.random.Generator, vessels: Image, size: NDArray[np.float64]) -> Image:
    """Return clouds of dye that left its vessels."""
    image = np.zeros(vessels.shape, np.float32)
    inside = np.argwhere(vessels > 0)
    if rng.random() > 0.35 or not len(inside):
        return image
    for _ in range(int(rng.integers(1, 6))):
        cloud = np.zeros(vessels.shape, np.float32)
        cloud[tuple(inside[rng.integers(len(inside))])] = 1.0
        cloud = ndimage.gaussian_filter(cloud, _log_uniform(rng, 5.0, 40.0) / size)
        image += cloud / max(float(cloud.max()), 1e-12) * _log_uniform(rng, 0.05, 1.0)
    return image


def _tissue(rng: np.random.Generator, shape: tuple[int, ...], size: NDArray[np.float64]) -> Image:
    """Return the background: even, textured like neuropil, or with dark bodies."""
    level = _log_uniform(rng, 0.01, 0.35)
    coarse, fine = (smooth_field(rng, shape, width / size) for width in (rng.uniform(25.0, 90.0), rng.uniform(2.0, 8.0)))
    texture = 1.0 + rng.uniform(0.0, 0.4) * coarse + rng.uniform(0.0, 0.3) * fine
    return np.asarray(level * np.maximum(texture, 0.05), dtype=np.float32)


def _illumination(rng: np.random.Generator, shape: tuple[int, ...], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative excitation: it falls with depth, towards the corners, in some first and last slices, in stripes."""
    depth = np.arange(shape[2]) * size[2]
    along_z = np.exp(-depth / _log_uniform(rng, 80.0, 800.0))
    for reverse in (False, True):
        if rng.random() < 0.2:
            dim = int(rng.integers(1, max(2, shape[2] // 3)))
            ramp = np.ones(shape[2])
            ramp[:dim] = np.linspace(_log_uniform(rng, 0.02, 0.5), 1.0, dim, endpoint=False)
            along_z = along_z * (ramp[::-1] if reverse else ramp)
    x, y = (np.linspace(-1, 1, n) - rng.uniform(-0.4, 0.4) for n in shape[:2])
    plane = np.exp(-rng.uniform(0.0, 0.6) * (x[:, None] ** 2 + y[None, :] ** 2))
    if rng.random() < 0.25:  # light-sheet shadows, uneven lines of a scanner
        lines = ndimage.gaussian_filter1d(rng.normal(size=shape[1]), _log_uniform(rng, 0.3, 3.0))
        plane = plane * np.clip(1.0 + rng.uniform(0.03, 0.12) * lines / (lines.std() + 1e-9), 0.2, 2.0)
    return np.asarray(plane[:, :, None] * along_z)


def _detected(rng: np.random.Generator, light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count photons, few or many, with read-out noise and sometimes noise that is equal along a line."""
    photons = _log_uniform(rng, 6.0, 300.0)
    counts = rng.poisson(light * photons) + rng.normal(0.0, _log_uniform(rng, 0.1, 4.0), light.shape)
    if rng.random() < 0.2:
        counts = counts + rng.normal(0.0, 0.03 * photons, (1, light.shape[1], light.shape[2]))
    return np.asarray(counts / photons)


def _smoothed(rng: np.random.Generator, image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Denoise as published stacks are, or leave the image raw."""
    method = rng.random()
    if method < 0.35:
        return image
    if method < 0.5:
        return np.asarray(ndimage.median_filter(image, (3, 3, 1 if rng.random() < 0.5 else 3)))
    width = _log_uniform(rng, 0.4, 1.8)
    smooth = ndimage.gaussian_filter(image, (width, width, width * rng.uniform(0.0, 0.6)))
    if method < 0.75:
        return smooth
    # Strong smoothing except where the image has structure, as non-local filters such as BM4D leave it.
    flat = ndimage.gaussian_filter(smooth, (2.5, 2.5, 0.7))
    contrast = np.abs(smooth - flat)
    keep = contrast / (contrast + 2.0 * np.median(contrast) + 1e-9)
    return np.asarray(keep * smooth + (1 - keep) * flat)


def _digitised(rng: np.random.Generator, image: NDArray[np.float64]) -> NDArray[Any]:
    """Stretch, saturate, cut off at zero and round: many stacks use few of their 256 counts, or have an empty background."""
    if rng.random() < 0.25:  # background subtracted, the rest of it is exactly zero
        image = image - np.percentile(image, rng.uniform(10.0, 65.0))
    elif rng.random() < 0.5:
        image = image - np.percentile(image, 0.5)
    top = float(np.percentile(image, rng.choice([98.0, 99.5, 99.9, 99.99, 100.0])))
    image = np.clip(image / max(top, 1e-9), 0.0, None)
    if rng.random() < 0.3:
        image = image ** rng.uniform(0.6, 1.5)
    if rng.random() < 0.6:
        levels = _log_uniform(rng, 25.0, 255.0) if rng.random() < 0.4 else 255.0
        pedestal = rng.uniform(0.0, 12.0) if rng.random() < 0.3 else 0.0
        return np.clip(np.round(image * levels + pedestal), 0, 255).astype(np.uint8)
    levels, pedestal = _log_uniform(rng, 500.0, 60_000.0), rng.uniform(0.0, 500.0)
    return np.clip(np.round(image * levels + pedestal), 0, 65_535).astype(np.uint16)
