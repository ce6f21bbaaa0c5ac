"""Compare the files of a store with its audit chain: events, labels, and files that belong to neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minivess.store.audit import AuditChain, Position
from minivess.store.chain_events import ChainEvents
from minivess.store.events import FOLDER, file_fault, label_path


@dataclass(frozen=True)
class FileCheck:
    """The result of a comparison of files and chain.

    Attributes:
        events: Number of events that agree with the chain.
        faults: Events and labels that are missing or were changed, in words.
        not_in_chain: Files among the cases that the chain does not contain: an operation that did not succeed left them, or
            somebody put them there. They are ignored.
        missing: Files that the chain names and that are not there.
    """

    events: int
    faults: list[str]
    not_in_chain: list[Path]
    missing: list[Path] = field(default_factory=list)


def check_files(root: Path, audit: AuditChain) -> FileCheck:
    """Compare every event and every label of a store with the audit chain.

    Args:
        root: Folder of the store.
        audit: Its chain.

    Raises:
        StoreError: When an entry of the chain is damaged.
    """
    found = set(_files(root))  # first: what is entered meanwhile is then in the chain, too
    faults: list[str] = []
    expected: set[Path] = set()
    count = 0
    for event, fault, image_id, _, files in ChainEvents(root, audit).after(Position(0, 0)):
        expected |= set(files)  # also of an event that is damaged: its label waits for it
        if fault:
            faults.append(f"{image_id}: {fault}")
        if event is None:
            continue
        count += 1
        if event.kind == "label":
            label = label_path(root, event.image_id, event.number, event.body["sha256"])
            if fault := file_fault(label, event.body["sha256"]):
                faults.append(f"{image_id}: {fault}")
    changed = {path for path in found - expected if any(path.name in fault for fault in faults)}
    return FileCheck(count, faults, sorted(found - expected - changed), sorted(expected - found))


def _files(root: Path) -> Iterator[Path]:
    for folder in (path for path in (root / FOLDER).glob("[!.]*") if path.is_dir()):  # shares of Windows put files there
        yield from (file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
