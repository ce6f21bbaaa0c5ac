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

from minivess.errors import BundleError, WeightsError
from minivess.models.normalise import Scaling
from minivess.models.segmenter import Progress


def sliding_probability(
    network: torch.nn.Module,
    array: NDArray[Any],
    scaling: Scaling | None,
    inferer: SlidingWindowInferer,
    *,
    device: torch.device,
    at: tuple[int, int, int] = (0, 0, 0),
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Predict slab by slab along the longest axis; within a slab, one window thick, MONAI's sliding window is used.

    Slabs are placed where the inferer's windows would be, and are blended with its weights along that axis, so each window is
    predicted once. In memory are the array as it was read, the float32 result, and one slab. The blend is that of the
    inferer, except for ``mode="gaussian"`` between two slabs: MONAI raises the smallest weights of a window, here they stay.

    Args:
        network: Returns one channel of logits.
        array: (x, y, z) intensities, any real dtype.
        scaling: How intensities become the network's input; None for an array that was scaled already.
        inferer: Window size, overlap and blending.
        device: Device of the network.
        at: First voxel (x, y, z) of the array in its volume, when it is a box of one.
        progress: Called with the finished share before each call of the network; an exception raised in it cancels the work.

    Returns:
        (x, y, z) float32 probability in [0, 1].

    Raises:
        BundleError: When the network does not take one input channel, or does not return one channel of the window's shape.
        WeightsError: When it returns NaN or infinity.
    """
    axis = int(np.argmax(array.shape))
    length = array.shape[axis]
    thickness = min(int(inferer.roi_size[axis]), length)
    step = max(1, int(thickness * (1 - _for_axis(inferer.overlap, axis))))
    slabs = [s for (s,) in dense_patch_slices((length,), (thickness,), (step,))]
    weight = compute_importance_map((thickness,), inferer.mode, _for_axis(inferer.sigma_scale, axis))
    logits, weights = torch.zeros(array.shape), torch.zeros(length)
    predictor = _predictor(network, progress, calls=len(slabs) * _calls(array.shape, inferer, axis))
    for slab in slabs:
        box = tuple(slab if a == axis else slice(None) for a in range(3))
        scaled = array[box] if scaling is None else scaling.apply_part(array, box, at=at)
        window = torch.from_numpy(scaled)[None, None].to(device)
        with torch.inference_mode():
            logits[box] += _broadcast(weight, axis) * inferer(window, predictor)[0, 0].float().cpu()
        weights[slab] += weight
    if not bool(torch.isfinite(logits).all()):
        raise WeightsError("The network returned NaN or infinity: its weights are not usable. Train it again, or roll back.")
    if progress is not None:
        progress(1.0)
    return logits.div_(_broadcast(weights, axis)).sigmoid_().numpy()


def _predictor(network: torch.nn.Module, progress: Progress | None, *, calls: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that reports progress, runs the network and checks its channels."""
    done = itertools.count()

    def predict(window: torch.Tensor) -> torch.Tensor:
        if progress is not None:
            progress(min(1.0, next(done) / calls))
        return _logits(network, window)

    return predict


def _logits(network: torch.nn.Module, window: torch.Tensor) -> torch.Tensor:
    """Run the network on (batch, 1, x, y, z) windows. Metadata can be wrong, and another channel is not vessel."""
    try:
        output = network(window)
    except RuntimeError as error:
        channels = _input_channels(network)
        if channels in (None, 1) or isinstance(error, torch.OutOfMemoryError):
            raise
        raise BundleError(
            f"The network of the bundle takes {channels} input channels. Allowed: 1, the normalised image. "
            "Give network_def in_channels: 1 and train it."
        ) from error
    if not isinstance(output, torch.Tensor) or output.shape != window.shape:
        got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise BundleError(
            f"The network of the bundle returned {got} for windows of shape {tuple(window.shape)} (batch, channel, x, y, z). "
            "Allowed: the same shape, one channel, the logit of vessel. Give network_def out_channels: 1 and train it."
        )
    return output


def _input_channels(network: torch.nn.Module) -> int | None:
    """Return how many channels the first convolution takes; None when the network has none."""
    return next((int(m.in_channels) for m in network.modules() if isinstance(m, torch.nn.Conv3d)), None)


def _calls(shape: tuple[int, ...], inferer: SlidingWindowInferer, axis: int) -> int:
    """Count the calls of the network for one slab, one window thick along an axis."""
    windows = 1
    for a in range(3):
        if a != axis:
            window = int(inferer.roi_size[a])
            step = max(1, int(window * (1 - _for_axis(inferer.overlap, a))))
            windows *= 1 + max(0, -(-(shape[a] - window) // step))
    return -(-windows // int(inferer.sw_batch_size))


def _broadcast(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Reshape values so that they broadcast along one of three axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(3)])


def _for_axis(value: Any, axis: int) -> float:
    """Return the inferer's setting for one axis: one number for all, or one each."""
    return float(value[axis] if isinstance(value, (list, tuple)) else value)
