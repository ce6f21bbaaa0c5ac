"""Rebuild the index from the event files, and check every label against its recorded hash."""

from __future__ import annotations

import shutil
from typing import Any

from minivess.store.events import FOLDER, events_of, label_fault
from minivess.store.store import LabelStore


def repair_store(store: LabelStore) -> dict[str, Any]:
    """Repair a store that no other process uses at this moment; remove temporary files that killed processes left.

    Returns:
        ``events``: number of events that the index was built from. ``faults``: labels that are missing or changed, in words.

    Raises:
        StoreError: When the file of an event is damaged; the message names the file.
        OSError: When the index cannot be written.
    """
    count = store.journal.index.rebuild("a repair was requested")
    for leftover in [*store.root.glob(f"{FOLDER}/*/.*"), *store.studies.glob(".upload.*")]:
        shutil.rmtree(leftover, ignore_errors=True)
    faults = []
    for folder in sorted((store.root / FOLDER).glob("*")):
        faults += [fault for event in events_of(folder) if event.kind == "label" and (fault := label_fault(store.root, event))]
    return {"events": count, "faults": faults}
