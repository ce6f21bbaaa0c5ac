"""What training adds to the steps of prediction: masks, and patches around vessels at many calibres."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from numpy.typing import NDArray
from torch.nn import functional

from minivess.metrics import centreline_of
from minivess.models.transforms import as_tensor, load_item

_MAX_CENTRES = 20_000


class LoadMaskd(MapTransform):
    """Read masks (0 and one other value) into (1, x, y, z) float32 MetaTensors of 0 and 1."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its mask."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume = load_item(d, key)
            d[key] = as_tensor(volume, (volume.array > 0).astype(np.float32), str(d[key]))
        return d


class VesselCentresd(MapTransform):
    """Remember where centre-lines run, so that patches can be drawn by vessel length: a capillary counts like a vein."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add ``<key>_centres``, an (n, 3) int array of voxels on centre-lines."""
        d = dict(data)
        for key in self.key_iterator(d):
            centres = np.argwhere(centreline_of(np.asarray(d[key][0]) > 0))
            d[f"{key}_centres"] = centres[:: max(1, len(centres) // _MAX_CENTRES)]
        return d


class VesselPatchesd(MapTransform, Randomizable):
    """Cut random patches, most of them around a vessel, each at a random in-plane scale.

    Only x and y are scaled: slices of a stack are few and far apart, so a patch keeps them as they are. A scale below 1
    shows large vessels as small ones, which is how a network learns calibres that its stacks lack.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        patch_size: tuple[int, int, int],
        num_samples: int = 2,
        vessel_share: float = 0.7,
        scale_range: tuple[float, float] = (0.5, 1.4),
    ) -> None:
        """Choose the patches.

        Args:
            keys: Images and label, (1, x, y, z) each.
            label_key: Which of them is the mask; it stays 0 and 1.
            patch_size: Voxels along x, y, z.
            num_samples: Patches an item.
            vessel_share: Share of patches centred on a vessel; the others are anywhere.
            scale_range: Range of in-plane magnification, drawn evenly in its logarithm.
        """
        super().__init__(keys)
        self.label_key = label_key
        self.patch_size = tuple(patch_size)
        self.num_samples = num_samples
        self.vessel_share = vessel_share
        self.scale_range = tuple(scale_range)

    def randomize(self, centres: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], float]:
        """Draw a centre and a scale."""
        low, high = np.log(self.scale_range)
        scale = float(np.exp(self.R.uniform(low, high)))
        if len(centres) and self.R.uniform() < self.vessel_share:
            return centres[self.R.randint(len(centres))] + self.R.randint(-4, 5, 3) * (1, 1, 0), scale
        return np.array([self.R.randint(n) for n in shape]), scale

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Give ``num_samples`` dictionaries of patches."""
        shape = tuple(data[self.label_key].shape[1:])
        patches = []
        for _ in range(self.num_samples):
            centre, scale = self.randomize(data[f"{self.label_key}_centres"], shape)
            size = [max(2, round(p / s)) for p, s in zip(self.patch_size, (scale, scale, 1.0), strict=True)]
            patches.append({key: self._cut(data[key], centre, size, mask=key == self.label_key) for key in self.keys})
        return patches

    def _cut(self, image: torch.Tensor, centre: NDArray[np.int64], size: list[int], *, mask: bool) -> torch.Tensor:
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        index = [_mirrored(int(c) - s // 2, s, n) for c, s, n in zip(centre, size, plain.shape[1:], strict=True)]
        window = plain[:, index[0]][:, :, index[1]][:, :, :, index[2]][None]
        shrinks = size[0] > self.patch_size[0]
        mode = "area" if shrinks else "trilinear"
        if tuple(size) != self.patch_size:
            window = functional.interpolate(window, self.patch_size, mode=mode)
        return (window[0] > 0.5).float() if mask else window[0]


def _mirrored(start: int, length: int, n: int) -> torch.Tensor:
    """Index a window that may stick out of an axis: outside, the inside is mirrored."""
    if n == 1:
        return torch.zeros(length, dtype=torch.long)
    period = 2 * (n - 1)
    index = torch.arange(start, start + length) % period
    return torch.where(index < n, index, period - index)
