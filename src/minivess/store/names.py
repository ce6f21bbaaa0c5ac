"""Which names may stand for a case or a tag: they become file names, and come from strangers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from minivess.errors import UnsafeFileError
from minivess.volume.io import stem_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Tags that the store gives a meaning to.
FINAL, ORIGINAL = "final", "original"


def check_name(name: str, what: str) -> str:
    """Take an id or a tag that is safe as a file name on every system.

    Raises:
        UnsafeFileError: When it is not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        shown = repr(name if isinstance(name, str) and len(name) <= 60 else f"{str(name)[:60]}...")
        raise UnsafeFileError(
            f"{what} {ascii(shown)[1:-1]} cannot be used. Allowed: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or a "
            "digit, without '..'."
        )
    return name


def id_of(relative: Path) -> str:
    """Make the id of an image from its path inside the studies: folders are joined by two underscores.

    A name that is no safe id is spelled with underscores and ends in six digits of its hash, so that two of them stay two.
    """
    plain = unicodedata.normalize("NFC", "__".join([*relative.parts[:-1], stem_of(Path(relative.name))]))
    if _NAME.fullmatch(plain) and ".." not in plain and not plain.endswith("."):
        return plain
    spelled = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:110] or "image"
    return f"{spelled}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
