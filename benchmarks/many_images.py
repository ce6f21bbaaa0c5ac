"""Many images in one studies folder: the first scan, the second one, and what a client of the server waits for ``/info/``.

    python benchmarks/many_images.py [--images 20000]

The naive figure beside ours is a scan that enters each image in a transaction of its own, measured on the first 500 images.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.store import LabelStore, images
from minivess.volume import Volume, write_volume


def make_studies(folder: Path, count: int) -> Path:
    one = write_volume(Volume(np.zeros((8, 8, 4), np.uint8), np.diag([1.0, 1.0, 5.0, 1.0]), "um"), folder / "one.nii.gz")
    for number in range(count):
        part = folder / "studies" / f"mouse{number // 1000:02d}"
        part.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one, part / f"stack{number:05d}.nii.gz")
    return folder / "studies"


def seconds(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = make_studies(folder / "few", 500)
        batch, images._BATCH = images._BATCH, 1
        store = LabelStore(few)
        naive = seconds(store.images.scan) / 500
        store.close()
        images._BATCH = batch
        studies = make_studies(folder / "many", count)
        store = LabelStore(studies)
        first, second = seconds(store.images.scan), seconds(store.images.scan)
        store.close()
        conf = {"skip_scoring": "true", "skip_trainers": "true", "preset": "tiny"}
        launch = prepare_server(studies, workspace=folder / "work", port=free_port(), conf=conf)
        started = time.perf_counter()
        with LabelServer(launch, log=folder / "log") as server:
            ready = time.perf_counter() - started
            waits = sorted(seconds(lambda: server.get("/info/").read()) for _ in range(60))
    print(f"| {count} images | ours | one transaction each | ratio |\n|---|---|---|---|")
    print(
        f"| first scan | {first:.1f} s ({1000 * first / count:.2f} ms an image) | {1000 * naive:.2f} ms an image | {naive * count / first:.1f} |"
    )
    print(f"| second scan | {second:.2f} s | | |")
    print(f"| server ready again | {ready:.1f} s | | |")
    print(f"| /info/ p50, p95 | {statistics.median(waits):.3f} s, {waits[int(0.95 * len(waits))]:.3f} s | | |")


if __name__ == "__main__":
    main()
