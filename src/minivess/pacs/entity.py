"""DICOM applications: ours, and the ones that results are sent to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pynetdicom import AE

from minivess.errors import UsageError

#: So long an answer is waited for.
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Peer:
    """A DICOM application that results are sent to.

    Attributes:
        host: Its address.
        port: Its port.
        title: Its AE title.
    """

    host: str
    port: int
    title: str


def parse_peer(text: str) -> Peer:
    """Read AET@HOST:PORT.

    Raises:
        UsageError: When it is something else.
    """
    match = re.fullmatch(r"(?P<title>[^@]+)@(?P<host>[^@\s]+):(?P<port>\d{1,5})", text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise UsageError(f"A DICOM application is AET@HOST:PORT, for example PACS@10.0.0.5:104. Got {text!r}.")
    return Peer(match["host"].strip("[]"), int(match["port"]), check_title(match["title"]))


def check_title(title: str) -> str:
    """Return an AE title (PS3.5, table 6.2-1).

    Raises:
        UsageError: When it is none.
    """
    if not re.fullmatch(r"[\x20-\x5b\x5d-\x7e]{1,16}", title) or not title.strip():
        raise UsageError(f"An AE title has 1 to 16 ASCII characters, no backslash. Got {title!r}.")
    return title


def new_entity(title: str) -> AE:
    """Return our DICOM application, with an end to every wait."""
    entity = AE(ae_title=title)
    entity.connection_timeout = 10.0
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
    return entity
