"""The format of a store: its number is written once, and a program of another format refuses to open the store."""

from __future__ import annotations

import json
from pathlib import Path

from minivess.errors import StoreError
from minivess.paths import atomic_file
from minivess.store.events import FOLDER

#: 3: an event counts when the audit chain contains its hash. 2: an event counts when its file exists.
FORMAT = 3
#: It lies among the cases and looks like an event that no program before format 3 can read, so that these refuse the store.
_STAMP = Path(FOLDER) / ".format" / "000003-format.json"


def read_format(root: Path) -> int:
    """Return the format of a store; 2 for a store with events that states none, and 0 for a new one.

    Raises:
        StoreError: When the file that states the format is damaged.
    """
    stamp = root / _STAMP
    if stamp.exists():
        try:
            return int(json.loads(stamp.read_text())["format"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{stamp} is damaged ({error!r}). Restore a copy of it.") from error
    return 2 if any((root / FOLDER).glob("[!.]*/[0-9]*-*.json")) else 0


def require_format(root: Path) -> None:
    """Check that this program may use a store; a new store has any format.

    Raises:
        StoreError: When the store has another format.
    """
    found = read_format(root)
    if 0 < found < FORMAT:
        raise StoreError(
            f"The store {root} has format {found}; this version of minivess uses format {FORMAT}. Nothing was changed. Stop "
            f"every program that uses it, then: minivess store upgrade STUDIES --store {root} (a copy of the old store is kept)."
        )
    if found > FORMAT:
        raise StoreError(
            f"The store {root} has format {found}: a newer version of minivess has made or upgraded it; this version uses format "
            f"{FORMAT}. Nothing was changed. Use the newer version."
        )


def write_format(root: Path) -> None:
    """State the current format in a store that states none or an older one.

    Raises:
        OutputError: When it cannot be written.
    """
    if read_format(root) == FORMAT:
        return
    with atomic_file(root / _STAMP) as temporary:
        temporary.write_text(json.dumps({"format": FORMAT}) + "\n")
