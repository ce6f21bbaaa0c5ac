"""How the server says no: one form of JSON for every error, with the words in ``detail``, where MONAI Label's clients look."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException

from minivess.errors import MinivessError

_logger = logging.getLogger(__name__)


def error_answer(status: int, kind: str, detail: Any, request_id: str) -> JSONResponse:
    """Make the answer: ``error`` is a name for programs, ``detail`` is for people, ``request_id`` finds it in the log."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": kind, "detail": detail, "request_id": request_id}, status_code=status, headers=headers)


def answer_errors(app: FastAPI) -> None:
    """Let an application answer every exception in this form."""
    app.exception_handler(MinivessError)(_refused)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(MONAILabelException)(_monai_label)
    app.exception_handler(Exception)(_fault)


async def _refused(request: Request, error: MinivessError) -> JSONResponse:
    return error_answer(error.http_status, type(error).__name__, str(error), _id(request))


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    kind, sign, rest = str(error.detail).partition(": ")
    ours = sign and kind.endswith("Error") and kind.isidentifier()
    # MONAI Label says 500 where a request names nothing, or what is not there; what is a fault of the server never comes here.
    status = 400 if error.status_code == 500 and not ours else error.status_code
    return error_answer(status, kind if ours else "HTTPError", rest if ours else error.detail, _id(request))


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    places = [f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in error.errors()[:5]]
    return error_answer(422, "RequestValidationError", "; ".join(places), _id(request))


async def _monai_label(request: Request, error: MONAILabelException) -> JSONResponse:
    return error_answer(400, "InputError", str(error.msg), _id(request))


async def _fault(request: Request, error: Exception) -> JSONResponse:
    _logger.error("request %s failed", _id(request), exc_info=error)
    said = "This is a fault of the server, not of the request. Report it with the request_id; the log has the rest."
    return error_answer(500, "InternalError", said, _id(request))


def _id(request: Request) -> str:
    return str(request.scope.get("minivess.request_id", ""))
