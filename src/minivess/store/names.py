"""Names of cases and tags: they are used as file names and come from untrusted clients, so they are checked."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from minivess.errors import UnsafeFileError
from minivess.volume.io import stem_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: Tags with a meaning: ``final`` labels come from annotators and are used for training, ``original`` ones from a model.
FINAL, ORIGINAL = "final", "original"


def check_name(name: str, what: str) -> str:
    """Check that an image id or a tag is safe as a file name on every system.

    Args:
        name: The id or tag.
        what: What it is, for the message.

    Returns:
        The name, unchanged.

    Raises:
        UnsafeFileError: When it is not safe.

    Example:
        >>> check_name("mouse2__stack.01", "The image id")
        'mouse2__stack.01'
        >>> check_name("../stack", "The image id")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        minivess.errors.UnsafeFileError: The image id '../stack' cannot be used. Allowed: ...
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        shown = repr(name if isinstance(name, str) and len(name) <= 60 else f"{str(name)[:60]}...")
        raise UnsafeFileError(
            f"{what} {ascii(shown)[1:-1]} cannot be used. Allowed: 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or a "
            "digit, without '..' and without a '.' at the end."
        )
    return name


def id_from_path(relative: Path) -> str:
    """Build the id of an image from its path inside the studies: folders are joined by two underscores.

    When the result is not a safe id, other characters are replaced by underscores, and six digits of a hash are appended so
    that the ids of different paths differ.
    """
    plain = unicodedata.normalize("NFC", "__".join([*relative.parts[:-1], stem_of(Path(relative.name))]))
    if _NAME.fullmatch(plain) and ".." not in plain and not plain.endswith("."):
        return plain
    replaced = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-")[:110] or "image"
    return f"{replaced}-{hashlib.sha256(plain.encode()).hexdigest()[:6]}"
