"""Who may come in, and how much may they bring: the first thing that every request meets."""

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
from minivess.server.answers import error_answer
from minivess.server.logs import request_id
from minivess.server.loopback import is_loopback
from minivess.server.people import People, Person, Role
from minivess.store.actor import current_actor
from minivess.store.names import check_name

#: Paths that hold no data and need no token.
OPEN = ("/healthz", "/readyz", "/auth/", "/auth/token", "/", "/openapi.json", "/favicon.ico", "/app")
#: The page in the browser: files that are the same for everybody.
PAGE = "/app/"
#: Query parameters that become names of cases, labels and tags.
NAMES = {"image": "The image id", "id": "The id", "label": "The label id", "tag": "The tag", "session_id": "The session id"}
#: Where MONAI Label asks for less than it should; the first that fits decides.
NEEDED: tuple[tuple[str, str, Role], ...] = (
    ("PUT", "/model/", "admin"),
    ("DELETE", "/model/", "admin"),
    ("GET", "/logs", "admin"),
    ("DELETE", "/datastore", "admin"),
    ("POST", "/activelearning/", "annotator"),
    ("POST", "/infer/", "annotator"),
    ("PUT", "/session/", "annotator"),
    ("POST", "/labels/", "reviewer"),
    ("POST", "/review/", "annotator"),
    ("DELETE", "/review/", "annotator"),
    ("POST", "/train/", "admin"),
    ("DELETE", "/train/", "admin"),
    ("POST", "/scoring/", "annotator"),
    ("DELETE", "/scoring/", "annotator"),
    ("POST", "/batch/", "admin"),
    ("DELETE", "/batch/", "admin"),
    ("PUT", "/datastore/image/info", "reviewer"),  # whom an image belongs to decides what is held out
    ("PUT", "/datastore/label/info", "reviewer"),  # where MONAI Label's reviewer says approved or flagged
    ("PUT", "/datastore/updatelabelinfo", "reviewer"),
)
_CHANGING = ("POST", "PUT", "DELETE", "PATCH")


@dataclass(frozen=True)
class Limits:
    """How much one request may bring.

    Attributes:
        body_bytes: Size of its body.
        idle_s: Silence in the middle of a body.
        body_s: Time for all of it.
    """

    body_bytes: int = 2 * 2**30
    idle_s: float = 30.0
    body_s: float = 900.0


