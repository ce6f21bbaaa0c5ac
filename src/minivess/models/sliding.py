"""Run a network over a volume of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray

from minivess.models.normalise import Scaling
from minivess.models.segmenter import Progress

#: Voxels that a band is made to hold, its margins included. A band is never narrower than three windows along x, so in a
#: volume wider than that allows, the bound is three windows times the plane; a voxel of a band takes about 40 bytes.
BAND_VOXELS = 16_000_000


def sliding_probability(
    network: torch.nn.Module,
    array: NDArray[Any],
    scaling: Scaling,
    inferer: SlidingWindowInferer,
    *,
    device: torch.device,
    at: tuple[int, int, int] = (0, 0, 0),
    progress: Progress | None = None,
    band_voxels: int = BAND_VOXELS,
) -> NDArray[np.float32]:
    """Predict band by band along x; within a band, MONAI's sliding window does the work.

    A volume that fits in one band gives exactly what the inferer gives. Larger ones hold in memory the array as it was
    read, the float32 result, and one band.

    Args:
        network: Gives one channel of logits.
        array: (x, y, z) intensities, any real dtype.
        scaling: How intensities become the network's input.
        inferer: Window size, overlap and blending.
        device: Where the network is.
        at: Where in its volume the array begins, if it is a box cut out of one.
        progress: Told about the share done after each band.
        band_voxels: Voxels of one band.

    Returns:
        (x, y, z) float32 probability in [0, 1].
    """
    x, y, z = at
    probability = np.empty(array.shape, np.float32)
    margin = int(inferer.roi_size[0])
    bands = list(_bands(array.shape[0], int(np.prod(array.shape[1:])), margin, band_voxels))
    for done, (start, stop) in enumerate(bands, start=1):
        first, last = max(0, start - margin), min(array.shape[0], stop + margin)
        window = torch.from_numpy(scaling.apply(array[first:last], at=(x + first, y, z)))[None, None].to(device)
        with torch.inference_mode():
            result = torch.sigmoid(inferer(window, network))[0, 0]
        probability[start:stop] = result[start - first : stop - first].cpu().numpy()
        if progress is not None:
            progress(done / len(bands))
    return probability


def _bands(length: int, plane: int, margin: int, band_voxels: int) -> Iterator[tuple[int, int]]:
    width = length if length * plane <= band_voxels else max(margin, band_voxels // plane - 2 * margin)
    for start in range(0, length, width):
        yield start, min(start + width, length)
