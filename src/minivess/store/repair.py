"""Rebuild the index from the chain and the events, and compare all files with the chain."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from minivess.errors import StoreError
from minivess.store.events import FOLDER
from minivess.store.store import LabelStore
from minivess.store.verification import check_files

#: Folder for files that are not in the chain.
SET_ASIDE = "set_aside"


def repair_store(store: LabelStore) -> dict[str, Any]:
    """Repair a store that no other process uses; remove temporary files that killed processes left.

    Files among the cases that the chain does not contain are moved to ``set_aside``; nothing else is changed.

    Returns:
        ``events``: number of events that the index was built from. ``faults``: events and labels that are missing or were
        changed, in words. ``set_aside``: number of files that were moved.

    Raises:
        StoreError: When another process uses the store, or the chain is damaged: it is then not known which events count.
        OSError: When a file cannot be written.
    """
    chain = store.journal.audit.verify()
    if not chain.ok:
        raise StoreError(
            f"The audit chain is damaged, so that it is not known which files count. Nothing was changed. {chain.reason} Restore "
            "the folder audit from a backup; see `minivess audit verify`."
        )
    with store.journal.lock.exclusively() as alone:
        if not alone:
            raise StoreError(
                f"Another process uses the store {store.root}, for example minivess serve. Nothing was changed. Stop it first."
            )
        store.journal.lock.sign("minivess store repair")
        for path in check_files(store.root, store.journal.audit).missing:
            _bring_back(path, store.root / SET_ASIDE / path.parent.name / path.name)
        count = store.journal.rebuild_alone("a repair was requested")
        for leftover in [*store.root.glob(f"{FOLDER}/[!.]*/.*"), *store.studies.glob(".upload.*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        store.images.remove_refused_uploads()
        checked = check_files(store.root, store.journal.audit)
        for path in checked.not_in_chain:
            target = store.root / SET_ASIDE / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            while target.exists():
                target = target.with_name(f"{target.name}.again")
            path.rename(target)
    return {"events": count, "faults": checked.faults, "set_aside": len(checked.not_in_chain)}


def _bring_back(path: Path, aside: Path) -> None:
    """Bring back a file that an earlier repair has set aside, when the chain was another one; a wrong one is set aside again."""
    if aside.is_file() and path.parent.is_dir():
        aside.rename(path)
