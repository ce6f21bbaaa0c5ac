"""Which role a request needs: declared beside each endpoint, checked by the guard before the body is read.

Our own endpoints declare it in ``routes/``, MONAI Label's in :data:`minivess.server.monai_endpoints.ENDPOINT_ROLES`. A route
without a declared role is refused, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import Depends
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from minivess.server.accounts import ROLES, Role


class RequiredRole:
    """A declaration, written as a dependency of an endpoint; :class:`minivess.server.guard.Guard` enforces it."""

    def __init__(self, role: Role) -> None:
        """Declare the lowest role that may call the endpoint."""
        self.role = role

    def __call__(self) -> None:
        """Do nothing: the guard has checked the role before the body was read."""


def requires(role: Role) -> Any:
    """Declare the lowest role that may call an endpoint: ``dependencies=[requires("annotator")]``."""
    return Depends(RequiredRole(role))


class RoleTable:
    """The declared roles of all routes."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        """Read the declarations.

        Args:
            routes: The routes, in the order in which they are matched.
        """
        self._routes = [(route, declared_role(route)) for route in routes]

    def required(self, scope: Scope) -> Role | None:
        """Return the role that a request needs; None when its route declares none, so that nobody may send it."""
        for route, role in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return role
        return ROLES[0]  # no such route: the application answers 404 or 405


def declared_role(route: APIRoute) -> Role | None:
    """Return the highest role that a route declares; None when it declares none."""
    roles = [d.dependency.role for d in route.dependencies if isinstance(d.dependency, RequiredRole)]
    return max(roles, key=ROLES.index, default=None)
