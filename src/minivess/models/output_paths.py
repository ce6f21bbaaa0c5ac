"""Where a bundle may write: below its own folder, or below the one that a run is given. It would replace any file otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

#: Parameters that name a file or folder to write.
_PATHS = frozenset({"path", "log_dir", "output_dir", "save_dir", "weights"})
#: Parameters that become a part of a file's name.
_NAMES = frozenset({"file_prefix", "final_filename", "key_metric_filename"})
_REFERENCE = re.compile(r"@(\w+)")
_BELOW = re.compile(r"\$\s*@(\w+)(?:\s*\+\s*(['\"])/([\w./-]+)\2)?")


def check_output_paths(leaves: Iterable[tuple[str, str, Any]], files: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Find what a configuration would write elsewhere.

    Args:
        leaves: Path, key and value of everything that the configuration states.
        files: All configurations of the bundle: any of them may be laid over another.
    """
    for path, key, value in leaves:
        if key in _PATHS and isinstance(value, str) and not _is_inside(value, files, frozenset()):
            yield (
                f"{path}: files are written below the bundle or the run's folder only. Got {str(value)[:60]!r}; allowed: "
                "a reference, or \"$@output_dir + '/name'\", that leads to bundle_root or output_dir"
            )
        if key in _NAMES and not re.fullmatch(r"[\w.-]*", str(value)):
            yield f"{path}: {str(value)[:60]!r} is no plain file name"


def _is_inside(value: Any, files: Sequence[Mapping[str, Any]], seen: frozenset[str]) -> bool:
    if value in (None, "", "."):  # nothing, or the bundle's own folder
        return True
    if not isinstance(value, str):
        return False
    below = _BELOW.fullmatch(value)
    if below and ".." in (below[3] or "").split("/"):
        return False
    match = below or _REFERENCE.fullmatch(value)
    name = match[1] if match else ""
    if not name or name in seen:
        return False
    return all(_is_inside(file[name], files, seen | {name}) for file in files if name in file)
