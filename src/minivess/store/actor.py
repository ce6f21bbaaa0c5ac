"""The current actor: set by the server's guard or the command line, and recorded with each event."""

from __future__ import annotations

import getpass
from contextvars import ContextVar

current_actor: ContextVar[str] = ContextVar("current_actor", default="")


def system_user() -> str:
    """Return the name of the user of this machine; it is the actor on the command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "unknown"
