"""Read the events that the audit chain contains: an event counts when the chain has an entry with the hash of its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minivess.errors import StoreError
from minivess.store.audit import AuditChain, Position
from minivess.store.events import FOLDER, Event, label_path, read_event


class ChainEvent(NamedTuple):
    """One entry of the chain with its event.

    Attributes:
        event: The event; None when the entry has none, or its file is missing or changed.
        fault: What is wrong with the file, in words; empty when nothing is.
        image_id: The image; empty when the entry concerns none, or its case is missing.
        end: Position in the chain after the entry.
        files: Files of the store that the entry names: of the event, and of its label.
    """

    event: Event | None
    fault: str
    image_id: str
    end: Position
    files: tuple[Path, ...] = ()


class ChainEvents:
    """The events of a store in the order of its audit chain."""

    def __init__(self, root: Path, audit: AuditChain) -> None:
        """Use the cases and the chain of a store.

        Args:
            root: Folder of the store.
            audit: Its chain.
        """
        self._root = root
        self._audit = audit
        self._names: dict[str, str] = {}

    def after(self, start: Position) -> Iterator[ChainEvent]:
        """Read the entries after a position.

        Raises:
            StoreError: When an entry of the chain is damaged.
        """
        for entry, end in self._audit.entries_after(start):
            details = entry.get("details") or {}
            if "event" not in details:
                yield ChainEvent(None, "", "", end)
                continue
            image_id = self._image_id(entry["case_hmac"])
            if not image_id:
                yield ChainEvent(None, f"the folder of its case is missing (entry {end.seq})", str(entry["case_hmac"]), end)
                continue
            kind, number = str(entry["action"]).partition(".")[0], int(details["number"])
            path = self._root / FOLDER / image_id / f"{number:06d}-{kind}.json"
            label = label_path(self._root, image_id, number, str(details.get("sha256", ""))) if kind == "label" else None
            event, fault = self._read(path, entry, details)
            yield ChainEvent(event, fault, image_id, end, (path, label) if label else (path,))

    def _read(self, path: Path, entry: Mapping[str, Any], details: Mapping[str, Any]) -> tuple[Event | None, str]:
        if not path.is_file():
            return None, f"{path.name} is missing"
        try:
            event, sha256 = read_event(path)
        except StoreError as error:
            return None, str(error)
        if sha256 != details["event"] or event.actor != entry["actor"]:
            return None, f"{path.name} is not the event that was recorded"
        return event, ""

    def _image_id(self, case_hmac: str) -> str:
        if case_hmac not in self._names:
            folders = (f.name for f in (self._root / FOLDER).iterdir() if not f.name.startswith("."))
            self._names = {self._audit.case_hmac(name): name for name in folders}
        return self._names.get(case_hmac, "")
