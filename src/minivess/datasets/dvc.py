"""Data sets pinned by DVC: its ``.dvc`` files are read, compared with the data, and written; DVC itself is not needed.

A ``.dvc`` file names the MD5 of a file, or of a list of the files of a folder. MD5 tells two versions apart; it is no protection
against somebody who wants to deceive: seals and releases use SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from minivess.errors import InputError, OutputError
from minivess.paths import atomic_file

SUFFIX = ".dvc"
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?$")
#: DVC takes these for its own, wherever they lie in a folder.
_NOT_DATA = {".dvc", ".git", ".hg", ".dvcignore", ".DS_Store"}
#: The seal of the test set: each look, approval and refusal changes it. DVC is told to leave it alone.
SEAL = "sealed_test"
_IGNORED = f"/{SEAL}*"


@dataclass(frozen=True)
class DvcPin:
    """One version of a file or folder.

    Attributes:
        md5: MD5 of the file, or of the list of the folder's files, with the ending ``.dir``.
        size: Bytes.
        files: Path below the folder -> MD5; empty for a file, and for what is read from a ``.dvc`` file.
    """

    md5: str
    size: int
    files: dict[str, str]

    def to_yaml(self, name: str) -> str:
        """Return the text of the ``.dvc`` file.

        Args:
            name: Name of the file or folder beside it.
        """
        count = {"nfiles": len(self.files)} if self.md5.endswith(".dir") else {}
        return yaml.safe_dump(
            {"outs": [{"md5": self.md5, "size": self.size, **count, "hash": "md5", "path": name}]}, sort_keys=False
        )


def compute_pin(data: Path) -> DvcPin:
    """Compute the pin of a file or folder as it is now.

    Raises:
        InputError: When it is missing or cannot be read.
    """
    try:
        if data.is_file():
            return DvcPin(_md5(data), data.stat().st_size, {})
        if not data.is_dir():
            raise InputError(f"There is nothing at {data} to pin.")
        found = sorted(file for file in _files_of(data) if _is_data(file.relative_to(data)))
        files = {file.relative_to(data).as_posix(): _md5(file) for file in found}
        size = sum(file.stat().st_size for file in found)
    except OSError as error:
        raise InputError(f"{data} cannot be read: {error.strerror}.") from error
    return DvcPin(f"{hashlib.md5(_listing(files), usedforsecurity=False).hexdigest()}.dir", size, files)


def _files_of(folder: Path) -> Iterator[Path]:
    """Return all files below a folder, those behind links to other folders, too.

    Raises:
        InputError: When a link leads back to a folder that it lies in.
    """
    for place, names, files in os.walk(folder, followlinks=True):
        names[:] = sorted(names)
        for name in names:
            linked = Path(place) / name
            if linked.is_symlink() and Path(place).resolve().is_relative_to(linked.resolve()):
                raise InputError(f"{linked} is a link to a folder that it lies in. Remove it.")
        yield from (file for name in files if (file := Path(place) / name).is_file())


def _ignoring_files(data: Path) -> list[Path]:
    """Return the ``.dvcignore`` files of a folder with patterns of files that DVC leaves out, and a pin made here does not."""
    found = []
    for file in (file for file in _files_of(data) if file.name == ".dvcignore"):
        lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
        if any(line and not line.startswith("#") and line.lstrip("/") not in (_IGNORED.lstrip("/"), SEAL) for line in lines):
            found.append(file)
    return found


def _is_data(path: Path) -> bool:
    return not (_NOT_DATA & set(path.parts) or path.parts[0].startswith(SEAL))


def leave_out_seal(data: Path) -> None:
    """Write into ``.dvcignore`` that DVC leaves the seal of a pinned data set alone: ``dvc checkout`` would remove it.

    Raises:
        OutputError: When ``.dvcignore`` in the folder cannot be written.
    """
    file = data / ".dvcignore"
    known = file.read_bytes().splitlines() if file.is_file() else []  # bytes: whatever its encoding, nothing of it is lost
    if _IGNORED.encode() not in known:
        with atomic_file(file) as temporary:
            temporary.write_bytes(b"\n".join([*known, _IGNORED.encode(), b""]))


def write_pin(data: Path) -> Path:
    """Write the ``.dvc`` file beside a file or folder, as ``dvc add`` does; an existing one is replaced.

    Returns:
        Path of the ``.dvc`` file.

    Raises:
        InputError: When the data are missing or cannot be read, or DVC would leave files out of them.
        OutputError: When it cannot be written.
    """
    data = data.resolve()
    if data.is_dir() and (ignoring := _ignoring_files(data)):
        raise InputError(
            f"{ignoring[0]} leaves files out of the data set, which is not followed here. Move them out of the folder and remove "
            "the patterns, or pin with DVC itself: dvc add"
        )
    target = data.with_name(data.name + SUFFIX)
    if data.is_dir():
        leave_out_seal(data)
    try:
        with atomic_file(target) as temporary:
            temporary.write_text(compute_pin(data).to_yaml(data.name), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}.") from error
    return target


def check_pin(data: Path) -> str:
    """Compare a file or folder with the ``.dvc`` file beside it.

    Returns:
        The MD5 of that file; empty where there is none.

    Raises:
        InputError: When the data are not those that were pinned; what differs is named where DVC's cache has the list.
    """
    data = data.resolve()
    file = data.with_name(data.name + SUFFIX)
    if not file.is_file():
        return ""
    pinned, now = read_pin(file), compute_pin(data)
    if pinned.md5 == now.md5:
        return now.md5
    listed = _cached_list(data, pinned.md5)
    changed = sorted(name for name in listed.keys() | now.files.keys() if listed and listed.get(name) != now.files.get(name))
    named = f" ({', '.join(changed[:5])}{' ...' if len(changed) > 5 else ''})" if changed else ""
    ignoring = _ignoring_files(data) if data.is_dir() else []
    if ignoring:
        named += f"; the patterns in {ignoring[0]}, by which DVC leaves files out, are not followed here: move these files out"
    raise InputError(
        f"{data} is not as {file.name} pins it{named}. Get the pinned version: dvc checkout. "
        f"Or pin what is there: minivess data pin {shlex.quote(str(data))}"
    )


def check_dataset_pin(dataset: Path) -> str:
    """Compare a data set with the ``.dvc`` file beside its folder, see :func:`check_pin`.

    Args:
        dataset: Its folder, or ``dataset.json`` in it.
    """
    return check_pin(dataset.parent if dataset.is_file() else dataset)


def read_pin(file: Path) -> DvcPin:
    """Read a ``.dvc`` file.

    Raises:
        InputError: When it is none.
    """
    try:
        (out,) = yaml.safe_load(file.read_text(encoding="utf-8"))["outs"]
        pin = DvcPin(str(out["md5"]), int(out.get("size", 0)), {})
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{file} is no .dvc file of one file or folder with its MD5. Write it again: minivess data pin"
        ) from error
    if not _MD5.match(pin.md5):  # it becomes part of a path in the cache
        raise InputError(f"{file}: {pin.md5!r} is no MD5, so that it is no .dvc file. Write it again: minivess data pin")
    return pin


def _cached_list(data: Path, md5: str) -> dict[str, str]:
    """Return the files of a folder from the cache of the DVC project around it; nothing where there is none."""
    for folder in data.parents:
        listing = folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        try:
            rows: list[Mapping[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
            return {str(row["relpath"]): str(row["md5"]) for row in rows}
        except (OSError, ValueError, KeyError, TypeError):  # it only helps to name what differs
            continue
    return {}


def _listing(files: Mapping[str, str]) -> bytes:
    return json.dumps([{"md5": files[name], "relpath": name} for name in sorted(files)], sort_keys=True).encode()


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
