"""Training samples of the ranker from answered regions, computed with each answer and kept in one file an answer."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from minivess.paths import atomic_file
from minivess.review.blocks import FEATURE_NAMES, BlockFeatures, sum_blocks
from minivess.review.error_candidates import MIN_COMPONENT_UM3
from minivess.review.error_probability import TOLERANCE_UM
from minivess.review.ranker import BlockSamples
from minivess.store import QueueItem
from minivess.volume import Box

_logger = logging.getLogger(__name__)

#: So many samples of other images are enough: with each answer to any image the fit would take longer.
MOST_OF_OTHERS = 20_000


def samples_from_answer(
    blocks: BlockFeatures,
    box: Box,
    shown: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    spacing_um: tuple[float, float, float],
) -> BlockSamples:
    """Compute the errors that an annotator corrected in a region, block by block.

    Args:
        blocks: Blocks of the whole volume.
        box: The region, in voxels.
        shown: (x, y, z) bool, the mask inside the box that was shown.
        accepted: (x, y, z) bool, the mask inside the box that was accepted.
        spacing_um: Voxel size along x, y, z.
    """
    edge = np.array(blocks.block_shape)
    low, high = np.array(box.low) // edge, -(-np.array(box.high) // edge)
    start, stop = low * edge, np.minimum(high * edge, np.array(box.low) + shown.shape)
    window = np.zeros(stop - start, np.float64)
    window[box.relative_to(start).slices] = _errors(shown, accepted, spacing_um)
    errors = sum_blocks(window, blocks.block_shape).ravel()
    grid = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    index = np.ravel_multi_index(grid, blocks.grid).ravel()
    zeros = np.zeros(len(index), np.int64)
    return BlockSamples(blocks.features[index], errors, zeros, zeros)


def _errors(shown: NDArray[np.bool_], accepted: NDArray[np.bool_], spacing_um: tuple[float, float, float]) -> NDArray[np.float64]:
    """Distribute each significant error over its voxels, so that its sum is 1."""
    far = [
        edt.edt(np.ascontiguousarray(~other), anisotropy=spacing_um, black_border=False) > TOLERANCE_UM
        for other in (shown, accepted)
    ]
    wrong = (accepted & far[0]) | (shown & far[1])
    components = cc3d.connected_components(wrong, connectivity=26)
    size = np.bincount(components.ravel()).astype(np.float64)
    weight = np.where(size * np.prod(spacing_um) >= MIN_COMPONENT_UM3, 1 / np.maximum(size, 1), 0)
    weight[0] = 0
    return np.asarray(weight[components])


def _split(items: Iterable[QueueItem], image_id: str) -> tuple[list[QueueItem], list[QueueItem]]:
    """Return the items of an image, and those of others."""
    found = list(items)
    return [item for item in found if item.image_id == image_id], [item for item in found if item.image_id != image_id]


def _number(item: QueueItem) -> tuple[int, str]:
    return item.answer.number if item.answer else 0, item.id


class SampleFolder:
    """A folder with the samples of each answer. It can be lost: later answers train the ranker again."""

    def __init__(self, folder: Path) -> None:
        """Use a folder; it is created with the first answer."""
        self.folder = folder

    def write(self, item: QueueItem, samples: BlockSamples) -> None:
        """Write the samples of an answer; a failure is logged, since the answer itself is in the store.

        Args:
            item: The answered item.
            samples: Its samples.
        """
        try:
            with atomic_file(self._path(item)) as temporary, temporary.open("wb") as stream:
                np.savez(stream, features=samples.features, errors=samples.errors, case=np.array(item.image_id))
        except OSError as error:
            _logger.warning("the training samples of an answer could not be written: %s", error.strerror)

    def read(self, image_id: str, answered: Iterable[QueueItem]) -> BlockSamples | None:
        """Read the samples of all answers to the image, and of the newest ones to others.

        Args:
            image_id: The image to rank; others count as other volumes.
            answered: The items that are answered now; samples of withdrawn answers are ignored.

        Returns:
            The samples; None when there are none.
        """
        by_image: defaultdict[str, list[tuple[NDArray[np.float32], NDArray[np.float64]]]] = defaultdict(list)
        own, others = (sorted(items, key=_number, reverse=True) for items in _split(answered, image_id))
        left = MOST_OF_OTHERS
        for item in (*own, *others):
            path = self._path(item)
            if not path.is_file() or (item.image_id != image_id and left <= 0):
                continue
            with np.load(path, allow_pickle=False) as content:
                if content["features"].shape[1] == len(FEATURE_NAMES):
                    by_image[item.image_id].append((content["features"], content["errors"]))
                    left -= len(content["errors"]) if item.image_id != image_id else 0
        if not by_image:
            return None
        volumes = {image: _join(by_image[image][::-1]) for image in sorted(by_image)}  # the oldest first
        return BlockSamples.concatenate(volumes.pop(image_id, None), list(volumes.values()))

    def _path(self, item: QueueItem) -> Path:
        return self.folder / f"{item.id.replace(':', '@')}.npz"


def _join(answers: list[tuple[NDArray[np.float32], NDArray[np.float64]]]) -> BlockSamples:
    count = [len(errors) for _, errors in answers]
    return BlockSamples(
        np.concatenate([features for features, _ in answers]),
        np.concatenate([errors for _, errors in answers]),
        np.repeat(np.arange(len(answers)), count),
        np.zeros(sum(count), np.int64),
    )
