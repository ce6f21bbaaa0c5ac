"""A MONAI bundle with weights as a Segmenter: one network, run window by window."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import SlidingWindowInferer
from numpy.typing import NDArray

from minivess.errors import InputError
from minivess.models.clicks import box_window, check_box, check_clicks, click_windows, slice_axis
from minivess.models.entropy import binary_entropy
from minivess.models.feature_cache import FeatureCache
from minivess.models.normalise import Scaling, fit_scaling
from minivess.models.resample import resample, resampled_shape
from minivess.models.segmenter import Capabilities, Click, ModelRef, Prediction, Progress, PromptKind, check_roi
from minivess.models.sliding import sliding_probability
from minivess.models.small_pieces import check_min_mass, suppress_small_pieces
from minivess.models.threshold import check_threshold, choose_threshold
from minivess.models.weights import load_weights
from minivess.volume import Box, Volume
from minivess.volume.canonical import CanonicalView

#: Of the object at a prompt, whose probabilities are too few for an expected Dice.
_OBJECT_THRESHOLD = 0.5
#: What is seen around a box that is predicted alone, on each side: a share of the network's window, but at least so many voxels.
_CONTEXT, _LEAST_CONTEXT = 0.25, 4


class BundleSegmenter:
    """A bundle with weights, ready to predict."""

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: SlidingWindowInferer,
        *,
        capabilities: Capabilities,
        model: ModelRef,
        threshold: float | str,
        device: torch.device,
        min_piece_mass: float = 0.0,
    ) -> None:
        """Store a network and its settings; :func:`load_bundle` builds them from a bundle.

        Args:
            network: Takes (batch, 1, x, y, z) normalised images, returns logits of vessel of the same shape.
            inferer: Window size, overlap and blending.
            capabilities: Accepted prompts, classes and modality.
            model: The model that predictions name.
            threshold: A number in (0, 1), or ``"expected_dice"``.
            device: Where to compute; the network is moved there.
            min_piece_mass: Smallest sum of the probabilities of a piece that stays; 0 for none.

        Raises:
            BundleError: When the threshold or the mass is no such value.
        """
        self._network = network.to(device).eval()
        self._inferer = inferer
        self._capabilities = capabilities
        self._model = model
        check_threshold(threshold)  # now, not after the first prediction
        self._threshold = threshold
        self._min_piece_mass = check_min_mass(min_piece_mass)
        self._device = device
        self._features: Path | None = None
        self._measured: tuple[weakref.ref[NDArray[Any]] | None, Scaling | None] = (None, None)

    @property
    def capabilities(self) -> Capabilities:
        """The prompts that it accepts, its classes and its modality."""
        return self._capabilities

    @property
    def model(self) -> ModelRef:
        """The model that its predictions name."""
        return self._model

    def with_weights(self, file: Path, model: ModelRef) -> BundleSegmenter:
        """Return a segmenter with other weights of the same network; frozen parameters, such as a base of adapters, are shared.

        Args:
            file: A safetensors file.
            model: The model that its predictions name.

        Raises:
            WeightsError: When the weights are missing, damaged or made for another network.
        """
        beside: list[torch.nn.Parameter] = getattr(self._network, "frozen_beside", list)()
        frozen = {id(value): value for value in [*self._network.parameters(), *beside] if not value.requires_grad}
        network = copy.deepcopy(self._network, frozen)
        load_weights(network, file)
        other = BundleSegmenter(
            network,
            self._inferer,
            capabilities=self._capabilities,
            model=model,
            threshold=self._threshold,
            min_piece_mass=self._min_piece_mass,
            device=self._device,
        )
        if self._features is not None:
            other.cache_features(self._features)
        return other

    def cache_features(self, folder: Path) -> None:
        """Keep what an image encoder computes for prompts in a folder, for the next prompt near the last one.

        Args:
            folder: As private as the images; no effect for networks without such an encoder.
        """
        self._features = folder
        if hasattr(self._network, "feature_cache"):
            network: Any = self._network
            shared = getattr(network, "encoder_identity", str)()  # of networks whose prompts do without the trained weights
            network.feature_cache = FeatureCache(folder, shared or self._model.weights_sha256)

    def predict(
        self,
        volume: Volume,
        prompts: Mapping[PromptKind, Any] | None = None,
        roi: Sequence[int] | None = None,
        progress: Progress | None = None,
    ) -> Prediction:
        """Segment a volume, or only a box of it. The network sees it in the canonical order, whatever that of the file is.

        Args:
            volume: The image, in its own unit and orientation.
            prompts: Only kinds that :attr:`capabilities` names: ``point``, a list of clicks, or ``box``.
            roi: Box in voxels, end excluded: x0 x1 y0 y1 z0 z1. Outside it, probability and uncertainty are 0.
            progress: Called with the finished share of the work, in [0, 1].

        Raises:
            InputError: When a prompt is not accepted, or the box is empty or outside the volume.
            BundleError: When the network does not have one input and one output channel, whatever its metadata state.
        """
        unknown = set(prompts or {}) - self._capabilities.prompts
        if unknown:
            allowed = ", ".join(sorted(self._capabilities.prompts))
            advice = f"Allowed: {allowed}." if allowed else f"{self._model.bundle} takes no prompts: leave them out."
            raise InputError(f"The prompts {', '.join(sorted(unknown))} are not accepted. {advice}")
        report = progress or (lambda _: None)
        view = CanonicalView.of(volume)
        scaling = self._scaling(view, report)
        if prompts and prompts.get("point"):
            check_clicks(prompts["point"], volume.shape)
            clicks = [Click(view.voxel(click.voxel), click.positive) for click in prompts["point"]]
            probability = self._at_clicks(view.volume, scaling, clicks)
            report(1.0)
            return self._prediction(view, probability, _OBJECT_THRESHOLD)
        if prompts and prompts.get("box"):
            check_box(prompts["box"], volume.shape)
            probability = self._at_box(view.volume, scaling, view.box(prompts["box"]), report)
            report(1.0)
            return self._prediction(view, probability, _OBJECT_THRESHOLD)
        shape = view.volume.shape
        box = Box.from_corners((0, 0, 0), shape) if roi is None else view.box(check_roi(roi, volume.shape))
        inside = self._in_box(view.volume, scaling, box, progress)
        suppress_small_pieces(inside, self._min_piece_mass, cut_faces=_cut_faces(box, shape))
        if roi is None:
            probability = inside
        else:
            probability = np.zeros(shape, np.float32)
            probability[box.slices] = inside
        return self._prediction(view, probability, choose_threshold(inside, self._threshold))

    def _in_box(self, volume: Volume, scaling: Scaling, box: Box, progress: Progress | None) -> NDArray[np.float32]:
        """Predict the probability (x, y, z) in a box, at the voxel size of the network where it wants one.

        The network also sees what lies around the box: at the edge of an image it is less sure.
        """
        wanted = self._capabilities.spacing_um
        factors = np.asarray(wanted or volume.spacing_um) / np.asarray(volume.spacing_um)
        margin = np.maximum(np.asarray(self._inferer.roi_size) * _CONTEXT * factors, _LEAST_CONTEXT)
        around = box.grown(np.ceil(margin).astype(int), volume.shape)
        array, inside = volume.array[around.slices], box.relative_to(around.low).slices
        if wanted is None:
            found = sliding_probability(
                self._network, array, scaling, self._inferer, device=self._device, at=around.low, progress=progress
            )
            return np.ascontiguousarray(found[inside])
        shape = resampled_shape(array.shape, volume.spacing_um, wanted)
        fine = resample(scaling.apply(array, at=around.low), shape)
        found = sliding_probability(self._network, fine, None, self._inferer, device=self._device, progress=progress)
        return np.ascontiguousarray(resample(found, array.shape)[inside])

    def _at_clicks(self, volume: Volume, scaling: Scaling, clicks: Sequence[Click]) -> NDArray[np.float32]:
        """Predict the probability (x, y, z) of the object at clicks; 0 outside the windows around them."""
        wanted = self._capabilities.spacing_um or volume.spacing_um
        factors = np.asarray(volume.spacing_um) / np.asarray(wanted)
        probability = np.zeros(volume.shape, np.float32)
        for box, inside in click_windows(clicks, volume.shape, np.asarray(self._inferer.roi_size) / factors):
            array = scaling.apply(volume.array[box.slices], at=box.low)
            shape = resampled_shape(array.shape, volume.spacing_um, wanted)
            voxels = np.array([np.subtract(click.voxel, box.low) for click in inside])
            points = np.clip(((voxels + 0.5) * factors).astype(int), 0, np.subtract(shape, 1))
            found = resample(self._click_probability(resample(array, shape), points, inside), array.shape)
            np.maximum(probability[box.slices], found, out=probability[box.slices])
        return probability

    def _click_probability(
        self, array: NDArray[np.float32], points: NDArray[np.integer], clicks: Sequence[Click]
    ) -> NDArray[np.float32]:
        """Run the network on one window, normalised (x, y, z), with clicks at points (clicks, 3)."""
        window = torch.from_numpy(array)[None, None].to(self._device)
        labels = torch.tensor([int(click.positive) for click in clicks], device=self._device)
        network: Any = self._network  # its capabilities name points
        with torch.inference_mode():
            logits = network.click_logits(window, torch.from_numpy(points).to(self._device), labels)
        return np.asarray(logits.float().sigmoid()[0, 0].cpu().numpy())

    def _at_box(self, volume: Volume, scaling: Scaling, box: Box, report: Progress) -> NDArray[np.float32]:
        """Predict the probability (x, y, z) of the object inside a box; 0 outside it. A box network sees slices, in voxels."""
        window = box_window(box, volume.shape, self._inferer.roi_size)
        across, inner = slice_axis(box), box.relative_to(window.low)
        array = torch.from_numpy(scaling.apply(volume.array[window.slices], at=window.low))[None, None]
        low, high = (_moved_last(corner, across) for corner in (inner.low, inner.high))
        network: Any = self._network  # its capabilities name boxes
        with torch.inference_mode():
            logits = network.box_logits(array.movedim(across + 2, -1).to(self._device), low, high, report)
            logits = logits.movedim(-1, across + 2)
        probability = np.zeros(volume.shape, np.float32)
        probability[box.slices] = logits[0, 0].float().sigmoid().cpu().numpy()[inner.slices]
        return probability

    def _prediction(self, view: CanonicalView, canonical: NDArray[np.float32], threshold: float) -> Prediction:
        """Bring a probability in the canonical order back to the order of the file."""
        volume, probability = view.source, view.back(canonical)
        return Prediction(
            probability=volume.with_array(probability),
            uncertainty=volume.with_array(binary_entropy(probability)),
            model=self._model,
            threshold=threshold,
        )

    def _scaling(self, view: CanonicalView, report: Progress) -> Scaling:
        """Measure the intensities of a volume; kept for the next click on the same array."""
        last, scaling = self._measured
        if scaling is None or last is None or last() is not view.source.array:
            scaling = fit_scaling(view.volume.array, self._capabilities.modality, check=lambda: report(0.0))
            self._measured = (weakref.ref(view.source.array), scaling)
        return scaling


def _moved_last(voxel: tuple[int, int, int], axis: int) -> list[int]:
    """Return a voxel in the order of axes in which one was moved to the end."""
    return [value for at, value in enumerate(voxel) if at != axis] + [voxel[axis]]


def _cut_faces(box: Box, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Return the faces of a box that lie inside a volume, as (axis, 0 or -1)."""
    low = [(axis, 0) for axis in range(3) if box.low[axis] > 0]
    return low + [(axis, -1) for axis in range(3) if box.high[axis] < shape[axis]]
