"""The ASGI application: our endpoints and MONAI Label's, behind the guard.

monailabel start_server --app monailabel_app --studies STUDIES --uvicorn_app minivess.server.app:app
"""

from __future__ import annotations

import os
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from monailabel.config import settings
from starlette.types import ASGIApp

import minivess
from minivess.errors import MinivessError
from minivess.loopback import is_loopback
from minivess.server.accounts import Account, Accounts
from minivess.server.environment import ACCOUNTS, ADMIN_TOKEN, HOST, PUBLIC_NAME
from minivess.server.error_responses import install_error_handlers
from minivess.server.guard import Guard
from minivess.server.json_response import ValidJSONResponse
from minivess.server.label_app import label_app
from minivess.server.lifespan import lifespan
from minivess.server.monai_endpoints import add_monai_endpoints
from minivess.server.multipart_content_type import MultipartContentType
from minivess.server.page import Page
from minivess.server.request_metrics import RequestMetrics
from minivess.server.roles import RoleTable
from minivess.server.routes import (
    auth,
    health,
    image_checksum,
    jobs,
    labels,
    models,
    monai_tasks,
    review_capabilities,
    review_drafts,
    review_images,
    review_queue,
    review_study,
    sessions,
)
from minivess.telemetry import Telemetry

#: Ours come before MONAI Label's endpoints: the first route that matches answers.
_OUR_ROUTERS = (
    health.router,
    auth.router,
    sessions.router,
    monai_tasks.router,
    jobs.router,
    image_checksum.router,
    labels.router,
    models.router,
    review_capabilities.router,
    review_queue.router,
    review_study.router,
    review_images.router,
    review_drafts.router,
)


def make_api() -> FastAPI:
    """Build the application without the guard: all endpoints and the page."""
    api = FastAPI(
        title="MinIVess label server",
        version=minivess.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        default_response_class=ValidJSONResponse,
    )
    install_error_handlers(api)
    for router in _OUR_ROUTERS:
        api.include_router(router)
    add_monai_endpoints(api)
    api.mount("/app", Page(), name="page")
    return api


def make_app() -> ASGIApp:
    """Build the application of the server."""
    accounts = Accounts(Path(os.environ.get(ACCOUNTS, "accounts.json")))
    if os.environ.get(ADMIN_TOKEN):
        accounts.add_session_token(Account("admin", "admin"), os.environ.pop(ADMIN_TOKEN))
    api = make_api()
    api.state.accounts = accounts
    telemetry = api.state.telemetry = Telemetry()
    guard = Guard(
        MultipartContentType(api),
        accounts,
        RoleTable(api_routes(api)),
        loopback_only=is_loopback(os.environ.get(HOST, "127.0.0.1")),
        public_name=os.environ.get(PUBLIC_NAME, ""),
        on_refusal=_record_refusal,
    )
    return RequestMetrics(guard, telemetry)


def api_routes(api: FastAPI) -> list[APIRoute]:
    """List all routes, in the order in which they are matched."""
    ours = [route for router in _OUR_ROUTERS for route in router.routes]
    return [route for route in (*ours, *api.routes) if isinstance(route, APIRoute)]


async def _record_refusal(account: Account, request: str) -> None:
    audit = label_app().datastore().store.journal.audit
    await to_thread.run_sync(lambda: audit.append("request.refused", actor=account.name, details={"request": request}))


def _check_label_app() -> None:
    """End with a message when a setting of the label app is wrong; uvicorn would print a traceback."""
    try:
        label_app()
    except MinivessError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from None


if settings.MONAI_LABEL_APP_DIR:  # started as a server, not imported by a tool
    _check_label_app()
app = make_app()
