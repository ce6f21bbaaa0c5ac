"""What the server logs: a line a thing, JSON where no person looks at a terminal, with the request's id, no patient data."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")

#: Their lines quote requests, addresses and paths, which name images and so, often, patients.
_QUOTING = ("monailabel", "uvicorn.access", "urllib3", "dicomweb_client", "pydicom", "highdicom")


class JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write time, level, logger, message, request id, and what was given as ``extra={"fields": {...}}``."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__  # its words may name a file, and so a patient
            line["traceback"] = "".join(traceback.format_tb(record.exc_info[2]))
        return json.dumps(line, default=str)


def set_up_logs() -> None:
    """Send everything to stderr in our form, and let those be quiet who quote what they were asked."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handler.setFormatter(plain if sys.stderr.isatty() else JsonFormatter())
    for name in ("", "uvicorn", "uvicorn.error", *_QUOTING):
        logger = logging.getLogger(name)
        logger.handlers[:] = [] if name else [handler]
        logger.propagate = True
    logging.getLogger().setLevel(logging.INFO)
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.ERROR)
