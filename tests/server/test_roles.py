"""Every route of the OpenAPI document with every role: what is not allowed by the table below is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("monailabel")

from fastapi.routing import APIRoute
from server.test_guard import Request

from minivess.server.accounts import ROLES, Account, Accounts, Role
from minivess.server.app import api_routes, make_api
from minivess.server.guard import OPEN, Guard
from minivess.server.roles import RoleTable, declared_role, requires

#: The lowest role of each operation that a reader may not call.
RESTRICTED: dict[str, Role] = {
    "POST /infer/{model}": "annotator",
    "POST /activelearning/{strategy}": "annotator",
    "PUT /datastore/image": "annotator",
    "DELETE /datastore/image": "admin",
    "PUT /datastore/image/info": "reviewer",
    "PUT /datastore/label": "annotator",
    "DELETE /datastore/label": "admin",
    "PUT /datastore/label/info": "reviewer",
    "GET /datastore/dataset": "annotator",
    "PUT /session/": "annotator",
    "DELETE /session/{session_id}": "annotator",
    "GET /model/{model}": "admin",
    "GET /model/info/{model}": "admin",
    "PUT /model/{model}": "admin",
    "DELETE /model/{model}": "admin",
    "POST /model/{model}/roll_back": "admin",
    "POST /train/{model}": "admin",
    "DELETE /train/": "admin",
    "POST /scoring/{method}": "annotator",
    "DELETE /scoring/": "annotator",
    "POST /batch/infer/{model}": "admin",
    "DELETE /batch/infer": "admin",
    "DELETE /jobs/{job_id}": "annotator",
    "POST /labels/{image}/{number}/restore": "reviewer",
    "POST /labels/{image}/{number}/review": "reviewer",
    "POST /review/next": "annotator",
    "POST /review/places/{place}/answer": "annotator",
    "DELETE /review/places/{place}/answer": "annotator",
    "POST /review/places/{place}/take": "annotator",
    "POST /review/places/{place}/release": "annotator",
    "POST /review/images/{image}/queue": "annotator",
    "POST /review/images/{image}/draft/prompt": "annotator",
    "POST /review/images/{image}/draft/draw": "annotator",
    "POST /review/images/{image}/draft/undo": "annotator",
    "POST /review/images/{image}/draft/redo": "annotator",
    "DELETE /review/images/{image}/draft": "annotator",
}


def operations() -> list[str]:
    paths = make_api().openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def test_the_table_names_operations_that_exist() -> None:
    assert set(RESTRICTED) <= set(operations())


def test_every_changing_operation_is_restricted() -> None:
    changing = {operation for operation in operations() if not operation.startswith(("GET ", "HEAD "))}
    assert changing - {"POST /auth/token"} <= set(RESTRICTED)


def test_every_route_declares_a_role() -> None:
    undeclared = [route.path for route in api_routes(make_api()) if declared_role(route) is None]
    assert undeclared == []


@pytest.mark.requirement("R13")
def test_every_route_with_every_role(tmp_path: Path) -> None:
    passed: list[str] = []

    async def inside(scope: dict, receive: object, send: object) -> None:
        passed.append(f"{scope['method']} {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    accounts = Accounts(tmp_path / "accounts.json")
    ask = Request(Guard(inside, accounts, RoleTable(api_routes(make_api()))))
    tokens = {role: accounts.add(f"{role}-1", role) for role in ROLES}
    wrong = []
    for operation in operations():
        method, path = operation.split(" ", 1)
        path = re.sub(r"\{number\}|\{other\}", "1", path)
        path = re.sub(r"\{\w+\}", "x", path)
        for role in ROLES:
            allowed = Account("x", role).has_role(RESTRICTED.get(operation, "reader"))
            before = len(passed)
            status = ask(path, method=method, authorization=f"Bearer {tokens[role]}")[0]
            if (status, len(passed) - before) != ((200, 1) if allowed else (403, 0)):
                wrong.append((operation, role, status))
        if path not in OPEN:
            assert ask(path, method=method)[0] == 401, operation
    assert wrong == []


def test_a_route_without_a_role_is_refused_to_an_administrator(tmp_path: Path) -> None:
    async def inside(scope: object, receive: object, send: object) -> None:
        raise AssertionError("the guard let it pass")

    async def endpoint() -> None: ...

    routes = [APIRoute("/new", endpoint, methods=["POST"])]
    accounts = Accounts(tmp_path / "accounts.json")
    header = f"Bearer {accounts.add('root', 'admin')}"
    assert Request(Guard(inside, accounts, RoleTable(routes)))("/new", method="POST", authorization=header)[0] == 403
    declared = APIRoute("/new", endpoint, methods=["POST"], dependencies=[requires("reviewer")])
    assert declared_role(declared) == "reviewer"
