"""What a click can mean on a vessel: trace a path, connect two ends, cut, remove a branch, grow from a point.

Each function gives the voxels that it is about, in a window of the volume; :class:`minivess.review.edits.Edits` applies them.
They work on windows around the clicks, so that a click costs the same in a large volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.filters import frangi
from skimage.graph import MCP_Geometric

from minivess.errors import InputError
from minivess.models.normalise import Scaling
from minivess.review.findings import MIGHT_BE
from minivess.review.graph import vessel_graph
from minivess.review.region import Box, slices_of

Point = tuple[int, int, int]
#: How far around two clicks a path may wander, in um.
_DETOUR_UM = 30.0
#: What is to be taken away has to be hit, give or take the width of a capillary.
_HIT_UM = 8.0
#: No vessel that a path draws is wider than this.
_WIDEST_UM = 25.0
#: Evidence below which a click is on nothing that could be followed.
_FAINTEST = 0.02
#: What a step through background costs, in steps through vessel.
_BACKGROUND_COST = 50.0


@dataclass(frozen=True, eq=False)
class Change:
    """Voxels that a prompt is about.

    Attributes:
        voxels: (x, y, z) bool, in a window of the volume.
        at: Where the window begins.
    """

    voxels: NDArray[np.bool_]
    at: Point


@dataclass(frozen=True, eq=False)
class Scene:
    """What is there when a person clicks.

    Attributes:
        mask: (x, y, z) bool, what is drawn now.
        probability: (x, y, z) what the model thinks, in [0, 1].
        image: (x, y, z) intensities; they show vessels that the model misses.
        scaling: How the model sees them.
        spacing_um: Voxel size along x, y, z.
    """

    mask: NDArray[np.bool_]
    probability: NDArray[np.floating[Any]]
    image: NDArray[Any]
    scaling: Scaling
    spacing_um: tuple[float, float, float]

    def evidence(self, window: tuple[slice, ...], low: Point) -> NDArray[np.float32]:
        """Say how much speaks for a vessel: the model's probability or the image's vesselness (Frangi et al. 1998), in [0, 1]."""
        lines = _vesselness(self.scaling.apply(self.image[window], at=low), self.spacing_um)
        return np.maximum(self.probability[window].astype(np.float32), lines)


def path(scene: Scene, start: Point, end: Point) -> Change:
    """Trace a vessel between two clicks: the cheapest way through probability and vesselness, as wide as the vessel is there.

    Raises:
        InputError: When a click lies outside the volume.
    """
    window, low = _window((start, end), scene.mask.shape, scene.spacing_um)
    evidence = scene.evidence(window, low)
    points, depth_um = _along_the_middle(evidence, _minus(start, low), _minus(end, low), scene.spacing_um)
    radius_um = ndimage.median_filter(depth_um[tuple(points.T)], size=9, mode="nearest")  # one wide spot is no vessel
    return Change(_tube(points, np.minimum(radius_um, _WIDEST_UM), evidence.shape, scene.spacing_um), low)


def connect(scene: Scene, start: Point, end: Point) -> Change:
    """Join two ends that are drawn: a path between the drawn voxels nearest to two clicks, as wide as the ends are.

    Raises:
        InputError: When nothing is drawn near a click, or it lies outside the volume.
    """
    ends = [_nearest(scene, point) for point in (start, end)]
    window, low = _window(ends, scene.mask.shape, scene.spacing_um)
    evidence = scene.evidence(window, low)
    points, _ = _along_the_middle(evidence, _minus(ends[0], low), _minus(ends[1], low), scene.spacing_um)
    wide = edt.edt(np.ascontiguousarray(scene.mask[window]), anisotropy=scene.spacing_um, black_border=False)
    first, last = (min(float(wide[_around(point, 2)].max()), _WIDEST_UM) for point in (points[0], points[-1]))
    return Change(_tube(points, np.linspace(first, last, len(points)), evidence.shape, scene.spacing_um), low)


def cut(scene: Scene, point: Point) -> Change:
    """Part a vessel at a click: a slice across it, thick enough that its halves no longer touch.

    Raises:
        InputError: When nothing is drawn near the click, or it lies outside the volume.
    """
    at, spacing_um = _nearest(scene, point, within_um=_HIT_UM), scene.spacing_um
    window, low = _window((at,), scene.mask.shape, spacing_um)
    inside = scene.mask[window]
    graph = vessel_graph(inside, spacing_um, longest_um=2 * _DETOUR_UM)
    owner = int(graph.owner[_minus(at, low)])
    points = graph.branches[owner - 1].points
    if len(points) < 2:  # a speck has no direction: it goes, and nothing that touches it
        return Change(graph.owner == owner, low)
    points_um = points * np.asarray(spacing_um)
    here = int(np.linalg.norm(points_um - np.asarray(_minus(at, low)) * spacing_um, axis=1).argmin())
    along = points_um[min(here + 3, len(points) - 1)] - points_um[max(here - 3, 0)]
    along /= max(float(np.linalg.norm(along)), 1e-9)
    offset_um = np.moveaxis(np.indices(inside.shape), 0, -1) * np.asarray(spacing_um) - points_um[here]
    thick_um = float(np.abs(along) @ np.asarray(spacing_um))  # a plane of voxels that 26-neighbours do not step over
    slices = cc3d.connected_components(inside & (np.abs(offset_um @ along) <= thick_um), connectivity=26)
    return Change(slices == slices[tuple(points[here])], low)


def remove_branch(scene: Scene, point: Point) -> Change:
    """Take away the branch at a click, up to where it meets others; a small piece of its own goes whole.

    Raises:
        InputError: When nothing is drawn near the click, or it lies outside the volume.
    """
    at, reach_um = _nearest(scene, point, within_um=_HIT_UM), 2 * _DETOUR_UM
    while True:
        window, low = _window((at,), scene.mask.shape, scene.spacing_um, reach_um=reach_um)
        pieces = cc3d.connected_components(scene.mask[window], connectivity=26)
        click = _minus(at, low)
        graph = vessel_graph(pieces == pieces[click], scene.spacing_um, longest_um=np.inf)
        owner = int(graph.owner[click])
        if not _leaves(graph.branches[owner - 1].points, pieces.shape, low, scene.mask.shape):
            return Change(graph.owner == owner, low)
        reach_um *= 2  # the branch goes on outside


def grow(scene: Scene, point: Point, box: Box, *, share: float = 0.5) -> Change:
    """Fill what hangs together with a click and is at least a share as probable as the click itself, inside a box.

    Raises:
        InputError: When the click lies outside the box, or the box outside the volume.
    """
    x0, x1, y0, y1, z0, z1 = box
    _check(point, scene.mask.shape)
    if not (x0 <= point[0] < x1 and y0 <= point[1] < y1 and z0 <= point[2] < z1):
        raise InputError(f"A click to grow from lies in the place, {box}. Got {tuple(point)}.")
    window = scene.probability[slices_of(box)]
    click = _minus(point, (x0, y0, z0))
    near = float(window[_around(np.asarray(click), 1)].max())  # a person does not hit the middle of a capillary
    pieces = cc3d.connected_components(window >= share * near, connectivity=26)
    hit = np.unique(pieces[_around(np.asarray(click), 1)])
    return Change(np.isin(pieces, hit[hit > 0]), (x0, y0, z0))


def _along_the_middle(
    evidence: NDArray[np.float32], start: Point, end: Point, spacing_um: tuple[float, float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the cheapest way, then keep to the middle of what hangs along it; also gives how deep inside each voxel lies.

    What is seen at the clicks is as good as any: a brighter vessel beside a faint one must not draw the path to it.
    """
    level = min(float(evidence[_around(np.asarray(click), 1)].max()) for click in (start, end))
    evidence = np.minimum(evidence / max(level, _FAINTEST), 1)
    rough = _cheapest(evidence, start, end, spacing_um)
    inside = evidence > max(MIGHT_BE, 0.5 * float(np.median(evidence[tuple(rough.T)])))
    depth_um = edt.edt(np.ascontiguousarray(inside), anisotropy=spacing_um, black_border=False)
    return _cheapest(evidence * (depth_um + min(spacing_um)), start, end, spacing_um), depth_um


