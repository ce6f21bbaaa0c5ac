"""Make the index again from the files, and look whether each label is still the one that was submitted."""

from __future__ import annotations

import shutil
from typing import Any

from minivess.store.events import FOLDER, events_of, label_fault
from minivess.store.store import LabelStore


def repair_store(store: LabelStore) -> dict[str, Any]:
    """Repair a store that nobody else uses at this moment, and take away what killed processes left half done.

    Returns:
        ``events``: how many events the index was made from; ``faults``: labels that are missing or changed, in words.

    Raises:
        StoreError: When an event's file is damaged; it names the file.
    """
    count = store.journal.index.rebuild("asked for")
    for leftover in [*store.root.glob(f"{FOLDER}/*/.*"), *store.studies.glob(".upload.*")]:
        shutil.rmtree(leftover, ignore_errors=True)
    faults = []
    for folder in sorted((store.root / FOLDER).glob("*")):
        faults += [fault for event in events_of(folder) if event.kind == "label" and (fault := label_fault(store.root, event))]
    return {"events": count, "faults": faults}
