"""Who acts now: set by whoever knows them (the server's guard, the command line), read where something is entered."""

from __future__ import annotations

import getpass
from contextvars import ContextVar

current_actor: ContextVar[str] = ContextVar("current_actor", default="")


def system_user() -> str:
    """Name the user of this machine, for what is done on the command line."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
