"""Features of an image encoder on disk, so that the next click near the last one does not wait for the encoder again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minivess.paths import atomic_file

_logger = logging.getLogger(__name__)
#: A full-size picture of SAM 3 takes 21 MB, one of LiteMedSAM 4 MB.
BUDGET_BYTES = 2 * 2**30


class FeatureCache:
    """A folder with one file a picture; the one that was not used for longest goes first."""

    def __init__(self, folder: Path, identity: str, budget_bytes: int = BUDGET_BYTES) -> None:
        """Use a folder; it is created with the first picture.

        Args:
            folder: Where the files are. They are derived from the images: keep it as private as those.
            identity: SHA-256 of the weights of the encoder.
            budget_bytes: Largest size of all files.
        """
        self.folder, self.identity, self.budget_bytes = folder, identity, budget_bytes

    def features(self, picture: torch.Tensor, encode: Callable[[], Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        """Return the features of a picture, by the encoder where they are not there yet.

        A folder that cannot be written costs time and nothing else.

        Args:
            picture: What the encoder gets.
            encode: Runs the encoder.
        """
        content = picture.detach().cpu().contiguous()
        digest = hashlib.sha256(f"{self.identity} {content.dtype} {tuple(content.shape)}".encode())
        digest.update(content.numpy().data)
        file = self.folder / f"{digest.hexdigest()}.safetensors"
        try:
            tensors = load_file(file)
            file.touch()  # used last
            return [tensors[str(number)].to(picture.device) for number in range(len(tensors))]
        except (OSError, SafetensorError, KeyError):
            encoded = list(encode())
        try:
            self._write(file, encoded)
        except (OSError, SafetensorError) as error:
            _logger.warning("Features are not cached in %s: %s", self.folder, error)
        return encoded

    def _write(self, file: Path, encoded: Sequence[torch.Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(sum(value.numel() * value.element_size() for value in encoded))
        with atomic_file(file) as temporary:
            save_file({str(number): value.detach().cpu().contiguous() for number, value in enumerate(encoded)}, temporary)

    def _make_room(self, needed: int) -> None:
        """Remove files until so many bytes fit; before they are written, so that a full disk recovers."""
        found = [(other, other.stat()) for other in self.folder.glob("*.safetensors")]
        size = needed + sum(stat.st_size for _, stat in found)
        for other, stat in sorted(found, key=lambda pair: pair[1].st_mtime_ns):
            if size <= self.budget_bytes:
                return
            other.unlink(missing_ok=True)
            size -= stat.st_size