class Guard:
    """ASGI middleware: token, role, names, origin, size and time; sets who acts for all that comes after."""

    def __init__(
        self,
        app: ASGIApp,
        people: People,
        *,
        limits: Limits | None = None,
        loopback_only: bool = True,
        on_refusal: Callable[[Person, str], Awaitable[None]] | None = None,
    ) -> None:
        """Stand before an application.

        Args:
            app: The application.
            people: Who is known.
            limits: How much a request may bring.
            loopback_only: The server listens on a loopback address, and is called by no other name.
            on_refusal: Told when somebody who is known asks for what their role may not do.
        """
        self.app = app
        self.people = people
        self.limits = limits or Limits()
        self.loopback_only = loopback_only
        self.on_refusal = on_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope["minivess.request_id"] = _request_id(scope)
        send = _with_headers(send, scope["minivess.request_id"])
        try:
            person = await self._admit(scope)
        except HTTPException as error:
            await error_answer(error.status_code, "HTTPError", error.detail, scope["minivess.request_id"])(scope, receive, send)
            return
        except MinivessError as error:
            answer = error_answer(error.http_status, type(error).__name__, str(error), scope["minivess.request_id"])
            await answer(scope, receive, send)
            return
        scope["minivess.person"] = person
        limits = replace(self.limits, body_bytes=min(self.limits.body_bytes, _body_bytes(scope)))
        actor, name = current_actor.set(person.name if person else ""), request_id.set(scope["minivess.request_id"])
        try:
            await self.app(scope, _limited(receive, limits), send)
        except HTTPException as error:  # raised before an application had a chance to answer it
            await error_answer(error.status_code, "HTTPError", error.detail, scope["minivess.request_id"])(scope, receive, send)
        finally:
            current_actor.reset(actor)
            request_id.reset(name)

    async def _admit(self, scope: Scope) -> Person | None:
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        self._check_host(headers)
        _check_origin(headers, method)
        _check_names(scope)
        self._check_length(headers)
        if path in OPEN or (path.startswith(PAGE) and method in ("GET", "HEAD")):
            return None
        person = self._person(headers.get("authorization", ""))
        if person is None:
            raise HTTPException(401, "A token is needed: Authorization: Bearer TOKEN. Whoever runs the server gives you one.")
        needed: Role = next((role for verb, prefix, role in NEEDED if method == verb and path.startswith(prefix)), "reader")
        if not person.may(needed):
            if self.on_refusal is not None:
                await self.on_refusal(person, f"{method} {path.split('/')[1]}")
            raise HTTPException(
                403, f"{method} {path} needs the role {needed}; yours is {person.role}. Ask whoever runs the server."
            )
        return person

    def _person(self, authorization: str) -> Person | None:
        """Find who it is by a token, alone or as the password to their name, as ``curl -u`` and ``~/.netrc`` send it."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.people.of_token(token.strip())
        if scheme.lower() != "basic":
            return None
        try:
            name, _, token = base64.b64decode(token, validate=True).decode().partition(":")
        except ValueError:
            return None
        person = self.people.of_token(token)
        return person if person is not None and person.name == name else None

    def _check_host(self, headers: Headers) -> None:
        """Refuse to be called by a strange name: a web page could else point its own name at this address."""
        name = (urlsplit(f"//{headers.get('host', '')}").hostname or "").lower()
        if self.loopback_only and not is_loopback(name):
            raise HTTPException(421, f"This server is not called {name[:80]!r}. Call it by its address, such as 127.0.0.1.")

    def _check_length(self, headers: Headers) -> None:
        stated = headers.get("content-length", "0")
        if not stated.isdigit():
            raise HTTPException(400, "Content-Length is no number.")
        if int(stated) > self.limits.body_bytes:
            raise HTTPException(413, f"The request brings {int(stated)} bytes; allowed {self.limits.body_bytes}.")


def _body_bytes(scope: Scope) -> int:
    """Say how large a body may be: only some addresses take files, and some take anything from anybody."""
    path = scope["path"]
    if path in OPEN:
        return 2**16
    return 2**62 if path.startswith(("/datastore/", "/infer/", "/session/", "/model/", "/review/places/")) else 2**20


def _request_id(scope: Scope) -> str:
    """Take the client's name for its request, if it is one, or make one."""
    stated = Headers(scope=scope).get("x-request-id", "")
    return stated if re.fullmatch(r"[0-9A-Za-z-]{8,64}", stated) else uuid.uuid4().hex


def _check_origin(headers: Headers, method: str) -> None:
    """Refuse changes asked for by a page of another origin; no page of another origin may read answers either: no CORS."""
    origin = headers.get("origin")
    if origin and method in _CHANGING and origin.split("://")[-1] != headers.get("host"):
        raise HTTPException(403, "Requests from web pages of another origin are not taken.")


def _check_names(scope: Scope) -> None:
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for key, value in query:
        if key in NAMES and value:
            check_name(value, NAMES[key])
    parts = [part for part in scope["path"].split("/") if part]
    if ".." in parts or "\0" in scope["path"] or len(scope["path"]) > 400:
        raise UnsafeFileError("The address holds '..' or is too long.")
    if len(parts) >= 2 and parts[0] == "labels":
        check_name(parts[1], "The image id")
    if len(parts) == 2 and parts[0] in ("infer", "train", "scoring", "activelearning", "model", "session"):
        check_name(parts[1], f"The name after /{parts[0]}/")


def _limited(receive: Receive, limits: Limits) -> Receive:
    """Count what comes, and wait only so long for it."""
    got, started = 0, time.monotonic()

    async def next_message() -> Message:
        nonlocal got
        try:
            message = await asyncio.wait_for(receive(), limits.idle_s) if got >= 0 else await receive()
        except TimeoutError as error:
            raise HTTPException(408, f"Nothing came for {limits.idle_s:.0f} s. Send the request again.") from error
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > limits.body_bytes:
                raise HTTPException(413, f"The request brings more than {limits.body_bytes} bytes.")
            if time.monotonic() - started > limits.body_s:
                raise HTTPException(408, f"The body took longer than {limits.body_s:.0f} s.")
            if not message.get("more_body", False):
                got = -1  # from now on only a disconnect is waited for, which may take as long as the answer
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
