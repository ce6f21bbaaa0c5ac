"""The guard with a small application behind it, and the roles of the real endpoints."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("monailabel")

from minivess.server.accounts import Account, Accounts
from minivess.server.app import api_routes, make_api
from minivess.server.guard import Guard, Limits
from minivess.server.roles import RoleTable
from minivess.store.actor import current_actor


class Request:
    """One request against a guard, spoken in ASGI."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def __call__(
        self,
        path: str,
        *,
        method: str = "GET",
        query: str = "",
        body: tuple[bytes, ...] = (b"",),
        unfinished: bool = False,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        sent: list[dict[str, Any]] = []
        chunks = [{"type": "http.request", "body": c, "more_body": unfinished or i + 1 < len(body)} for i, c in enumerate(body)]

        async def receive() -> dict[str, Any]:
            if chunks:
                return chunks.pop(0)
            await asyncio.sleep(60)
            raise AssertionError("nothing more comes")

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        named = {"host": "127.0.0.1:8000", **{k.replace("_", "-"): v for k, v in headers.items()}}
        scope = {
            "type": "http", "method": method, "path": path, "root_path": "", "query_string": query.encode(),
            "headers": [(k.encode(), v.encode()) for k, v in named.items()],
        }  # fmt: skip
        asyncio.run(self.guard(scope, receive, send))
        answered = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
        return sent[0]["status"], answered, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "accounts.json")


@pytest.fixture(scope="module")
def roles() -> RoleTable:
    return RoleTable(api_routes(make_api()))


@pytest.fixture
def refused() -> list[tuple[Account, str]]:
    return []


@pytest.fixture
def public_name() -> str:
    return ""


@pytest.fixture
def ask(accounts: Accounts, roles: RoleTable, refused: list[tuple[Account, str]], public_name: str) -> Request:
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        try:
            while more:
                message = await receive()
                size, more = size + len(message["body"]), message["more_body"]
            answer = JSONResponse({"actor": current_actor.get(), "size": size})
        except HTTPException as error:
            answer = JSONResponse({"detail": error.detail}, status_code=error.status_code)
        await answer(scope, receive, send)

    async def record(account: Account, what: str) -> None:
        refused.append((account, what))

    limits = Limits(body_bytes=1000, idle_s=0.2)
    return Request(Guard(inside, accounts, roles, limits=limits, public_name=public_name, on_refusal=record))


@pytest.mark.requirement("R13")
def test_without_a_token_only_what_holds_no_data_answers(ask: Request) -> None:
    for path in ("/info/", "/datastore/", "/model/segresnet", "/nowhere"):
        status, headers, body = ask(path)
        assert status == 401
        assert headers["www-authenticate"] == "Bearer"
        assert b"Authorization: Bearer TOKEN" in body
    assert ask("/healthz")[0] == 200


@pytest.mark.row(8)
def test_every_wrong_token_gets_the_same_answer(ask: Request, accounts: Accounts) -> None:
    token = accounts.add("ann", "annotator")
    accounts.remove("ann")
    bodies = {
        ask("/info/", authorization=value)[2].split(b"request_id")[0]
        for value in (f"Bearer {token}", "Bearer ", "Bearer x", "Basic YTpi", f"bearer{token}", "Bearer eyJhbGciOiJub25lIn0.e30.")
    }
    assert len(bodies) == 1


def test_who_acts_comes_from_the_token(ask: Request, accounts: Accounts) -> None:
    token = accounts.add("ann", "annotator")
    status, headers, body = ask("/info/", authorization=f"Bearer {token}")
    assert (status, b'"actor":"ann"' in body) == (200, True)
    assert headers["x-request-id"]
    assert token not in (accounts.path).read_text()
    assert accounts.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.row(9)
