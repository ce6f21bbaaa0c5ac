"""What happened to a case, one small JSON file an event, beside the labels: the truth of the store, readable by any tool.

    cases/<case>/000001-case.json                 the image was found, or uploaded
    cases/<case>/000002-label.json                a revision was submitted ...
    cases/<case>/000002-3f9a1c5b7d20.nii.gz       ... and this is its label
    cases/<case>/000003-review.json
    cases/<case>/000004-queue.json                a model asks about places ...
    cases/<case>/000005-answer.json               ... and a person answers one

An event is never changed. The index (``index.sqlite``) is made from them and can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from minivess.errors import StoreError
from minivess.paths import sha256_of, write_json

Kind = Literal["case", "info", "label", "withdraw", "settle", "review", "queue", "answer", "remove"]
FOLDER = "cases"


@dataclass(frozen=True)
class Event:
    """One thing that happened to a case.

    Attributes:
        case: Id of the case.
        number: Place in the history of the case, from 1; the number of a label revision is that of its event.
        kind: What happened.
        actor: Who did it.
        time_utc: When, by the clock of the server; the order is that of the numbers.
        body: What belongs to the kind.
    """

    case: str
    number: int
    kind: Kind
    actor: str
    body: dict[str, Any] = field(default_factory=dict)
    time_utc: str = field(default_factory=lambda: _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def path_of(root: Path, event: Event) -> Path:
    """Name the file of an event."""
    return root / FOLDER / event.case / f"{event.number:06d}-{event.kind}.json"


def label_path(root: Path, case: str, number: int, sha256: str) -> Path:
    """Name the label file of a revision."""
    return root / FOLDER / case / f"{number:06d}-{sha256[:12]}.nii.gz"


def write_event(root: Path, event: Event) -> Path:
    """Write an event; it is on the disk when this returns."""
    path = path_of(root, event)
    content = {"case": event.case, "number": event.number, "kind": event.kind, "actor": event.actor, "time_utc": event.time_utc}
    write_json(path, {**content, "body": event.body})
    return path


def read_event(path: Path) -> Event:
    """Read an event.

    Raises:
        StoreError: When the file is damaged.
    """
    try:
        content = json.loads(path.read_text())
        event = Event(
            str(content["case"]),
            int(content["number"]),
            content["kind"],
            str(content["actor"]),
            dict(content["body"]),
            str(content["time_utc"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged ({error!r}). Put back a copy of it, or move it away and run `minivess store repair`."
        ) from error
    if event.kind not in get_args(Kind) or path.name != f"{event.number:06d}-{event.kind}.json" or event.case != path.parent.name:
        raise StoreError(f"{path} does not hold the event that its name says. Put back a copy of it.")
    return event


def numbers(folder: Path) -> list[int]:
    """List the numbers of the events in a case's folder, in order."""
    return sorted(int(f.name[:6]) for f in folder.glob("[0-9]*-*.json") if f.name[:6].isdigit())


def events_of(folder: Path, *, after: int = 0) -> Iterator[Event]:
    """Read the events of a case in order, from a number on."""
    for path in sorted(folder.glob("[0-9]*-*.json")):
        if int(path.name[:6]) > after:
            yield read_event(path)


def label_fault(root: Path, event: Event) -> str:
    """Compare the label of a revision with its hash; empty where it is whole."""
    path = label_path(root, event.case, event.number, event.body["sha256"])
    if not path.is_file():
        return f"{path} is missing"
    return "" if sha256_of(path) == event.body["sha256"] else f"{path} is not the file that was submitted"
