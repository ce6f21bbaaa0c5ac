"""The log of the server: one line an event, JSON unless it goes to a terminal, with the request's id and without patient data."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")

#: Loggers whose lines quote requests, addresses and paths, which often contain names of patients.
_QUOTING = ("monailabel", "uvicorn.access", "urllib3", "dicomweb_client", "pydicom", "highdicom")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, request id and the fields of ``extra={"fields": {...}}`` as JSON."""
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
            line["exception"] = record.exc_info[0].__name__  # its message may contain the name of a file, and so of a patient
            line["traceback"] = "".join(traceback.format_tb(record.exc_info[2]))
        return json.dumps(line, default=str)


def set_up_logs() -> None:
    """Send all log lines to stderr in this form, and silence the loggers that quote requests."""
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
    logging.getLogger("timeloop").disabled = True  # MONAI Label's clock writes three lines of its own form
