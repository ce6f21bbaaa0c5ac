"""The current actor: set by the server's guard or the command line, and recorded with each event."""

from __future__ import annotations

import os
import pwd
from contextvars import ContextVar

current_actor: ContextVar[str] = ContextVar("current_actor", default="")


def system_user() -> str:
    """Return the name of the user of this machine, whatever the environment says; it is the actor on the command line."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in containers
        return "unknown"
