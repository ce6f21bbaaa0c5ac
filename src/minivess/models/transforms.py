"""Pre- and postprocessing as MONAI dictionary transforms, for configurations that stock ``monai.bundle`` runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from minivess.datasets.pairs import load_item
from minivess.errors import InputError
from minivess.models.normalise import fit_scaling
from minivess.models.resample import resample, resampled_affine, resampled_shape
from minivess.models.small_pieces import suppress_small_pieces
from minivess.models.threshold import choose_threshold
from minivess.volume import Volume, write_volume
from minivess.volume.canonical import CanonicalView
from minivess.volume.io import VOLUME_SUFFIXES, stem_of, suffix_of


class LoadVolumed(MapTransform):
    """Read volumes by :func:`minivess.volume.read_volume` into (1, x, y, z) float32 MetaTensors.

    They are in the canonical order of :mod:`minivess.volume.canonical`. An item
    may carry ``spacing`` (x, y, z) and ``unit`` for files that do not state them.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its image, (1, x, y, z) float32."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume = CanonicalView.of(load_item(d, key)).volume
            d[key] = as_tensor(volume, volume.array.astype(np.float32), str(d[key]))
        return d


class NormaliseIntensityd(MapTransform):
    """Normalise intensities by the rule of a modality, :mod:`minivess.models.normalise`."""

    def __init__(self, keys: KeysCollection, modality: str, smooth_noise: bool = True, allow_missing_keys: bool = False) -> None:
        """Store the settings.

        Args:
            keys: Images, (1, x, y, z) each, any real dtype.
            modality: Key of :data:`minivess.models.MODALITIES`.
            smooth_noise: Whether noisy slices are smoothed first, as prediction does. Trainings leave the noise in: a network
                that has seen it holds better where smoothing leaves some.
            allow_missing_keys: Whether an item may lack a key.
        """
        super().__init__(keys, allow_missing_keys)
        self.modality = modality
        self.smooth_noise = smooth_noise

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each image by its normalised image, (1, x, y, z) float32."""
        d = dict(data)
        for key in self.key_iterator(d):
            array = np.asarray(d[key][0])
            scaling = fit_scaling(array, self.modality)
            scaled = torch.from_numpy((scaling if self.smooth_noise else scaling.without_smoothing()).apply(array))[None]
            d[key] = MetaTensor(scaled, meta=d[key].meta) if isinstance(d[key], MetaTensor) else scaled
        return d


class ToSpacingd(MapTransform):
    """Interpolate images linearly, and labels to the nearest value, to the voxel size of a network."""

    def __init__(self, keys: KeysCollection, spacing_um: Sequence[float], label_keys: Sequence[str] = ()) -> None:
        """Store the settings.

        Args:
            keys: MetaTensors (1, x, y, z) float32.
            spacing_um: Voxel size (x, y, z) in micrometres.
            label_keys: Those of the keys that are labels.
        """
        super().__init__(keys)
        self.spacing_um, self.label_keys = tuple(spacing_um), frozenset(label_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each tensor and its affine; the affine of before is kept under ``own_affine``, the shape as ``own_shape``."""
        d = dict(data)
        for key in self.key_iterator(d):
            array = np.asarray(d[key][0], np.float32)
            meta, affine = d[key].meta, np.asarray(d[key].meta["affine"])
            volume = Volume(array, affine, meta["unit"])
            shape = resampled_shape(array.shape, volume.spacing_um, self.spacing_um)
            new = torch.from_numpy(resampled_affine(affine, array.shape, shape))
            tensor = torch.from_numpy(resample(array, shape, nearest=key in self.label_keys))[None]
            kept = {"own_affine": meta["affine"], "own_shape": tuple(array.shape)}
            d[key] = MetaTensor(tensor, meta={**meta, **kept, "affine": new})
        return d


