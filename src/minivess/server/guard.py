"""ASGI middleware: authentication, roles, host and origin checks, name validation, body size and time limits."""

from __future__ import annotations

import asyncio
import base64
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minivess.errors import MinivessError, UnsafeFileError
from minivess.loopback import is_loopback
from minivess.server.accounts import Account, Accounts
from minivess.server.dependencies import ACCOUNT_KEY, REQUEST_ID_KEY
from minivess.server.error_responses import error_response
from minivess.server.logs import request_id
from minivess.server.roles import RoleTable
from minivess.store.actor import current_actor
from minivess.store.names import check_name

#: Paths without data, which need no token.
OPEN = ("/healthz", "/readyz", "/auth/", "/auth/token", "/", "/openapi.json", "/favicon.ico", "/app")
#: The page in the browser: files that are the same for all users.
PAGE = "/app/"
#: Query parameters that are ids or tags.
NAMES = {"image": "The image id", "id": "The id", "label": "The label id", "tag": "The tag", "session_id": "The session id"}
#: Seconds that the answer to a wrong token takes, so that guessing is slow.
WRONG_TOKEN_S = 0.2
_CHANGING = ("POST", "PUT", "DELETE", "PATCH")


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    Attributes:
        body_bytes: Size of its body.
        idle_s: Time between two parts of its body.
        body_s: Time for the whole body.
    """

    body_bytes: int = 2 * 2**30
    idle_s: float = 30.0
    body_s: float = 900.0


class Guard:
    """The outermost check of each request; it also sets the current actor for everything that runs later."""

    def __init__(
        self,
        app: ASGIApp,
        accounts: Accounts,
        roles: RoleTable,
        *,
        limits: Limits | None = None,
        loopback_only: bool = True,
        public_name: str = "",
        on_refusal: Callable[[Account, str], Awaitable[None]] | None = None,
    ) -> None:
        """Protect an application.

        Args:
            app: The application.
            accounts: The accounts.
            roles: Roles that the routes of the application declare.
            limits: Limits of a request.
            loopback_only: Whether the server listens on a loopback address; other host names are refused then.
            public_name: Name by which a reverse proxy in front of the server is reached; empty for none.
            on_refusal: Called when the role of a known user does not allow a request.
        """
        self.app = app
        self.accounts = accounts
        self.roles = roles
        self.limits = limits or Limits()
        self.loopback_only = loopback_only
        self.public_name = public_name.lower()
        self.on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or answer it.

        Args:
            scope: ASGI scope.
            receive: ASGI receive.
            send: ASGI send.
        """
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope[REQUEST_ID_KEY] = _request_id(scope)
        send = _with_headers(send, scope[REQUEST_ID_KEY])
        try:
            account = await self._admit(scope)
        except HTTPException as error:
            await error_response(error.status_code, "HTTPError", error.detail, scope[REQUEST_ID_KEY])(scope, receive, send)
            return
        except MinivessError as error:
            answer = error_response(error.http_status, type(error).__name__, str(error), scope[REQUEST_ID_KEY])
            await answer(scope, receive, send)
            return
        scope[ACCOUNT_KEY] = account
        limits = replace(self.limits, body_bytes=min(self.limits.body_bytes, _body_bytes(scope)))
        actor, name = current_actor.set(account.name if account else ""), request_id.set(scope[REQUEST_ID_KEY])
        try:
            await self.app(scope, _limited(receive, limits), send)
        except HTTPException as error:  # raised outside of the application's own error handlers
            await error_response(error.status_code, "HTTPError", error.detail, scope[REQUEST_ID_KEY])(scope, receive, send)
        finally:
            current_actor.reset(actor)
            request_id.reset(name)

    async def _admit(self, scope: Scope) -> Account | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        self._check_host(headers)
        self._check_origin(headers, method)
        _check_names(scope)
        self._check_length(headers)
        if path in OPEN or (path.startswith(PAGE) and method in ("GET", "HEAD")):
            return None
        account = self._account(headers.get("authorization", ""))
        if account is None:
            await asyncio.sleep(WRONG_TOKEN_S)
            fault = "The token is not valid" if headers.get("authorization") else "A token is needed: Authorization: Bearer TOKEN"
            raise HTTPException(401, f"{fault}. The administrator of the server has one for you.")
        required = self.roles.required(scope)
        if required is None or not account.has_role(required):
            if self.on_refusal is not None:
                await self.on_refusal(account, f"{method} {path.split('/')[1]}")
            needs = f"needs the role {required}; yours is {account.role}" if required else "is not allowed to any role"
            raise HTTPException(403, f"{method} {path} {needs}. Ask the administrator of the server.")
        return account

    def _account(self, authorization: str) -> Account | None:
        """Find the account of a token, sent alone or as a password, as ``curl -u`` and ``~/.netrc`` send it."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.accounts.find_by_token(token.strip())
        if scheme.lower() != "basic":
            return None
        try:
            name, _, token = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:
            return None
        account = self.accounts.find_by_token(token)
        return account if account is not None and account.name == name else None

    def _check_host(self, headers: Headers) -> None:
        """Refuse unknown host names: otherwise a web page could let its own name point to this address (DNS rebinding)."""
        try:
            name = (urlsplit(f"//{headers.get('host', '')}").hostname or "").lower()
        except ValueError as error:  # for example an unclosed bracket
            raise HTTPException(400, "The Host header is not an address.") from error
        if self.loopback_only and not is_loopback(name) and name != (self.public_name or None):
            raise HTTPException(
                421,
                f"{name[:80]!r} is not the name of this server. Use its address, for example 127.0.0.1; behind a reverse proxy, "
                "start it with --public-name.",
            )

    def _check_origin(self, headers: Headers, method: str) -> None:
        """Refuse changes that a web page of another origin asks for; without CORS headers, it cannot read answers either."""
        origin = headers.get("origin")
        if not origin or method not in _CHANGING or origin.split("://")[-1] == headers.get("host"):
            return
        if not self.public_name or origin.lower().split("://")[-1].partition(":")[0] != self.public_name:
            raise HTTPException(403, "Requests from web pages of another origin are not allowed.")

    def _check_length(self, headers: Headers) -> None:
        stated = headers.get("content-length", "0")
        if not stated.isdigit():
            raise HTTPException(400, "Content-Length is not a number.")
        if int(stated) > self.limits.body_bytes:
            raise HTTPException(413, f"The body has {int(stated)} bytes; allowed are {self.limits.body_bytes}.")


def _body_bytes(scope: Scope) -> int:
    """Return the size limit of a body: only some routes accept files, and some are open to everybody."""
    path = scope["path"]
    if path in OPEN:
        return 2**16
    return 2**62 if path.startswith(("/datastore/", "/infer/", "/session/", "/model/", "/review/places/")) else 2**20


def _request_id(scope: Scope) -> str:
    """Return the client's id for its request if it is valid, or a new one."""
    stated = Headers(scope=scope).get("x-request-id", "")
    return stated if re.fullmatch(r"[0-9A-Za-z-]{8,64}", stated) else uuid.uuid4().hex


