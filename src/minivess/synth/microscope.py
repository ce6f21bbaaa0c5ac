"""Simulate a two-photon stack of rasterised vessels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.synth.graph import VesselGraph


@dataclass(frozen=True)
class TwoPhotonOptics:
    """Parameters of the microscope and the tissue.

    Attributes:
        psf_um: Standard deviation of the point-spread function in plane and along z, in um.
        photons: Detected photons of a voxel in the median vessel; fewer photons give more noise.
        detector_noise: Standard deviation of the read-out noise, in photons.
        attenuation_um: Depth at which the signal falls to 1/e, in um.
        haze: Fraction of the signal that comes from out-of-focus light.
        background: Signal outside vessels, as a fraction of the median vessel.
        speck_density: Number of bright specks (cells, debris) per 10^6 um^3.
        denoised: Standard deviation of the smoothing after detection, in voxels in plane; published stacks are denoised.
    """

    psf_um: tuple[float, float]
    photons: float
    detector_noise: float
    attenuation_um: float
    haze: float
    background: float
    speck_density: float
    denoised: float


def draw_optics(rng: np.random.Generator) -> TwoPhotonOptics:
    """Sample the parameters of a microscope and a preparation, in the ranges observed in real stacks."""
    return TwoPhotonOptics(
        psf_um=(rng.uniform(0.5, 1.1), rng.uniform(2.0, 4.5)),
        photons=rng.uniform(15.0, 90.0),
        detector_noise=rng.uniform(0.5, 2.0),
        attenuation_um=rng.uniform(150.0, 500.0),
        haze=rng.uniform(0.02, 0.12),
        background=rng.uniform(0.04, 0.2),
        speck_density=rng.uniform(0.0, 12.0),
        denoised=rng.uniform(0.5, 1.0),
    )


def draw_brightness(rng: np.random.Generator, graph: VesselGraph, spread: float) -> NDArray[np.float64]:
    """Sample the relative brightness of each branch; a child branch is similar to its parent.

    Args:
        rng: Random number generator.
        graph: Vessel network.
        spread: Standard deviation of the logarithm of the brightness of root branches.

    Returns:
        (branches,) float64, positive; 1 is the median vessel.
    """
    light = np.empty(len(graph.parent))
    for branch, parent in enumerate(graph.parent):
        own = rng.normal(0.0, spread if parent < 0 else 0.3 * spread)
        light[branch] = own if parent < 0 else light[parent] + own
    return np.exp(light)


def expose(
    rng: np.random.Generator,
    brightness: NDArray[np.float32],
    spacing_um: tuple[float, float, float],
    optics: TwoPhotonOptics,
) -> NDArray[np.uint16]:
    """Simulate the image: blur (stronger along z), haze, specks, attenuation with depth, photon and detector noise.

    Args:
        rng: Random number generator.
        brightness: (x, y, z) float32, relative brightness, 0 outside vessels; z increases with depth.
        spacing_um: Voxel size along x, y, z in um.
        optics: Parameters of the microscope and the tissue.

    Returns:
        (x, y, z) uint16 in [0, 4095], the range of a 12-bit detector.
    """
    size = np.asarray(spacing_um)
    sigma = np.array([optics.psf_um[0], optics.psf_um[0], optics.psf_um[1]]) / size
    texture = 1.0 + 0.25 * smooth_field(rng, brightness.shape, 4.0 / size)
    signal = brightness * texture + _specks(rng, brightness.shape, size, optics.speck_density)
    focused = ndimage.gaussian_filter(signal, sigma)
    haze = ndimage.gaussian_filter(signal, np.array([12.0, 12.0, 18.0]) / size)
    uneven = 1.0 + 0.3 * smooth_field(rng, brightness.shape, 60.0 / size)
    light = focused + optics.haze * haze * 4.0 + optics.background * uneven
    depth = np.arange(brightness.shape[2]) * size[2]
    light = np.maximum(light, 0.0) * np.exp(-depth / optics.attenuation_um)
    counts = rng.poisson(light * optics.photons) + rng.normal(0.0, optics.detector_noise, light.shape)
    smoothed = ndimage.gaussian_filter(counts, (optics.denoised, optics.denoised, 0.3 * optics.denoised))
    scale = 4095.0 / max(1e-6, float(np.percentile(smoothed, 99.95)))
    return np.clip(np.round(smoothed * scale), 0, 4095).astype(np.uint16)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], sigma: NDArray[np.float64]) -> NDArray[Any]:
    """Sample a smooth random field of unit variance; a very smooth field is computed on a coarser grid.

    Args:
        rng: Random number generator.
        shape: Number of voxels (x, y, z).
        sigma: (3,) float64, width of the correlation along x, y, z in voxels.
    """
    coarse = np.maximum(1, (sigma / 2).astype(int))
    small = tuple(int(np.ceil(n / c)) + 1 for n, c in zip(shape, coarse, strict=True))
    field = ndimage.gaussian_filter(rng.normal(size=small).astype(np.float32), sigma / coarse, mode="wrap")
    field /= field.std() + 1e-9
    if (coarse > 1).any():
        field = ndimage.zoom(field, coarse, order=1)[tuple(slice(n) for n in shape)]
    return field[tuple(slice(n) for n in shape)]


def _specks(rng: np.random.Generator, shape: tuple[int, ...], size: NDArray[np.float64], density: float) -> NDArray[np.float32]:
    """Return an (x, y, z) float32 image of blurred random specks; ``density`` is their number per 10^6 um^3."""
    image = np.zeros(shape, np.float32)
    count = rng.poisson(density * float(np.prod(np.array(shape) * size)) / 1e6)
    if count == 0:
        return image
    at = tuple(rng.integers(0, n, count) for n in shape)
    image[at] = rng.lognormal(0.3, 0.7, count).astype(np.float32)
    spread = np.array([1.6, 1.6, 1.6]) / size
    blob = ndimage.gaussian_filter(image, spread)
    return np.asarray(blob * (2 * np.pi) ** 1.5 * float(np.prod(np.maximum(spread, 0.4))), dtype=np.float32)
