"""Eight processes submit ten labels each: how many are stored, in our store and in MONAI Label's.

python benchmarks/store_writers.py                # about half a minute
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
from monailabel.datastore.local import LocalDatastore

from minivess.store import LabelStore
from minivess.volume import Volume, write_volume

WRITERS, LABELS, IMAGES = 8, 10, 10


def studies_in(folder: Path) -> Path:
    for index in range(IMAGES):
        array = np.random.default_rng(index).integers(0, 4000, (64, 64, 8)).astype(np.uint16)
        write_volume(Volume(array, np.diag([0.6, 0.6, 5.0, 1.0]), "um"), folder / "studies" / f"image{index}.nii.gz")
    mask = Volume((array > 3000).astype(np.uint8), np.diag([0.6, 0.6, 5.0, 1.0]), "um")
    write_volume(mask, folder / "label.nii.gz")
    return folder / "studies"


def submit_ours(studies: Path, label: Path, writer: int) -> None:
    store = LabelStore(studies)
    for turn in range(LABELS):
        store.submit(label, image_id=f"image{turn}", actor=f"w{writer}", tag=f"by{writer}")


def submit_stock(studies: Path, label: Path, writer: int) -> None:
    store = LocalDatastore(str(studies), extensions=["*.nii.gz"])
    for turn in range(LABELS):
        store.save_label(f"image{turn}", str(label), f"by{writer}", {})


def ours_left(studies: Path) -> tuple[int, int, str]:
    store = LabelStore(studies)
    files = len(list((store.root / "cases").rglob("*.nii.gz")))
    verdict = store.journal.audit.verify()
    return files, sum(store.counts().values()), f"{'holds' if verdict.ok else 'broken'}, {verdict.entries} entries"


def stock_left(studies: Path) -> tuple[int, int, str]:
    index = json.loads((studies / "datastore_v2.json").read_text())
    entries = sum(len(row["labels"]) for row in index["objects"].values())
    return len(list((studies / "labels").rglob("*.nii.gz"))), entries, "none"


def measure(
    submit: Callable[[Path, Path, int], None], left: Callable[[Path], tuple[int, int, str]]
) -> tuple[int, int, str, float]:
    with tempfile.TemporaryDirectory() as name:
        studies = studies_in(Path(name))
        LabelStore(studies).images.scan() if submit is submit_ours else LocalDatastore(str(studies), extensions=["*.nii.gz"])
        start = time.monotonic()
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=submit, args=(studies, Path(name) / "label.nii.gz", w)) for w in range(WRITERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds = time.monotonic() - start
        return (*left(studies), seconds)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    logging.disable(logging.INFO)
    print(
        f"| {WRITERS} processes x {LABELS} labels | label files | index entries | audit chain | seconds |\n|---|---|---|---|---|"
    )
    for kind, submit, left in (("ours", submit_ours, ours_left), ("stock", submit_stock, stock_left)):
        files, entries, chain, seconds = measure(submit, left)
        print(f"| {kind} | {files} | {entries} | {chain} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