class BackToGridd(MapTransform):
    """Interpolate results of :class:`ToSpacingd` back to the grid of the input."""

    def __init__(self, keys: KeysCollection, spacing_um: Sequence[float], source_key: str = "image") -> None:
        """Store the settings.

        Args:
            keys: Results, (1, x, y, z) float each.
            spacing_um: The voxel size that they have; their source states the one that they get.
            source_key: Key of the image that was interpolated.
        """
        super().__init__(keys)
        self.spacing_um, self.source_key = tuple(spacing_um), source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each result, and the affine of the source by its own."""
        d = dict(data)
        meta = d[self.source_key].meta
        for key in self.key_iterator(d):
            back = resample(d[key][0].float().cpu().numpy(), meta["own_shape"])
            d[key] = torch.from_numpy(back)[None].to(d[key].device)
        meta["affine"] = meta["own_affine"]
        return d


class AsMaskd(MapTransform):
    """Apply the threshold of :func:`minivess.models.threshold.choose_threshold` to probabilities."""

    def __init__(self, keys: KeysCollection, threshold: float | str, allow_missing_keys: bool = False) -> None:
        """Store the settings.

        Args:
            keys: Probabilities, (1, x, y, z) float in [0, 1] each.
            threshold: A number in (0, 1), or ``"expected_dice"``.
            allow_missing_keys: Whether an item may lack a key.
        """
        super().__init__(keys, allow_missing_keys)
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each probability by its mask, (1, x, y, z) float32 of 0 and 1."""
        d = dict(data)
        for key in self.key_iterator(d):
            probability = d[key][0].cpu().numpy()
            d[key] = (d[key] >= choose_threshold(probability, self.threshold)).to(torch.float32)
        return d


class SuppressSmallPiecesd(MapTransform):
    """Lower the probability of small loose pieces by :func:`minivess.models.small_pieces.suppress_small_pieces`."""

    def __init__(self, keys: KeysCollection, min_mass: float, allow_missing_keys: bool = False) -> None:
        """Store the settings.

        Args:
            keys: Probabilities, (1, x, y, z) float in [0, 1] each.
            min_mass: Smallest sum of the probabilities of a piece that stays.
            allow_missing_keys: Whether an item may lack a key.
        """
        super().__init__(keys, allow_missing_keys)
        self.min_mass = min_mass

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each probability, (1, x, y, z) float32."""
        d = dict(data)
        for key in self.key_iterator(d):
            lowered = suppress_small_pieces(d[key][0].float().cpu().numpy().copy(), self.min_mass)
            tensor = torch.from_numpy(lowered)[None].to(d[key].device)
            d[key] = MetaTensor(tensor, meta=d[key].meta) if isinstance(d[key], MetaTensor) else tensor
        return d


class SaveVolumed(MapTransform):
    """Write results as ``<output_dir>/<image name>_<key>.nii.gz`` on the grid of the input."""

    def __init__(self, keys: KeysCollection, output_dir: str, source_key: str = "image") -> None:
        """Store the settings.

        Args:
            keys: Results, (1, x, y, z) each; ``pred`` is written as uint8.
            output_dir: Folder of the files.
            source_key: Key of the image whose grid and file name are used.
        """
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write each result; the data are returned unchanged."""
        d = dict(data)
        meta = d[self.source_key].meta
        name = stem_of(Path(str(meta["filename_or_obj"])))
        for key in self.key_iterator(d):
            array = np.asarray(d[key][0].cpu())
            volume = Volume(array.astype(np.uint8) if key == "pred" else array, np.asarray(meta["affine"]), meta["unit"])
            write_volume(volume, self.output_dir / f"{name}_{key}.nii.gz")
        return d


def image_items(folder: str) -> list[dict[str, str]]:
    """List the volumes of a folder as ``{"image": path}``.

    Raises:
        InputError: When the folder does not exist or contains no volume.
    """
    volumes = sorted(str(f) for f in Path(folder).iterdir() if suffix_of(f)) if Path(folder).is_dir() else []
    if not volumes:
        raise InputError(f"No volumes in {folder}. Allowed: {', '.join(VOLUME_SUFFIXES)}.")
    return [{"image": path} for path in volumes]


def as_tensor(volume: Volume, array: np.ndarray[Any, Any], source: str) -> MetaTensor:
    """Return an array on a volume's grid as a MetaTensor with affine, unit and file name.

    Args:
        volume: The grid.
        array: (x, y, z), any dtype of torch.
        source: Path of the file, for the names of results.

    Returns:
        (1, x, y, z), of the dtype of the array.
    """
    meta = {"affine": torch.from_numpy(volume.affine), "unit": volume.unit, "filename_or_obj": source}
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], meta=meta)
