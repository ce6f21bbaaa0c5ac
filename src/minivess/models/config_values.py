"""Values in a MONAI configuration that MONAI must not read: it writes ``::`` for every ``#`` in a text, also in names."""

from __future__ import annotations

import os
from collections import UserDict


class ConfigPath(os.PathLike[str]):
    """A path, as bundles use it: alone, or followed by more, as in ``$@output_dir + '/log.csv'``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Store the path."""
        self._text = os.fspath(path)

    def __fspath__(self) -> str:
        """Return the path as a text."""
        return self._text

    __str__ = __fspath__

    def __add__(self, end: str) -> str:
        """Return the path with more behind it."""
        return self._text + end


class ConfigTexts(UserDict[str, str]):
    """Texts by their names, which stay as they are."""
