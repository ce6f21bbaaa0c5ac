"""Prompts on vessels: trace a path, connect two ends, cut, remove a branch, grow from a point.

Each function returns the voxels that it is about, in a window of the volume; :class:`minivess.review.edits.Edits` applies them.
They work on windows around the clicks, so that a click takes the same time in a large volume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from minivess.errors import InputError
from minivess.models.normalise import Scaling
from minivess.models.segmenter import Click, PromptKind
from minivess.review.skeleton_graph import skeleton_graph
from minivess.review.tracing import FAINTEST, draw_tube, neighbourhood, trace_middle, vesselness
from minivess.volume import Box

Point = tuple[int, int, int]
#: Margin of the window around the clicks, in um.
_DETOUR_UM = 30.0
#: Largest distance from a click to the vessel to cut or remove: the width of a capillary.
_HIT_UM = 8.0
#: Largest radius of a traced vessel.
_WIDEST_UM = 25.0


@dataclass(frozen=True, eq=False)
class MaskChange:
    """Voxels that a prompt is about.

    Attributes:
        voxels: (x, y, z) bool, in a window of the volume.
        start: First voxel (x, y, z) of the window.
    """

    voxels: NDArray[np.bool_]
    start: Point


#: Prompts, as a segmenter takes them, to the voxels of the object.
AskModel = Callable[[Mapping[PromptKind, Any]], MaskChange]


@dataclass(frozen=True, eq=False)
class PromptContext:
    """Mask, probability and image at the time of a click.

    Attributes:
        mask: (x, y, z) bool, the current mask.
        probability: (x, y, z) float in [0, 1], the model's prediction.
        image: (x, y, z) intensities; they show vessels that the model misses.
        scaling: How the network sees intensities.
        spacing_um: Voxel size along x, y, z.
        segment: Segments the object at a prompt by the model; None where it takes none.
        not_points: Clicks on what is not the object.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.floating[Any]]
    image: NDArray[Any]
    scaling: Scaling
    spacing_um: tuple[float, float, float]
    segment: AskModel | None = None
    not_points: Sequence[Point] = ()

    def evidence(self, window: tuple[slice, ...], low: Point) -> NDArray[np.float32]:
        """Compute the evidence for vessel in a window: the higher of probability and vesselness (Frangi et al. 1998).

        Args:
            window: Index of the window into the volume.
            low: Its first voxel (x, y, z).

        Returns:
            (x, y, z) float32 in [0, 1].
        """
        lines = vesselness(self.scaling.apply(self.image[window], at=low), self.spacing_um)
        return np.maximum(self.probability[window].astype(np.float32), lines)


def segment_object(context: PromptContext, points: Sequence[Point]) -> MaskChange:
    """Segment the object at clicks by the model.

    Args:
        context: The model, among others.
        points: Voxels (x, y, z) on the object.

    Raises:
        InputError: When the model takes no clicks, or a click lies outside the volume.
    """
    clicks = [Click(point) for point in points] + [Click(point, positive=False) for point in context.not_points]
    return _ask(context, {"point": clicks})


def segment_in_box(context: PromptContext, corner: Point, opposite: Point) -> MaskChange:
    """Segment the object inside a box by the model; corners in different slices enclose all slices between them.

    Args:
        context: The model, among others.
        corner: Voxel (x, y, z) at one corner of the box.
        opposite: Voxel at the opposite one; both are inside the box.

    Raises:
        InputError: When the model takes no boxes, or the box lies outside the volume or encloses nothing.
    """
    low, high = np.minimum(corner, opposite), np.maximum(corner, opposite) + 1
    return _ask(context, {"box": Box.from_corners(low, high)})


