"""Files that root writes belong to whom the store belongs to: the server's user must be able to go on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def owned_as_before(root: Path) -> Iterator[None]:
    """Change the owner of what root writes into a store meanwhile to that of its folder; of other users nothing changes.

    Args:
        root: Folder of the store.
    """
    owner = root.stat() if root.exists() else None
    try:
        yield
    finally:
        if owner is not None and os.geteuid() == 0 and owner.st_uid != 0:
            for path in (root, *root.rglob("*")):
                with contextlib.suppress(OSError):  # a file system without owners, a file that is gone
                    if path.lstat().st_uid == 0:
                        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
