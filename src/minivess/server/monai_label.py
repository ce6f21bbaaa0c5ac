"""MONAI Label's endpoints and users: the only module of the server that imports them.

MONAI Label decides when its endpoints are imported whether they check roles, so authentication is switched on first.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from monailabel.config import settings

from minivess.server.accounts import ROLES
from minivess.server.dependencies import current_account

settings.MONAI_LABEL_AUTH_ENABLE = True
_auth: Any = import_module("monailabel.endpoints.user.auth")
#: MONAI Label's user, with names of roles.
User: Any = _auth.User
#: The dependency by which MONAI Label's endpoints find the user.
get_current_user: Any = _auth.get_current_user
_ROLE_NAMES = ("user", "annotator", "reviewer", "admin")
#: MONAI Label's name of the highest role.
ADMIN = f"monailabel-{_ROLE_NAMES[-1]}"


def routes() -> list[APIRoute]:
    """List the routes of MONAI Label that are served; others (reload, proxy, logs, training as processes) are not."""
    names = ("info", "infer", "activelearning", "datastore", "session", "model")
    modules = [import_module(f"monailabel.endpoints.{name}") for name in names]
    return [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]


def monai_user(request: Request) -> Any:
    """Return the current user in MONAI Label's form, for its own checks of roles."""
    account = current_account(request)
    roles = [f"monailabel-{name}" for name in _ROLE_NAMES[: ROLES.index(account.role) + 1]]
    return User(username=account.name, name=account.name, roles=roles)
