"""The events of a case, one small JSON file per event beside the labels. They are the source of truth of the store.

    cases/<case>/000001-case.json                 the image was found or uploaded
    cases/<case>/000002-label.json                a revision was submitted ...
    cases/<case>/000002-3f9a1c5b7d20.nii.gz       ... and this is its label
    cases/<case>/000003-review.json               a reviewer's opinion of a revision
    cases/<case>/000004-queue.json                a model proposed regions ...
    cases/<case>/000005-answer.json               ... and an annotator answered one

An event is never changed. The index (``index.sqlite``) is derived from the events and can be rebuilt.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from minivess.errors import StoreError
from minivess.paths import file_sha256, write_json

EventKind = Literal["case", "info", "label", "withdraw", "settle", "review", "queue", "answer", "remove"]
FOLDER = "cases"


@dataclass(frozen=True)
class Event:
    """One change of a case.

    Attributes:
        image_id: The image.
        number: Position in the history of the case, from 1; the number of a label revision is the number of its event.
        kind: What was done.
        actor: Who did it.
        body: Values of this kind of event, as JSON.
        time_utc: When, by the clock of the server; events are ordered by number, not by time.
    """

    image_id: str
    number: int
    kind: EventKind
    actor: str
    body: dict[str, Any] = field(default_factory=dict)
    time_utc: str = field(default_factory=lambda: _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def event_path(root: Path, event: Event) -> Path:
    """Return the path of an event's file.

    Args:
        root: Folder of the store.
        event: The event.
    """
    return root / FOLDER / event.image_id / f"{event.number:06d}-{event.kind}.json"


def label_path(root: Path, image_id: str, number: int, sha256: str) -> Path:
    """Return the path of the label file of a revision.

    Args:
        root: Folder of the store.
        image_id: The image.
        number: Number of the revision.
        sha256: Hash of the label file; its first 12 digits are in the name.
    """
    return root / FOLDER / image_id / f"{number:06d}-{sha256[:12]}.nii.gz"


def write_event(root: Path, event: Event) -> Path:
    """Write the file of an event; it is on the disk when this returns.

    Args:
        root: Folder of the store.
        event: The event.

    Returns:
        The path of the file.

    Raises:
        OutputError: When the file cannot be written.
    """
    path = event_path(root, event)
    content = {
        "case": event.image_id,
        "number": event.number,
        "kind": event.kind,
        "actor": event.actor,
        "time_utc": event.time_utc,
    }
    write_json(path, {**content, "body": event.body})
    return path


def read_event(path: Path) -> Event:
    """Read the file of an event.

    Raises:
        StoreError: When the file is damaged, or contains another event than its name states.
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
            f"{path} is damaged ({error!r}). Restore a copy of it, or move it away and run `minivess store repair`."
        ) from error
    if (
        event.kind not in get_args(EventKind)
        or path.name != f"{event.number:06d}-{event.kind}.json"
        or event.image_id != path.parent.name
    ):
        raise StoreError(f"{path} does not contain the event that its name states. Restore a copy of it.")
    return event


def numbers(folder: Path) -> list[int]:
    """List the numbers of the events in the folder of a case, in order."""
    return sorted(int(f.name[:6]) for f in folder.glob("[0-9]*-*.json") if f.name[:6].isdigit())


def events_of(folder: Path, *, after: int = 0) -> Iterator[Event]:
    """Read the events of a case in order.

    Args:
        folder: Folder of the case.
        after: Only events with a higher number.

    Raises:
        StoreError: When the file of an event is damaged.
    """
    for path in sorted(folder.glob("[0-9]*-*.json")):
        if int(path.name[:6]) > after:
            yield read_event(path)


def label_fault(root: Path, event: Event) -> str:
    """Check the label file of a revision against its recorded hash.

    Args:
        root: Folder of the store.
        event: The event of the revision.

    Returns:
        What is wrong, in words; empty when the file is intact.
    """
    path = label_path(root, event.image_id, event.number, event.body["sha256"])
    if not path.is_file():
        return f"{path} is missing"
    return "" if file_sha256(path) == event.body["sha256"] else f"{path} is not the file that was submitted"
