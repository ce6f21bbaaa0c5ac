"""Serve MONAI Label's endpoints: its handlers run in threads, their parameters are checked, and each has a role.

MONAI Label's handlers are coroutines that never wait: while one infers, no other request is answered. Here each runs in a thread.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile

from minivess.errors import NotFoundError, UnsafeFileError, UsageError
from minivess.server import monai_label
from minivess.server.accounts import Role
from minivess.server.inference import as_job
from minivess.server.label_app import label_app
from minivess.server.params import check_params, read_params
from minivess.server.roles import requires
from minivess.server.routes.labels import with_preconditions

#: The lowest role for each of MONAI Label's endpoints; one that is not listed stops the start.
ENDPOINT_ROLES: dict[tuple[str, str], Role] = {
    ("GET", "/info/"): "reader",
    ("POST", "/infer/{model}"): "annotator",
    ("POST", "/activelearning/{strategy}"): "annotator",
    ("GET", "/datastore/"): "reader",
    ("PUT", "/datastore/"): "annotator",
    ("DELETE", "/datastore/"): "admin",
    ("GET", "/datastore/image"): "reader",
    ("HEAD", "/datastore/image"): "reader",
    ("PUT", "/datastore/image"): "annotator",
    ("DELETE", "/datastore/image"): "admin",
    ("GET", "/datastore/image/info"): "reader",
    ("PUT", "/datastore/image/info"): "reviewer",  # the subject of an image decides what is held out
    ("GET", "/datastore/label"): "reader",
    ("HEAD", "/datastore/label"): "reader",
    ("PUT", "/datastore/label"): "annotator",
    ("DELETE", "/datastore/label"): "admin",
    ("GET", "/datastore/label/info"): "reader",
    ("PUT", "/datastore/label/info"): "reviewer",  # MONAI Label's reviewer approves and flags here
    ("PUT", "/datastore/updatelabelinfo"): "reviewer",
    ("GET", "/datastore/dataset"): "annotator",
    ("GET", "/session/{session_id}"): "reader",
    ("PUT", "/session/"): "annotator",
    ("DELETE", "/session/{session_id}"): "annotator",
    ("GET", "/model/{model}"): "admin",
    ("GET", "/model/info/{model}"): "admin",
    ("PUT", "/model/{model}"): "admin",
    ("DELETE", "/model/{model}"): "admin",
}
_REQUEST = "minivess_request"
_PACKED = ("api_download_dataset",)  # responses whose file MONAI Label creates and does not delete


def add_monai_endpoints(api: FastAPI) -> None:
    """Add MONAI Label's endpoints to an application.

    Raises:
        KeyError: When one has no role in :data:`ENDPOINT_ROLES`.
    """
    for route in monai_label.routes():
        _add(api, route)
    api.dependency_overrides[monai_label.get_current_user] = monai_label.monai_user


def _add(api: FastAPI, route: APIRoute) -> None:
    handler = in_thread(route.endpoint)
    for method in sorted(route.methods or ()):
        api.add_api_route(
            route.path,
            as_job(handler) if route.path.startswith("/infer/") else handler,
            methods=[method],
            dependencies=[requires(ENDPOINT_ROLES[method, route.path])],
            summary=route.summary,
            tags=route.tags,
            responses=route.responses,
            deprecated=route.deprecated,
            include_in_schema=route.include_in_schema,
        )


def in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Convert a coroutine function that never waits to a plain function, which FastAPI runs in a thread."""

    def run(**arguments: Any) -> Any:
        request: Request | None = arguments.pop(_REQUEST, None)
        coroutine = endpoint(**_checked(arguments if request is None else with_preconditions(arguments, request)))
        try:
            coroutine.send(None)
        except StopIteration as done:
            _after(endpoint.__name__, arguments, done.value)
            return done.value
        except BaseException:
            for task in getattr(arguments.get("background_tasks"), "tasks", []):  # FastAPI does not run them after an error
                task.func(*task.args, **task.kwargs)
            raise
        coroutine.close()
        raise RuntimeError(f"{endpoint.__name__} waits for something, and cannot run in a thread")

    run.__name__, run.__doc__ = endpoint.__name__, endpoint.__doc__
    signature = inspect.signature(endpoint)
    if endpoint.__name__ == "api_save_label":
        headers = inspect.Parameter(_REQUEST, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        signature = signature.replace(parameters=[*signature.parameters.values(), headers])
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _after(name: str, arguments: dict[str, Any], response: Any) -> None:
    """Do what MONAI Label leaves undone after a response."""
    if name in _PACKED and isinstance(response, FileResponse):
        response.background = BackgroundTask(Path(response.path).unlink)
    if isinstance(response, FileResponse) and not Path(response.path).is_file():
        raise UsageError("This session has several files, not one image. Ask for its description: leave out image=true.")
    if isinstance(response, dict) and "session_id" not in response and {"path", "expiry"} <= response.keys():  # of a session
        response["path"] = Path(response["path"]).name
    if name == "api_download_label":
        label_app().datastore().record_served(arguments["label"], arguments["tag"])


def _checked(arguments: dict[str, Any]) -> dict[str, Any]:
    session_id, sessions = arguments.get("session_id"), label_app().sessions()
    if session_id and sessions is not None and not _may_use(arguments["user"], session_id):
        raise NotFoundError("You have no session with this id, or its time is over. Upload the image again.")
    for name in ("params", "info"):
        value = arguments.get(name)
        if isinstance(value, str):
            read_params(value)
        elif isinstance(value, dict):
            check_params(value)
    for value in arguments.values():
        if isinstance(value, UploadFile):
            _check_file_name(value.filename or "")
    return arguments


def _may_use(user: Any, session_id: str) -> bool:
    """Return whether a session is there, and the user has uploaded it or administers the server."""
    sessions = label_app().sessions()
    if monai_label.ADMIN in user.roles:
        return sessions.get_session(session_id, update_ts=False) is not None
    return bool(sessions.is_open_to(session_id, user.username))


def _check_file_name(name: str) -> None:
    """Check a name whose suffixes become part of the name of a temporary file."""
    if len(name) > 200 or any(ord(character) < 32 for character in name):
        raise UnsafeFileError(f"The file name {name[:40]!a} is too long or contains control characters. Rename the file.")
