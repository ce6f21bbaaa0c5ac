"""Normalise intensities so that one network can be used for images of different microscopes and scanners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from minivess.errors import InputError

#: Percentiles of large volumes are computed from about this many voxels, on a regular grid: the same ones each time.
_SAMPLED_VOXELS = 4_000_000
_TRUNCATE = 4.0


@dataclass(frozen=True)
class Percentiles:
    """Linear scaling between two percentiles, for images whose vessels are about equally bright.

    Attributes:
        low: Percentile that maps to 0.
        high: Percentile that maps to 1; brighter voxels are clipped at 1.5.
        ignore_zero: Exclude exact zeros, for volumes whose background was set to zero.
    """

    low: float
    high: float
    ignore_zero: bool = False


@dataclass(frozen=True)
class HounsfieldWindow:
    """Fixed window of a CT, whose numbers mean the same in every scanner: percentiles would go from air to bone.

    Attributes:
        low_hu: Maps to 0: below soft tissue.
        high_hu: Maps to 1: most vessels with contrast agent; denser voxels are clipped at 1.5, so that bone is the brightest.
    """

    low_hu: float
    high_hu: float


@dataclass(frozen=True)
class LocalContrast:
    """Logarithm of the intensity over the local background, for microscopy, where brightness differs by decades.

    The background is a low percentile of the neighbourhood in each slice. The result is contrast: the same vessel has about
    the same value near the surface and deep, in the centre and in a dim corner, at 8 and at 16 bits. Noisy slices are smoothed
    first, each as much as its noise asks for: the network would take noise for vessels.

    Attributes:
        block: In-plane edge of the blocks that are averaged first, in voxels.
        window: Edge of the neighbourhood, in blocks.
        percentile: Of the block means; vessels fill less than half of a neighbourhood.
        floor: Added to 8-bit counts before the logarithm, so that noise in dark regions is not amplified.
        gain: Multiplies the logarithm, so that most vessels are between 1 and 4.
        clean: Slices whose noise is below this share of their contrast are not smoothed.
        smoothing: Width of the smoothing in voxels, for noise as large as the contrast; it falls with the root of the noise.
        most_smoothing: Largest width.
    """

    block: int = 8
    window: int = 17
    percentile: float = 20.0
    floor: float = 5.0
    gain: float = 1.8
    clean: float = 0.015
    smoothing: float = 3.5
    most_smoothing: float = 1.5


MODALITIES: dict[str, Percentiles | HounsfieldWindow | LocalContrast] = {
    "two_photon": LocalContrast(),
    "light_sheet": LocalContrast(),
    "mr_angiography": Percentiles(1.0, 99.9, ignore_zero=True),
    "ct_angiography": HounsfieldWindow(-100.0, 400.0),
}


@dataclass(frozen=True, eq=False)
class Scaling:
    """A modality's rule with the numbers of one volume, so that each part of the volume is scaled in the same way.

    Attributes:
        offset: Subtracted from the intensity first.
        gain: Multiplies the difference.
        background: (x / block, y / block, z) float32, local background of the logarithm; None for linear scaling.
        rule: How the background was measured.
        smoothing: (z) float32, width of the in-plane smoothing of each slice in voxels, before all else; None for none.
    """

    offset: float
    gain: float
    background: NDArray[np.float32] | None = None
    rule: LocalContrast = LocalContrast()
    smoothing: NDArray[np.float32] | None = None

    def without_smoothing(self) -> Scaling:
        """Return the same scaling, which leaves noise in."""
        return replace(self, smoothing=None)

    def apply_part(
        self, array: NDArray[Any], part: tuple[slice, ...], *, at: tuple[int, int, int] = (0, 0, 0)
    ) -> NDArray[np.float32]:
        """Scale a part of an array; what lies beside it is smoothed with it, so that no seam is seen.

        Args:
            array: (x, y, z) intensities, any real dtype.
            part: The part, as slices of the array.
            at: First voxel (x, y, z) of the array in the volume.

        Returns:
            (x, y, z) float32 of the part, as :meth:`apply` gives it.
        """
        margin = 0 if self.smoothing is None or not self.smoothing.any() else _margin(float(self.smoothing.max()))
        first, last = zip(
            *((s.start or 0, n if s.stop is None else s.stop) for s, n in zip(part, array.shape, strict=True)), strict=True
        )
        low = [max(0, first[0] - margin), max(0, first[1] - margin), first[2]]
        high = [min(array.shape[0], last[0] + margin), min(array.shape[1], last[1] + margin), last[2]]
        grown = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        x, y, z = (o + a for o, a in zip(at, low, strict=True))
        scaled = self.apply(array[grown], at=(x, y, z))
        return scaled[tuple(slice(a - b, c - b) for a, b, c in zip(first, low, last, strict=True))]

    def apply(self, array: NDArray[Any], *, at: tuple[int, int, int] = (0, 0, 0)) -> NDArray[np.float32]:
        """Scale a volume, or a box cut out of it.

        Args:
            array: (x, y, z) intensities, any real dtype.
            at: First voxel (x, y, z) of the box in the volume.

        Returns:
            (x, y, z) float32. Local contrast: background about 0, most vessels between 1 and 4, without fixed bounds.
            Percentiles and Hounsfield units: [0, 1.5].
        """
        scaled = array.astype(np.float32)
        if self.smoothing is not None:
            _smooth(scaled, self.smoothing[at[2] : at[2] + array.shape[2]])
        scaled -= np.float32(self.offset)
        scaled *= np.float32(self.gain)
        if self.background is None:
            return np.clip(scaled, 0.0, 1.5, out=scaled)
        _log_counts(scaled, self.rule.floor)
        x, y = (
            (np.arange(first, first + n) + 0.5) / self.rule.block - 0.5 for first, n in zip(at[:2], array.shape[:2], strict=True)
        )
        background = self.background[:, :, at[2] : at[2] + array.shape[2]]
        scaled -= _interpolate(_interpolate(background, x, axis=0), y, axis=1)
        scaled *= np.float32(self.rule.gain)
        return scaled


def fit_scaling(array: NDArray[Any], modality: str, *, check: Callable[[], object] = lambda: None) -> Scaling:
    """Measure the intensities of a volume.

    Args:
        array: (x, y, z) intensities, any real dtype.
        modality: Key of :data:`MODALITIES`.
        check: Called again and again during the work; an exception raised in it ends the work.

    Returns:
        The scaling of this volume. A constant volume is scaled to a constant.

    Raises:
        InputError: When the modality is unknown, or a CT is not in Hounsfield units.
    """
    if modality not in MODALITIES:
        raise InputError(f"Unknown modality {modality!r}. Allowed: {', '.join(MODALITIES)}.")
    rule = MODALITIES[modality]
    if isinstance(rule, LocalContrast):
        return _fit_local_contrast(array, rule, check)
    values = _sampled(array)
    if isinstance(rule, HounsfieldWindow):
        _check_hounsfield_units(values, rule)
        return Scaling(rule.low_hu, 1.0 / (rule.high_hu - rule.low_hu))
    if rule.ignore_zero and values.any():
        values = values[values != 0]
    low, high = (float(v) for v in np.percentile(values, (rule.low, rule.high)))
    if high <= low:  # nearly all voxels are equal
        low, high = float(array.min()), float(array.max())
    return Scaling(low, 1.0 / (high - low) if high > low else 1.0)


def _check_hounsfield_units(values: NDArray[Any], rule: HounsfieldWindow) -> None:
    """Refuse a CT without its rescale intercept, where water is 1024 and not 0, and one that was scaled to [0, 1]."""
    tissue = values[values != 0]
    if tissue.size == 0 or tissue.min() == tissue.max():
        return
    middle, bright = float(np.median(tissue)), float(np.percentile(tissue, 99.9))
    clipped = rule.low_hu + 1.5 * (rule.high_hu - rule.low_hu)
    if (middle > clipped and tissue.min() >= 0) or abs(bright) <= 10.0:  # bone has marrow and edges below 0
        raise InputError(
            f"The CT is not in Hounsfield units: half of its voxels lie above {middle:.4g}, the brightest at {bright:.4g}."
            " Expected: water at 0, vessels with contrast agent at 150 to 600. Convert it again with its rescale slope and"
            " intercept (dcm2niix and 3D Slicer do)."
        )


def _fit_local_contrast(array: NDArray[Any], rule: LocalContrast, check: Callable[[], object]) -> Scaling:
    offset, high = (float(v) for v in np.percentile(_sampled(array), (0.1, 99.99)))  # subtract the detector's pedestal
    # The floor is in counts, so every volume is stretched to 8-bit counts. The dtype must not matter: training reads all
    # volumes as floats, and prediction must give a network the same values as training.
    span = high - offset
    gain = 255.0 / span if span > 0 else 1.0
    blocks = _block_means(array, Scaling(offset, gain), rule, check)
    check()
    widths = np.zeros(array.shape[2], np.float32)
    for z in range(array.shape[2]):
        check()
        widths[z] = _smoothing_width(array[:, :, z], rule)
    size = (rule.window, rule.window, 1)
    background = ndimage.percentile_filter(blocks, rule.percentile, size=size, mode="nearest")
    smoothing = (rule.window / 4, rule.window / 4, 0.0)
    smooth = ndimage.gaussian_filter(background, smoothing, mode="nearest").astype(np.float32)
    return Scaling(offset, gain, smooth, rule, widths)


def _smoothing_width(image: NDArray[Any], rule: LocalContrast) -> float:
    """Return how much a slice is to be smoothed, from its noise (Immerkaer 1996) as a share of its contrast."""
    if min(image.shape) < 3:
        return 0.0
    values = image.astype(np.float32)
    low, high = np.percentile(_sampled(values), (20.0, 99.5))
    # Second differences along both axes: of structures they are small, of noise of width 1 their mean size is 6 / sqrt(pi / 2).
    noise = np.abs(np.diff(np.diff(values, 2, axis=0), 2, axis=1)).mean(dtype=np.float64) * np.sqrt(np.pi / 2) / 6
    share = noise / (high - low) if high > low else 0.0
    return float(min(rule.most_smoothing, rule.smoothing * np.sqrt(share))) if share >= rule.clean else 0.0


def _margin(width: float) -> int:
    """Return how many voxels beside a place a smoothing of this width takes in."""
    return int(_TRUNCATE * width + 0.5)


def _smooth(array: NDArray[np.float32], widths: NDArray[np.float32]) -> None:
    """Smooth the slices of an array, (x, y, z), in place."""
    for z in np.flatnonzero(widths):
        array[:, :, z] = ndimage.gaussian_filter(array[:, :, z], float(widths[z]), mode="nearest", truncate=_TRUNCATE)


def _block_means(array: NDArray[Any], scaling: Scaling, rule: LocalContrast, check: Callable[[], object]) -> NDArray[np.float32]:
    """Average the logarithm over in-plane blocks, one row of blocks at a time to bound memory."""
    x, y, _ = array.shape
    columns = np.arange(0, y, rule.block)
    widths = np.diff([*columns, y])[:, None]
    rows = []
    for start in range(0, x, rule.block):
        check()
        part = (array[start : start + rule.block].astype(np.float32) - scaling.offset) * scaling.gain
        log = _log_counts(part, rule.floor).mean(axis=0)
        rows.append(np.add.reduceat(log, columns, axis=0) / widths)
    return np.stack(rows).astype(np.float32)


def _log_counts(counts: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Compute the logarithm of counts plus a floor, in place."""
    np.maximum(counts, 0.0, out=counts)
    counts += np.float32(floor)
    return np.log(counts, out=counts)


def _interpolate(array: NDArray[np.float32], positions: NDArray[np.float64], *, axis: int) -> NDArray[np.float32]:
    clipped = np.clip(positions, 0, array.shape[axis] - 1)
    low = np.floor(clipped).astype(np.intp)
    high = np.minimum(low + 1, array.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    share = (clipped - low).astype(np.float32).reshape(shape)
    return np.asarray(array.take(low, axis=axis) * (1 - share) + array.take(high, axis=axis) * share)


def _sampled(array: NDArray[Any]) -> NDArray[Any]:
    stride = max(1, round((array.size / _SAMPLED_VOXELS) ** 0.5))
    sampled = array[::stride, ::stride].ravel()
    return sampled.astype(np.uint8) if sampled.dtype == bool else sampled
