"""MONAI Label's sessions, images that a client uploads for a limited time; here they do expire, also after a restart."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from pathlib import Path

from monailabel.utils.sessions import SessionInfo, Sessions

_logger = logging.getLogger(__name__)


class UploadSessions(Sessions):
    """Sessions that are removed when their time is over, whatever else is in their folder.

    MONAI Label looks at none after a restart, until the next upload, and stops at the first folder without a description.
    """

    def __init__(self, store_path: str = "", expiry: int = 3600) -> None:
        """Store the folder and the longest time.

        Args:
            store_path: Folder of the sessions.
            expiry: Longest time without use, in seconds.
        """
        super().__init__(store_path, expiry)
        self._changing = threading.Lock()

    def __bool__(self) -> bool:
        """Return True: MONAI Label leaves out the cleaning where this is false, and a dictionary without entries is."""
        return True

    def add_of(self, user: str, image: Path, expiry: int) -> tuple[str, SessionInfo]:
        """Add a session, with who has uploaded it.

        Args:
            user: Name of the account.
            image: File or folder, which is moved.
            expiry: Seconds without use after which it is removed, at most those of the server; 0 for those.
        """
        with self._changing:
            session_id, session = self.add_session(str(image), min(expiry, self.expiry) if expiry > 0 else self.expiry)
            session.meta["owner"] = user
            self._write_meta_info(session_id, session)
        return session_id, session

    def is_open_to(self, session_id: str, user: str) -> bool:
        """Return whether there is a session, and the user has uploaded it.

        Args:
            session_id: Id of the session.
            user: Name of the account.
        """
        session = self.get_session(session_id, update_ts=False)  # who is refused does not prolong it
        return session is not None and session.meta.get("owner", user) == user

    def remove_expired(self) -> int:
        """Remove sessions whose time is over, and what interrupted uploads have left; return their number."""
        folder = Path(self.store_path)
        with self._changing:
            expired = [path for path in folder.iterdir() if path.is_dir() and self._is_over(path)] if folder.is_dir() else []
        for path in expired:
            self.pop(path.name, None)
            shutil.rmtree(path, ignore_errors=True)
        if expired:
            _logger.info("%d uploaded sessions were removed: their time is over", len(expired))
        return len(expired)

    def _is_over(self, path: Path) -> bool:
        try:
            session: SessionInfo | None = self.get_session(path.name, update_ts=False, fetch_cache=False)
            if session is not None:
                return bool(0 < session.expiry < time.time() - session.last_access_ts)
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            _logger.warning("the description of session %s cannot be read: %r", path.name, error)
        try:
            return path.is_dir() and time.time() - path.stat().st_mtime > self.expiry  # an upload may still be copied
        except OSError:
            return False
