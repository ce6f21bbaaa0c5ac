"""The steps around a network as MONAI dictionary transforms, for configurations that stock ``monai.bundle`` runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from minivess.errors import InputError
from minivess.models.decision import choose_threshold
from minivess.models.normalise import fit_scaling
from minivess.volume import Volume, read_volume, write_volume
from minivess.volume.io import VOLUME_SUFFIXES, stem_of, suffix_of


class LoadVolumed(MapTransform):
    """Read volumes by :func:`minivess.volume.read_volume` into (1, x, y, z) float32 MetaTensors.

    An item may carry ``spacing`` (x, y, z) and ``unit`` for files that do not state them.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its volume."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume = load_item(d, key)
            d[key] = as_tensor(volume, volume.array.astype(np.float32), str(d[key]))
        return d


class NormaliseIntensityd(MapTransform):
    """Scale intensities by a modality's rule, :mod:`minivess.models.normalise`."""

    def __init__(self, keys: KeysCollection, modality: str, allow_missing_keys: bool = False) -> None:
        """Take the keys of (1, x, y, z) images and the name of a modality."""
        super().__init__(keys, allow_missing_keys)
        self.modality = modality

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each image."""
        d = dict(data)
        for key in self.key_iterator(d):
            array = np.asarray(d[key][0])
            scaled = torch.from_numpy(fit_scaling(array, self.modality).apply(array))[None]
            d[key] = MetaTensor(scaled, meta=d[key].meta) if isinstance(d[key], MetaTensor) else scaled
        return d


class AsMaskd(MapTransform):
    """Turn (1, x, y, z) probabilities into 0 and 1 by the rule of :func:`minivess.models.decision.choose_threshold`."""

    def __init__(self, keys: KeysCollection, threshold: float | str, allow_missing_keys: bool = False) -> None:
        """Take the keys, and a number or the name of a rule."""
        super().__init__(keys, allow_missing_keys)
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut each of them at its own threshold."""
        d = dict(data)
        for key in self.key_iterator(d):
            probability = d[key][0].cpu().numpy()
            d[key] = (d[key] >= choose_threshold(probability, self.threshold)).to(torch.float32)
        return d


class SaveVolumed(MapTransform):
    """Write (1, x, y, z) results as ``<output_dir>/<image name>_<key>.nii.gz`` on the input's grid."""

    def __init__(self, keys: KeysCollection, output_dir: str, source_key: str = "image") -> None:
        """Take the keys to write, where to, and the key of the image that states grid and name."""
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write each result and leave the data as it is."""
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
        InputError: When there is none.
    """
    found = sorted(str(f) for f in Path(folder).iterdir() if suffix_of(f)) if Path(folder).is_dir() else []
    if not found:
        raise InputError(f"No volumes in {folder}. Allowed: {', '.join(VOLUME_SUFFIXES)}.")
    return [{"image": path} for path in found]


def load_item(item: Mapping[Any, Any], key: Hashable) -> Volume:
    """Read the volume that an item names under ``key``; NIfTI and NRRD keep the spacing that they state."""
    path = Path(str(item[key]))
    needs_spacing = path.is_dir() or path.suffix.lower() in (".tif", ".tiff")
    return read_volume(path, spacing=item.get("spacing") if needs_spacing else None, unit=item.get("unit"))


def as_tensor(volume: Volume, array: np.ndarray[Any, Any], source: str) -> MetaTensor:
    """Wrap an array on a volume's grid as a (1, x, y, z) MetaTensor that remembers affine, unit and file."""
    meta = {"affine": torch.from_numpy(volume.affine), "unit": volume.unit, "filename_or_obj": source}
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], meta=meta)
