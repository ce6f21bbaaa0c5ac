"""Run a network over a volume of any size in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray

from minivess.models.normalise import Scaling
from minivess.models.segmenter import Progress


def sliding_probability(
    network: torch.nn.Module,
    array: NDArray[Any],
    scaling: Scaling,
    inferer: SlidingWindowInferer,
    *,
    device: torch.device,
    at: tuple[int, int, int] = (0, 0, 0),
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Predict slab by slab along the longest axis; within a slab, one window thick, MONAI's sliding window does the work.

    Slabs stand where the inferer's windows would, and are blended by its weights along that axis, so each window is
    predicted once. In memory are the array as it was read, the float32 result, and one slab. The blend is the inferer's
    own, but for ``mode="gaussian"`` between two slabs: there MONAI lifts the smallest weights of a window, here they stay.

    Args:
        network: Gives one channel of logits.
        array: (x, y, z) intensities, any real dtype.
        scaling: How intensities become the network's input.
        inferer: Window size, overlap and blending.
        device: Where the network is.
        at: Where in its volume the array begins, if it is a box cut out of one.
        progress: Told about the share done before each call of the network; an exception raised in it stops all.

    Returns:
        (x, y, z) float32 probability in [0, 1].
    """
    axis = int(np.argmax(array.shape))
    length = array.shape[axis]
    thickness = min(int(inferer.roi_size[axis]), length)
    step = max(1, int(thickness * (1 - _along(inferer.overlap, axis))))
    slabs = [s for (s,) in dense_patch_slices((length,), (thickness,), (step,))]
    weight = compute_importance_map((thickness,), inferer.mode, _along(inferer.sigma_scale, axis))
    logits, weights = torch.zeros(array.shape), torch.zeros(length)
    calls = len(slabs) * _calls(array.shape, inferer, axis)
    predictor = network if progress is None else _telling(network, progress, calls)
    for slab in slabs:
        box = tuple(slab if a == axis else slice(None) for a in range(3))
        x, y, z = (o + (slab.start if a == axis else 0) for a, o in enumerate(at))
        window = torch.from_numpy(scaling.apply(array[box], at=(x, y, z)))[None, None].to(device)
        with torch.inference_mode():
            logits[box] += _spread(weight, axis) * inferer(window, predictor)[0, 0].float().cpu()
        weights[slab] += weight
    if progress is not None:
        progress(1.0)
    return logits.div_(_spread(weights, axis)).sigmoid_().numpy()


def _telling(network: torch.nn.Module, progress: Progress, calls: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Tell the share done before each call."""
    done = itertools.count()

    def call(window: torch.Tensor) -> torch.Tensor:
        progress(min(1.0, next(done) / calls))
        return network(window)

    return call


def _calls(shape: tuple[int, ...], inferer: SlidingWindowInferer, axis: int) -> int:
    """Count the calls of the network for one slab, one window thick along an axis."""
    windows = 1
    for a in range(3):
        if a != axis:
            window = int(inferer.roi_size[a])
            step = max(1, int(window * (1 - _along(inferer.overlap, a))))
            windows *= 1 + max(0, -(-(shape[a] - window) // step))
    return -(-windows // int(inferer.sw_batch_size))


def _spread(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Lay values along one of three axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(3)])


def _along(value: Any, axis: int) -> float:
    """Take what the inferer holds for one axis: one number for all, or one each."""
    return float(value[axis] if isinstance(value, (list, tuple)) else value)
