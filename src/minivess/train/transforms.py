"""MONAI transforms of training: labels, and patches around vessels of all calibres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import edt
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform, Transform
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from minivess.datasets import UNREVIEWED, load_pair, load_reviewed
from minivess.metrics import centreline_from_mask
from minivess.metrics.masks import fill_cavities
from minivess.models.normalise import LocalContrast
from minivess.models.transforms import as_tensor
from minivess.volume.canonical import CanonicalView

_MAX_CENTRES = 20_000


class LoadPaird(Transform):
    """Read ``image`` and ``label`` by :func:`minivess.datasets.load_pair` into (1, x, y, z) float32 MetaTensors.

    They are in the canonical order of :mod:`minivess.volume.canonical`. If the
    item names a mask of ``reviewed`` voxels, the label is UNREVIEWED (-1) outside it.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace both paths by the image and its label: 0 background, 1 vessel, -1 not reviewed."""
        image, label = load_pair(data)
        d = dict(data)
        target = np.where(load_reviewed(data, image), label.array.astype(np.float32), np.float32(UNREVIEWED))
        for key, volume in (("image", image), ("label", image.with_array(target))):
            canonical = CanonicalView.of(volume).volume
            d[key] = as_tensor(canonical, canonical.array.astype(np.float32), str(data[key]))
        return d


class VesselCentresd(MapTransform):
    """Find the voxels of centre-lines, so that patches are drawn by vessel length: a capillary counts like a vein."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add two arrays for each label.

        ``<key>_centres`` is (n, 4) float64: voxel (x, y, z) of a centre-line, and its in-plane radius in voxels.
        ``<key>_reviewed`` is (n, 3) int64: reviewed voxels (x, y, z); empty when all were reviewed.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            mask = fill_cavities(np.asarray(d[key][0]) > 0)
            centres = np.argwhere(centreline_from_mask(mask))
            centres = centres[:: max(1, len(centres) // _MAX_CENTRES)]
            # The large spacing along z makes it the distance within the slice.
            radius = edt.edt(mask, anisotropy=(1.0, 1.0, 1e6), parallel=1)[tuple(centres.T)]
            d[f"{key}_centres"] = np.column_stack([centres, radius])
            known = np.asarray(d[key][0]) >= 0
            reviewed = np.zeros((0, 3), np.int64) if known.all() else np.argwhere(known)
            d[f"{key}_reviewed"] = reviewed[:: max(1, len(reviewed) // _MAX_CENTRES)]
        return d


class VesselPatchesd(MapTransform, Randomizable):
    """Crop random patches, most of them around a vessel, each at a random in-plane scale.

    Only x and y are scaled: slices of a stack are few and far apart, so a patch keeps them. A scale below 1 shows large
    vessels as small ones, so that a network learns calibres that its stacks lack. No vessel is shrunk below ``min_radius``,
    where its label would have more detail than its image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        patch_size: tuple[int, int, int],
        num_samples: int = 2,
        vessel_share: float = 0.6,
        scale_range: tuple[float, float] = (0.25, 1.2),
        min_radius: float = 1.5,
    ) -> None:
        """Store the settings.

        Args:
            keys: Images and label, (1, x, y, z) each.
            label_key: Key of the label; it keeps the values 0, 1 and -1.
            patch_size: Voxels along x, y, z.
            num_samples: Patches for each item.
            vessel_share: Share of patches centred on a vessel; the others are anywhere.
            scale_range: Range of the in-plane magnification, uniform in its logarithm.
            min_radius: Smallest in-plane radius, in voxels of the patch, that a vessel is shrunk to.
        """
        super().__init__(keys)
        self.label_key = label_key
        self.patch_size = tuple(patch_size)
        self.num_samples = num_samples
        self.vessel_share = vessel_share
        self.scale_range = tuple(scale_range)
        self.min_radius = min_radius

    def randomize(
        self, centres: NDArray[np.float64], reviewed: NDArray[np.int64], shape: tuple[int, ...]
    ) -> tuple[NDArray[np.int64], float]:
        """Draw a centre and a scale.

        Args:
            centres: (n, 4) voxel (x, y, z) of a centre-line, and its in-plane radius in voxels.
            reviewed: (n, 3) reviewed voxels (x, y, z); empty when all were reviewed.
            shape: Number of voxels (x, y, z) of the volume.

        Returns:
            Voxel (x, y, z) int64 of the patch's centre, and the in-plane magnification.
        """
        anywhere = np.array([self.R.randint(n) for n in shape])
        if len(reviewed):
            anywhere = reviewed[self.R.randint(len(reviewed))]
        low, high = self.scale_range
        if not len(centres):
            return anywhere, float(self.R.uniform(low, high))
        chosen = centres[self.R.randint(len(centres))]
        smallest = min(max(low, self.min_radius / max(chosen[3], 1.0)), high)
        scale = float(np.exp(self.R.uniform(np.log(smallest), np.log(high))))
        if self.R.uniform() >= self.vessel_share:
            return anywhere, scale
        offset = np.array([self.R.randint(-n // 4, n // 4 + 1) for n in self.patch_size])
        return chosen[:3].astype(np.int64) + np.round(offset / (scale, scale, 1.0)).astype(np.int64), scale

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Return ``num_samples`` dictionaries: patches, (1, x, y, z) of ``patch_size``, and whether the case is ``rehearsed``."""
        shape = tuple(data[self.label_key].shape[1:])
        patches = []
        for _ in range(self.num_samples):
            centre, scale = self.randomize(data[f"{self.label_key}_centres"], data[f"{self.label_key}_reviewed"], shape)
            size = [max(2, round(p / s)) for p, s in zip(self.patch_size, (scale, scale, 1.0), strict=True)]
            patch = {key: self._cut(data[key], centre, size, mask=key == self.label_key) for key in self.keys}
            patches.append({**patch, "rehearsed": bool(data.get("rehearsed", False))})
        return patches

    def _cut(self, image: torch.Tensor, centre: NDArray[np.int64], size: list[int], *, mask: bool) -> torch.Tensor:
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        index = [_mirrored(int(c) - s // 2, s, n) for c, s, n in zip(centre, size, plain.shape[1:], strict=True)]
        window = plain[:, index[0]][:, :, index[1]][:, :, :, index[2]][None]
        if not mask:
            return self._resized(window)[0]
        vessel, unknown = (self._resized(part.float()) > 0.5 for part in (window > 0, window < 0))
        return (vessel.float() + UNREVIEWED * unknown.float())[0]

    def _resized(self, window: torch.Tensor) -> torch.Tensor:
        if tuple(window.shape[2:]) == self.patch_size:
            return window
        shrinks = window.shape[2] > self.patch_size[0]
        return functional.interpolate(window, self.patch_size, mode="area" if shrinks else "trilinear")


class LeaveOutUnreviewedd(MapTransform):
    """Set unreviewed voxels of masks to background, so that no score counts them."""

    def __init__(self, keys: KeysCollection, label_key: str) -> None:
        """Store the settings.

        Args:
            keys: Masks, (1, x, y, z) each, the label last.
            label_key: Key of the label: 0 background, 1 vessel, -1 not reviewed.
        """
        super().__init__(keys)
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set unreviewed voxels of each mask to 0."""
        d = dict(data)
        reviewed = d[self.label_key] >= 0
        for key in self.key_iterator(d):
            d[key] = d[key] * reviewed.to(d[key].device)
        return d


def _mirrored(start: int, length: int, n: int) -> torch.Tensor:
    """Return the indices of a window that may extend past the ends of an axis of n voxels; there they are mirrored."""
    if n == 1:
        return torch.zeros(length, dtype=torch.long)
    period = 2 * (n - 1)
    index = torch.arange(start, start + length) % period
    return torch.where(index < n, index, period - index)


class RandHalod(RandomizableTransform, MapTransform):
    """Add out-of-focus glow and leakage clouds, which are bright but not vessels, to images of local contrast.

    Light is additive before the logarithm: the contrast is converted to light, the glow is added, and the contrast is computed
    again over the brighter background.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.6, gain: float = LocalContrast.gain) -> None:
        """Store the settings.

        Args:
            keys: Images of local contrast, (1, x, y, z) float each.
            prob: Probability of changing an item.
            gain: Gain of the normalisation.
        """
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)
        self.gain = gain

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the images of an item with probability ``prob``; the result is (1, x, y, z) float32."""
        d = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(d):
                light = np.exp(np.clip(np.asarray(d[key][0]) / self.gain, -1.5, 6.0))
                glow = self._glow(light) + self._clouds(light)
                background = 1.0 + np.percentile(glow, 20, axis=(0, 1), keepdims=True)
                contrast = self.gain * (np.log(light + glow) - np.log(background))
                d[key] = torch.from_numpy(contrast.astype(np.float32))[None]
        return d

    def _glow(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.R.uniform() > 0.7:
            return np.zeros_like(light)
        width = self.R.uniform(3, 12)
        blurred = ndimage.gaussian_filter(np.maximum(light - 1, 0), (width, width, self.R.uniform(0, 1.5)), mode="nearest")
        return np.asarray(self.R.uniform(0.05, 0.5) * blurred, dtype=np.float32)

    def _clouds(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.R.uniform() > 0.6:
            return np.zeros_like(light)
        clouds = np.zeros_like(light)
        bright = np.argwhere(light >= np.quantile(light, 0.97))  # leaks are at vessels, dirt is anywhere
        at_vessel = self.R.uniform() < 0.5
        for _ in range(self.R.randint(1, 4)):
            voxel = bright[self.R.randint(len(bright))] if at_vessel else [self.R.randint(n) for n in light.shape]
            clouds[tuple(voxel)] = self.R.uniform(0.3, 1.0)
        width = self.R.uniform(4, 18)
        clouds = ndimage.gaussian_filter(clouds, (width, width, self.R.uniform(0.5, 2.0)), mode="nearest")
        return np.asarray(clouds / max(float(clouds.max()), 1e-9) * np.exp(self.R.uniform(-0.5, 2.3)), dtype=np.float32)