def _cheapest(
    evidence: NDArray[np.float32], start: Point, end: Point, spacing_um: tuple[float, float, float]
) -> NDArray[np.int64]:
    cost = 1.0 / np.maximum(evidence, float(evidence.max()) / _BACKGROUND_COST)
    ways = MCP_Geometric(cost, fully_connected=True, sampling=spacing_um)
    ways.find_costs([start], [end])
    return np.asarray(ways.traceback(end))


def _vesselness(contrast: NDArray[np.float32], spacing_um: tuple[float, float, float]) -> NDArray[np.float32]:
    """Bright lines of capillaries' width, slice by slice since slices lie far apart; in [0, 1]."""
    sigmas = [r / spacing_um[0] for r in (1.5, 3.0, 6.0)]
    planes = [frangi(contrast[..., z], sigmas=sigmas, black_ridges=False) for z in range(contrast.shape[2])]
    lines = np.stack(planes, axis=-1)
    top = float(np.percentile(lines, 99))
    return np.clip(lines / top, 0, 1).astype(np.float32) if top > 0 else np.zeros(lines.shape, np.float32)


def _tube(
    points: NDArray[np.int64], radius_um: NDArray[np.float64], shape: tuple[int, ...], spacing_um: tuple[float, float, float]
) -> NDArray[np.bool_]:
    """Draw balls along a line; the line itself is drawn however thin they are."""
    drawn = np.zeros(shape, bool)
    spacing = np.asarray(spacing_um)
    for point, radius in zip(points, radius_um, strict=True):
        reach = np.ceil(radius / spacing).astype(int)
        low, high = np.maximum(point - reach, 0), np.minimum(point + reach + 1, shape)
        offsets = np.ogrid[tuple(slice(a - p, b - p) for a, b, p in zip(low, high, point, strict=True))]
        square = sum((o * s) ** 2 for o, s in zip(offsets, spacing, strict=True))
        ball = square < (0.999 * radius) ** 2  # at the radius itself lies background
        drawn[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= ball
    drawn[tuple(points.T)] = True
    return drawn


def _nearest(scene: Scene, point: Point, *, within_um: float = 15.0) -> Point:
    """Find the drawn voxel nearest to a click."""
    window, low = _window((point,), scene.mask.shape, scene.spacing_um, reach_um=within_um)
    drawn = np.argwhere(scene.mask[window])
    if drawn.size:
        spacing_um = np.asarray(scene.spacing_um)
        distance, index = cKDTree(drawn * spacing_um).query(np.asarray(_minus(point, low)) * spacing_um)
        if distance <= within_um:
            x, y, z = (int(v) for v in drawn[index] + low)
            return x, y, z
    raise InputError(f"Nothing is drawn within {within_um:g} um of {tuple(point)}. Click on a vessel that is drawn.")


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
        raise InputError(f"A click lies in the volume of {tuple(shape)} voxels (IJK, from 0). Got {tuple(point)}.")


def _leaves(points: NDArray[np.int64], window: tuple[int, ...], low: Point, shape: tuple[int, ...]) -> bool:
    """Tell whether a line reaches the border of a window where the volume goes on."""
    high = np.add(low, window)
    cut_low, cut_high = np.greater(low, 0), np.less(high, shape)
    return bool(((points <= 1) & cut_low).any() or ((points >= np.subtract(window, 2)) & cut_high).any())


def _around(point: NDArray[np.int64], reach: int) -> tuple[slice, ...]:
    return tuple(slice(max(0, int(p) - reach), int(p) + reach + 1) for p in point)


def _minus(point: Point, low: Point) -> Point:
    return point[0] - low[0], point[1] - low[1], point[2] - low[2]
