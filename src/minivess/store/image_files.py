"""Find the image files of a studies folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from minivess.volume.io import VOLUME_SUFFIXES, stem_of, suffix_of

#: Suffixes of image files. Plain TIFF is not included: it does not state the voxel size; nor .mhd, which is half an image.
IMAGE_SUFFIXES = tuple(s for s in VOLUME_SUFFIXES if s not in (".tif", ".tiff", ".mhd"))


def new_image_files(studies: Path, store: Path, known: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Walk the studies without hidden files, stores and folders of labels; a folder may vanish meanwhile.

    Args:
        studies: Folder with the images.
        store: Folder of the store.
        known: Paths of files that have a case, relative to the studies.

    Yields:
        Each file that has no case yet, and why it cannot have one; empty when it can.
    """
    excluded = {str(store), str(studies / "labels")}
    for folder, folders, files in os.walk(studies):
        inside = {name: os.path.join(folder, name) for name in sorted(folders) if not name.startswith(".")}
        for link in filter(os.path.islink, inside.values()):
            yield Path(link), "a linked folder is not followed: copy its images, or mount it"
        folders[:] = [name for name, path in inside.items() if path not in excluded and not _holds_labels(path)]
        by_stem: dict[str, list[Path]] = {}
        for path in (Path(folder, file) for file in sorted(files) if not file.startswith(".")):
            if suffix_of(path) in IMAGE_SUFFIXES:
                by_stem.setdefault(stem_of(path), []).append(path)
        for paths in by_stem.values():
            for path in paths:
                relative = path.relative_to(studies).as_posix()
                if relative not in known and path.is_file():
                    yield path, _reason_to_skip(relative, [other.name for other in paths if other != path])


class ExistingFiles:
    """Which files exist, by one listing of each folder: thousands of single questions take longer."""

    def __init__(self, studies: Path) -> None:
        """Use a studies folder; each folder in it is listed once."""
        self._studies = str(studies)
        self._names: dict[str, frozenset[str]] = {}

    def contain(self, path: str) -> bool:
        """Return whether a file exists, by its path relative to the studies."""
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(os.path.join(self._studies, folder)))
            except OSError:
                self._names[folder] = frozenset()
        return name in self._names[folder]


def _holds_labels(folder: str) -> bool:
    """Return whether a folder is a store or a copy of one, or holds MONAI Label's labels: its volumes are no images."""
    of_monai_label = os.path.basename(folder) == "labels" and os.path.exists(os.path.join(folder, "..", "datastore_v2.json"))
    return of_monai_label or any(os.path.exists(os.path.join(folder, name)) for name in ("audit/chain.jsonl", "cases/.format"))


def _reason_to_skip(relative: str, twins: Sequence[str]) -> str:
    try:
        relative.encode()
    except UnicodeEncodeError:
        return "the name of the file or of a folder is not valid UTF-8: rename it"
    if twins:
        return f"{twins[0]} beside it has the same name with another suffix, and both mean one image: rename or remove one"
    return ""