@pytest.mark.parametrize(
    ("method", "path", "role"),
    [("PUT", "/model/segresnet", "reviewer"), ("DELETE", "/datastore/image", "annotator"), ("GET", "/model/info/segresnet", "annotator"),
     ("POST", "/activelearning/random", "reader"), ("POST", "/infer/segresnet", "reader"), ("PUT", "/session/", "reader"),
     ("PUT", "/datastore/label/info", "annotator"), ("PUT", "/datastore/updatelabelinfo", "annotator")],
)  # fmt: skip
def test_a_role_that_is_not_enough_is_refused_and_recorded(
    ask: Request, accounts: Accounts, refused: list[tuple[Account, str]], method: str, path: str, role: str
) -> None:
    status, _, body = ask(path, method=method, authorization=f"Bearer {accounts.add('ann', role)}")
    assert status == 403
    assert f"yours is {role}".encode() in body
    assert [account.name for account, _ in refused] == ["ann"]
    assert ask(path, method=method, authorization=f"Bearer {accounts.add('root', 'admin')}")[0] == 200


@pytest.mark.requirement("R14")
@pytest.mark.row(1, 3)
@pytest.mark.parametrize(
    "name", ["../app/main", "..%2f..", "%2Fetc%2Fx", "C:%5Cx", "a%00b", "x" * 300, "%E2%80%AEgz.iin", "%5c%5chost"]
)
def test_names_that_reach_elsewhere_never_come_in(ask: Request, accounts: Accounts, name: str) -> None:
    header = f"Bearer {accounts.add('ann', 'admin')}"
    for key in ("image", "id", "label", "tag", "session_id"):
        status, _, body = ask("/datastore/label", query=f"{key}={name}", authorization=header)
        assert (status, b"UnsafeFileError" in body) == (400, True)
    assert ask("/infer/..", authorization=header)[0] == 400
    assert ask("/infer/a;b", authorization=header)[0] == 400


@pytest.mark.row(10)
def test_pages_of_other_origins_and_other_names_are_kept_out(ask: Request, accounts: Accounts) -> None:
    header = f"Bearer {accounts.add('ann', 'admin')}"
    for origin, status in (("https://evil.example", 403), ("http://127.0.0.1:8000", 200)):
        got, headers, _ = ask("/train/x", method="POST", authorization=header, origin=origin)
        assert got == status
        assert not [h for h in headers if h.startswith("access-control")]
    assert ask("/info/", authorization=header, host="evil.example")[0] == 421


@pytest.mark.parametrize("public_name", ["Labels.Example.org"])
def test_a_reverse_proxy_is_reached_by_its_name_alone(ask: Request, accounts: Accounts) -> None:
    header = f"Bearer {accounts.add('ann', 'admin')}"
    page = "https://labels.example.org"
    for host in ("labels.example.org", "127.0.0.1:8000"):  # some proxies keep the name, others do not
        assert ask("/info/", authorization=header, host=host)[0] == 200
        assert ask("/train/x", method="POST", authorization=header, host=host, origin=page)[0] == 200
        assert ask("/train/x", method="POST", authorization=header, host=host, origin=f"{page}:8443")[0] == 200
        for other in (
            "https://evil.example",
            "https://labels.example.org.evil.example",
            "https://evil.example/labels.example.org",
        ):
            assert ask("/train/x", method="POST", authorization=header, host=host, origin=other)[0] == 403
    assert ask("/info/", authorization=header, host="evil.example")[0] == 421


@pytest.mark.row(12)
def test_a_body_that_is_too_large_slow_or_lying_is_refused(ask: Request, accounts: Accounts) -> None:
    header = f"Bearer {accounts.add('ann', 'admin')}"
    assert ask("/datastore/label", method="PUT", authorization=header, body=(b"x" * 1000,))[0] == 200
    assert ask("/datastore/label", method="PUT", authorization=header, content_length="1001")[0] == 413
    assert ask("/datastore/label", method="PUT", authorization=header, body=(b"x" * 600, b"x" * 600))[0] == 413
    assert ask("/datastore/label", method="PUT", authorization=header, content_length="many")[0] == 400
    assert ask("/datastore/label", method="PUT", authorization=header, body=(b"x",), unfinished=True)[0] == 408  # after 0.2 s