def path(context: PromptContext, start: Point, end: Point) -> MaskChange:
    """Trace a vessel between two clicks: the minimum-cost path through probability and vesselness, as wide as the vessel.

    Args:
        context: Mask, probability and image.
        start: First click (x, y, z).
        end: Second click.

    Raises:
        InputError: When a click lies outside the volume.
    """
    window, low = _window((start, end), context.mask.shape, context.spacing_um)
    evidence = context.evidence(window, low)
    points, depth_um = trace_middle(evidence, _minus(start, low), _minus(end, low), context.spacing_um)
    radius_um = ndimage.median_filter(depth_um[tuple(points.T)], size=9, mode="nearest")  # one wide spot is no vessel
    return MaskChange(draw_tube(points, np.minimum(radius_um, _WIDEST_UM), evidence.shape, context.spacing_um), low)


def connect(context: PromptContext, start: Point, end: Point) -> MaskChange:
    """Connect two ends of the mask: a path between the mask voxels nearest to two clicks, as wide as the ends.

    Args:
        context: Mask, probability and image.
        start: First click (x, y, z).
        end: Second click.

    Raises:
        InputError: When there is no mask near a click, or it is outside the volume.
    """
    ends = [nearest_mask_voxel(context, point) for point in (start, end)]
    window, low = _window(ends, context.mask.shape, context.spacing_um)
    evidence = context.evidence(window, low)
    points, _ = trace_middle(evidence, _minus(ends[0], low), _minus(ends[1], low), context.spacing_um)
    wide = edt.edt(np.ascontiguousarray(context.mask[window]), anisotropy=context.spacing_um, black_border=False)
    first, last = (min(float(wide[neighbourhood(point, 2)].max()), _WIDEST_UM) for point in (points[0], points[-1]))
    return MaskChange(draw_tube(points, np.linspace(first, last, len(points)), evidence.shape, context.spacing_um), low)


def cut(context: PromptContext, point: Point) -> MaskChange:
    """Cut a vessel at a click: a slice across it, thick enough that its halves no longer touch.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z).

    Raises:
        InputError: When there is no mask near the click, or it is outside the volume.
    """
    at, spacing_um = nearest_mask_voxel(context, point, within_um=_HIT_UM), context.spacing_um
    window, low = _window((at,), context.mask.shape, spacing_um)
    inside = context.mask[window]
    graph = skeleton_graph(inside, spacing_um, longest_um=2 * _DETOUR_UM)
    label = int(graph.branch_labels[_minus(at, low)])
    points = graph.branches[label - 1].points
    if len(points) < 2:  # a speck has no direction: it goes, and nothing that touches it
        return MaskChange(graph.branch_labels == label, low)
    points_um = points * np.asarray(spacing_um)
    here = int(np.linalg.norm(points_um - np.asarray(_minus(at, low)) * spacing_um, axis=1).argmin())
    along = points_um[min(here + 3, len(points) - 1)] - points_um[max(here - 3, 0)]
    along /= max(float(np.linalg.norm(along)), 1e-9)
    offset_um = np.moveaxis(np.indices(inside.shape), 0, -1) * np.asarray(spacing_um) - points_um[here]
    thick_um = float(np.abs(along) @ np.asarray(spacing_um))  # a plane of voxels that 26-neighbours do not step over
    slices = cc3d.connected_components(inside & (np.abs(offset_um @ along) <= thick_um), connectivity=26)
    return MaskChange(slices == slices[tuple(points[here])], low)


def remove_branch(context: PromptContext, point: Point) -> MaskChange:
    """Remove the branch at a click, up to where it meets others; an isolated component is removed completely.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z).

    Raises:
        InputError: When there is no mask near the click, or it is outside the volume.
    """
    at, reach_um = nearest_mask_voxel(context, point, within_um=_HIT_UM), 2 * _DETOUR_UM
    while True:
        window, low = _window((at,), context.mask.shape, context.spacing_um, reach_um=reach_um)
        pieces = cc3d.connected_components(context.mask[window], connectivity=26)
        click = _minus(at, low)
        graph = skeleton_graph(pieces == pieces[click], context.spacing_um, longest_um=np.inf)
        label = int(graph.branch_labels[click])
        if not _leaves(graph.branches[label - 1].points, pieces.shape, low, context.mask.shape):
            return MaskChange(graph.branch_labels == label, low)
        reach_um *= 2  # the branch goes on outside