def _check_names(scope: Scope) -> None:
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for key, value in query:
        if key in NAMES and value:
            check_name(value, NAMES[key])
    parts = [part for part in scope["path"].split("/") if part]
    if ".." in parts or "\0" in scope["path"] or len(scope["path"]) > 400:
        raise UnsafeFileError("The path contains '..' or is too long.")
    if len(parts) >= 2 and parts[0] == "labels":
        check_name(parts[1], "The image id")
    if len(parts) == 2 and parts[0] in ("infer", "train", "scoring", "activelearning", "model", "session"):
        check_name(parts[1], f"The name after /{parts[0]}/")


def _limited(receive: Receive, limits: Limits) -> Receive:
    """Limit the size of a body, and the time to wait for it."""
    got, started = 0, time.monotonic()

    async def next_message() -> Message:
        nonlocal got
        try:
            message = await asyncio.wait_for(receive(), limits.idle_s) if got >= 0 else await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"No data was received for {limits.idle_s:.0f} s. Send the request again.") from error
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > limits.body_bytes:
                raise HTTPException(413, f"The body has more than {limits.body_bytes} bytes.")
            if time.monotonic() - started > limits.body_s:
                raise HTTPException(408, f"The body took longer than {limits.body_s:.0f} s.")
            if not message.get("more_body", False):
                got = -1  # from now on only a disconnect can follow, which may take as long as the response
        return message

    return next_message


def _with_headers(send: Send, name: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = name
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
