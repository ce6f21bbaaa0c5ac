"""The ASGI application: MONAI Label's REST interface with its handlers off the event loop, behind our guard.

    monailabel start_server --app monailabel_app --studies STUDIES --uvicorn_app minivess.server.app:app

MONAI Label's handlers are coroutines that never wait: while one infers, nobody else is answered. Here each runs in a thread.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Depends, FastAPI, Form, Request
from fastapi.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from monailabel.config import settings

settings.MONAI_LABEL_AUTH_ENABLE = True  # before its endpoints are imported: only then do they ask for a role at all

from monailabel.endpoints import activelearning, datastore, infer, info, model, session  # noqa: E402
from monailabel.endpoints.user.auth import User, get_current_user  # noqa: E402
from monailabel.interfaces.utils.app import app_instance  # noqa: E402
from prometheus_client import CONTENT_TYPE_LATEST  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.datastructures import UploadFile  # noqa: E402
from starlette.exceptions import HTTPException  # noqa: E402
from starlette.types import ASGIApp  # noqa: E402

import minivess  # noqa: E402
from minivess.errors import MinivessError, UnsafeFileError  # noqa: E402
from minivess.server import background, capabilities, drafts, images, jobs, labels, review, sessions  # noqa: E402
from minivess.server.answers import answer_errors  # noqa: E402
from minivess.server.environment import ACCOUNTS, ADMIN_TOKEN, HOST  # noqa: E402
from minivess.server.guard import PAGE, Guard  # noqa: E402
from minivess.server.inference import as_job  # noqa: E402
from minivess.server.labels import with_preconditions  # noqa: E402
from minivess.server.lifecycle import lifespan  # noqa: E402
from minivess.server.loopback import is_loopback  # noqa: E402
from minivess.server.mislabelled import MislabelledForms  # noqa: E402
from minivess.server.observe import Observe  # noqa: E402
from minivess.server.page import Page  # noqa: E402
from minivess.server.params import check_params, read_params  # noqa: E402
from minivess.server.people import ROLES, People, Person  # noqa: E402
from minivess.telemetry import Telemetry  # noqa: E402

_ROUTERS = (info, infer, activelearning, datastore, session, model)
_REQUEST = "minivess_request"
_PACKED = ("api_download_dataset",)  # answers whose file is made for them, and which MONAI Label leaves behind
_MONAI_ROLES = ("user", "annotator", "reviewer", "admin")


def make_app() -> ASGIApp:
    """Build the application from MONAI Label's routers; what is not listed here (reload, proxy, logs) is not served."""
    people = People(Path(os.environ.get(ACCOUNTS, "accounts.json")))
    if os.environ.get(ADMIN_TOKEN):
        people.welcome(Person("admin", "admin"), os.environ.pop(ADMIN_TOKEN))
    api = FastAPI(title="MinIVess label server", version=minivess.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    telemetry = api.state.telemetry = Telemetry()
    answer_errors(api)
    _add_own(api, people)
    # Before MONAI Label's: the first that fits answers.
    for ours in (sessions, background, jobs, labels, capabilities, review, images, drafts):
        api.include_router(ours.router)
    for module in _ROUTERS:
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                _take_over(api, route)
    api.mount("/app", Page(), name="page")
    api.dependency_overrides[get_current_user] = _monai_user
    guard = Guard(
        MislabelledForms(api), people, loopback_only=is_loopback(os.environ.get(HOST, "127.0.0.1")), on_refusal=_record_refusal
    )
    return Observe(guard, telemetry)


def _take_over(api: FastAPI, route: APIRoute) -> None:
    answer = off_the_loop(route.endpoint)
    api.add_api_route(
        route.path,
        as_job(answer) if route.path.startswith("/infer/") else answer,
        methods=sorted(route.methods or ()),
        summary=route.summary,
        tags=route.tags,
        responses=route.responses,
        deprecated=route.deprecated,
        include_in_schema=route.include_in_schema,
    )


def off_the_loop(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a coroutine function that never waits into a plain one, which FastAPI runs in a thread; its parameters are checked."""

    def run(**arguments: Any) -> Any:
        request: Request | None = arguments.pop(_REQUEST, None)
        coroutine = endpoint(**_checked(arguments if request is None else with_preconditions(arguments, request)))
        try:
            coroutine.send(None)
        except StopIteration as done:
            _after(endpoint.__name__, arguments, done.value)
            return done.value
        except BaseException:
            for task in getattr(arguments.get("background_tasks"), "tasks", []):  # not run by FastAPI after a refusal
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


def _after(name: str, arguments: dict[str, Any], answer: Any) -> None:
    """Do what MONAI Label leaves undone after an answer."""
    if name in _PACKED and isinstance(answer, FileResponse):
        answer.background = BackgroundTask(Path(answer.path).unlink)
    if name == "api_download_label" and hasattr(app_instance().datastore(), "shown"):
        app_instance().datastore().shown(arguments["label"], arguments["tag"])


def _checked(arguments: dict[str, Any]) -> dict[str, Any]:
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


def _check_file_name(name: str) -> None:
    """Its suffixes become part of a temporary file's name."""
    if len(name) > 200 or any(ord(character) < 32 for character in name):
        raise UnsafeFileError(f"The file's name {name[:40]!a} is too long or holds control characters. Rename it.")


def _monai_user(request: Request) -> User:
    """Say to MONAI Label's own checks of roles who this is."""
    person: Person = request.scope["minivess.person"]
    roles = [f"monailabel-{name}" for name in _MONAI_ROLES[: ROLES.index(person.role) + 1]]
    return User(username=person.name, name=person.name, roles=roles)


async def _record_refusal(person: Person, what: str) -> None:
    store = getattr(app_instance().datastore(), "store", None)
    if store is not None:
        await to_thread.run_sync(
            lambda: store.journal.audit.append("request.refused", actor=person.name, details={"request": what})
        )


def _add_own(api: FastAPI, people: People) -> None:
    @api.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse(PAGE)

    @api.get("/healthz", tags=["Health"], summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "alive", "version": minivess.__version__}

    @api.get("/readyz", tags=["Health"], summary="The studies and the index can be read")
    def readyz() -> dict[str, str]:
        app_instance().datastore().status()  # fails where the studies or the index cannot be read
        return {"status": "ready"}

    @api.get("/metrics", tags=["Health"], summary="Numbers for Prometheus", response_class=PlainTextResponse)
    def metrics() -> Response:
        return Response(api.state.telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    @api.get("/auth/", tags=["Auth"], summary="A token is needed")
    async def auth() -> dict[str, Any]:
        return {"enabled": True, "client_id": "", "realm": ""}

    @api.post("/auth/token", tags=["Auth"], summary="Exchange name and token, as user name and password, for the token")
    async def token(username: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, str]:
        person = people.of_token(password)
        if person is None or person.name != username:
            raise HTTPException(401, "Name and token do not belong together. The password is the token that you were given.")
        return {"access_token": password, "token_type": "bearer"}

    @api.get("/auth/token/valid", tags=["Auth"], summary="Who am I")
    async def valid(user: Annotated[User, Depends(get_current_user)]) -> dict[str, Any]:
        return dict(user.model_dump())


def _check_label_app() -> None:
    """End in a sentence where a setting of the label app is wrong; uvicorn would print a traceback."""
    try:
        app_instance()
    except MinivessError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if settings.MONAI_LABEL_APP_DIR:  # started as a server, not looked at by a tool
    _check_label_app()
app = make_app()
