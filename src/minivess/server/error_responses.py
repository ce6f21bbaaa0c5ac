"""The one form of every error: JSON with the message in ``detail``, where MONAI Label's clients look for it."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException

from minivess.errors import MinivessError
from minivess.server.dependencies import REQUEST_ID_KEY
from minivess.server.json_response import ValidJSONResponse

_logger = logging.getLogger(__name__)


def error_response(status: int, kind: str, detail: Any, request_id: str) -> JSONResponse:
    """Build the response.

    Args:
        status: HTTP status.
        kind: Name of the error, for programs.
        detail: Message, for people.
        request_id: Id of the request, to find it in the log.
    """
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ValidJSONResponse({"error": kind, "detail": detail, "request_id": request_id}, status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Make an application answer every exception in this form."""
    app.exception_handler(MinivessError)(_minivess_error)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(MONAILabelException)(_monai_label_error)
    app.exception_handler(Exception)(_internal_error)


async def _minivess_error(request: Request, error: MinivessError) -> JSONResponse:
    return error_response(error.http_status, type(error).__name__, without_folders(str(error)), _id(request))


def without_folders(text: str) -> str:
    """Replace each absolute path of this machine in a message by its last part: clients need no folders of the server."""
    return re.sub(r"(?<![\w./:])/(?:[^\s/:'\",]+/)+[^\s/:'\",]+", lambda match: _last_part(match[0]), text)


def _last_part(path: str) -> str:
    first = path.split("/")[1]
    return PurePosixPath(path).name if Path("/", first).is_dir() else path


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    kind, separator, rest = str(error.detail).partition(": ")
    converted = separator and kind.endswith("Error") and kind.isidentifier()  # by minivess.label_app.http_errors
    # MONAI Label answers 500 when a request names nothing, or something that does not exist; internal errors are not HTTP errors.
    status = 400 if error.status_code == 500 and not converted else error.status_code
    return error_response(
        status, kind if converted else "HTTPError", without_folders(rest) if converted else error.detail, _id(request)
    )


async def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = [f"{'.'.join(str(part) for part in row['loc'])}: {row['msg']}" for row in error.errors()[:5]]
    return error_response(422, "RequestValidationError", "; ".join(fields), _id(request))


async def _monai_label_error(request: Request, error: MONAILabelException) -> JSONResponse:
    return error_response(400, "InputError", str(error.msg), _id(request))


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    _logger.error("request %s failed", _id(request), exc_info=error)
    message = "This is an error of the server, not of the request. Report it with the request_id; details are in the log."
    return error_response(500, "InternalError", message, _id(request))


def _id(request: Request) -> str:
    return str(request.scope.get(REQUEST_ID_KEY, ""))
