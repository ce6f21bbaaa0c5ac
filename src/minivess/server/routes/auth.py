"""Authentication as MONAI Label's clients expect it: ``/auth/``."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException

from minivess.server.accounts import Accounts
from minivess.server.guard import WRONG_TOKEN_S
from minivess.server.monai_label import monai_user
from minivess.server.roles import requires

router = APIRouter(prefix="/auth", tags=["Auth"])


@router.get("/", summary="Whether a token is needed", dependencies=[requires("reader")])
async def auth() -> dict[str, Any]:
    """Return that authentication is enabled."""
    return {"enabled": True, "client_id": "", "realm": ""}


@router.post("/token", summary="Exchange user name and password (the token) for the token", dependencies=[requires("reader")])
async def token(request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]) -> dict[str, str]:
    """Check name and token."""
    accounts: Accounts = request.app.state.accounts
    account = accounts.find_by_token(password)
    if account is None or account.name != username:
        await asyncio.sleep(WRONG_TOKEN_S)
        raise HTTPException(401, "Name and token do not match. The password is the token of your account.")
    return {"access_token": password, "token_type": "bearer"}


@router.get("/token/valid", summary="The current user", dependencies=[requires("reader")])
async def valid(request: Request) -> dict[str, Any]:
    """Return the current user in MONAI Label's form."""
    return dict(monai_user(request).model_dump())