def grow(context: PromptContext, point: Point, box: Box, *, share: float = 0.5) -> MaskChange:
    """Fill what is connected to a click and at least a share as probable as the click, inside a box.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z).
        box: The box, in voxels.
        share: Lowest probability, relative to that at the click.

    Raises:
        InputError: When the click is outside the box or the volume, or the model sees no vessel there.
    """
    _check(point, context.mask.shape)
    if not box.contains(point):
        raise InputError(f"A click to grow from must be inside the region, {tuple(box)}. Got {tuple(point)}.")
    window = context.probability[box.slices]
    click = _minus(point, box.low)
    near = float(window[neighbourhood(np.asarray(click), 1)].max())  # a person does not hit the middle of a capillary
    if near < FAINTEST:
        raise InputError("The model sees no vessel here: there is nothing to fill. Draw it with the pen, or trace a path.")
    components = cc3d.connected_components(window >= share * near, connectivity=26)
    hit = np.unique(components[neighbourhood(np.asarray(click), 1)])
    return MaskChange(np.isin(components, hit[hit > 0]), box.low)


def nearest_mask_voxel(context: PromptContext, point: Point, *, within_um: float = 15.0) -> Point:
    """Return the mask voxel nearest to a click.

    Args:
        context: Mask, probability and image.
        point: The click (x, y, z).
        within_um: How far it may be.

    Raises:
        InputError: When there is none.
    """
    window, low = _window((point,), context.mask.shape, context.spacing_um, reach_um=within_um)
    drawn = np.argwhere(context.mask[window])
    if drawn.size:
        spacing_um = np.asarray(context.spacing_um)
        distance, index = cKDTree(drawn * spacing_um).query(np.asarray(_minus(point, low)) * spacing_um)
        if distance <= within_um:
            x, y, z = (int(v) for v in drawn[index] + low)
            return x, y, z
    raise InputError(f"There is no vessel in the mask within {within_um:g} um of {tuple(point)}. Click on a vessel of the mask.")


def _window(
    points: tuple[Point, ...] | list[Point],
    shape: tuple[int, ...],
    spacing_um: tuple[float, float, float],
    *,
    reach_um: float = _DETOUR_UM,
) -> tuple[tuple[slice, ...], Point]:
    for point in points:
        _check(point, shape)
    reach = np.ceil(reach_um / np.asarray(spacing_um)).astype(int)
    low = np.maximum(np.min(points, axis=0) - reach, 0)
    high = np.minimum(np.max(points, axis=0) + reach + 1, shape)
    x, y, z = (int(v) for v in low)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), (x, y, z)


def _check(point: Point, shape: tuple[int, ...]) -> None:
    if len(point) != 3 or not all(0 <= p < n for p, n in zip(point, shape, strict=True)):
        raise InputError(f"A click must be inside the volume of {tuple(shape)} voxels (IJK, from 0). Got {tuple(point)}.")


def _ask(context: PromptContext, prompts: Mapping[PromptKind, Any]) -> MaskChange:
    if context.segment is None:
        raise InputError("The model of this server takes no prompts. Use another tool, or serve with --prompt-bundle.")
    return context.segment(prompts)


def _leaves(points: NDArray[np.int64], window: tuple[int, ...], low: Point, shape: tuple[int, ...]) -> bool:
    """Return whether a line reaches the border of a window where the volume continues."""
    high = np.add(low, window)
    cut_low, cut_high = np.greater(low, 0), np.less(high, shape)
    return bool(((points <= 1) & cut_low).any() or ((points >= np.subtract(window, 2)) & cut_high).any())


def _minus(point: Point, low: Point) -> Point:
    return point[0] - low[0], point[1] - low[1], point[2] - low[2]
