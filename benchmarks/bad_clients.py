"""Bad clients all at once, and what a normal client waits for ``/info/`` meanwhile; the quiet server's figure stands beside it.

    python benchmarks/bad_clients.py

At the same time: 600 requests that are never ended, 50 clients that ask ``/readyz`` without pause, 500 event streams, four labels
that claim 805 MB for a small image, and one path prompt of 200 clicks on a 256 x 256 x 20 stack.
"""

from __future__ import annotations

import argparse
import gzip
import io
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import psutil
import requests

from minivess.datasets import TrainingCase
from minivess.paths import resource_path
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish, train_bundle
from minivess.volume import write_volume


def prepare(folder: Path) -> None:
    """Write one stack and a model that was trained for one step on it."""
    sample = make_sample("capillary", 0, shape=(256, 256, 20))
    image = write_volume(sample.image, folder / "studies" / "a.nii.gz")
    label = write_volume(sample.mask, folder / "label.nii.gz")
    bundle = copy_bundle(resource_path("bundles/segresnet"), folder / "work" / "model" / "segresnet")
    few = {"epochs": 1, "iterations_per_epoch": 1, "val_interval": 1}
    case = TrainingCase(image, label, "a", unit="um")
    publish(
        train_bundle(bundle, training=[case], validation=[], output=folder / "run", preset="tiny", overrides=few).weights, bundle
    )


def bomb() -> bytes:
    """Return a NIfTI label that claims 1024 x 1024 x 768 voxels."""
    data = bytearray(nib.Nifti1Image(np.zeros((64, 64, 4), np.uint8), np.eye(4)).to_bytes())
    data[42:48] = np.array([1024, 1024, 768], np.int16).tobytes()
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        stream.write(bytes(data) + bytes(64 * 2**20))
    return packed.getvalue()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        launch = prepare_server(
            folder / "studies", workspace=folder / "work", port=free_port(), conf={"preset": "tiny", "skip_scoring": "true"}
        )
        with LabelServer(launch, log=folder / "log") as server:
            attack(server, launch.token)


def attack(server: LabelServer, token: str) -> None:  # noqa: C901 (one attack, many small clients)
    head = {"Authorization": f"Bearer {token}"}
    done, over, answers = threading.Event(), threading.Event(), Counter[str]()
    peak = [0]

    def ask(what: str, method: str, path: str, **keywords: object) -> int:
        try:
            answer = requests.request(method, server.url + path, headers={**head, "X-Request-ID": what}, timeout=120, **keywords)  # type: ignore[arg-type]
        except requests.RequestException as error:
            answers[f"{what}: {type(error).__name__}"] += 1
            return 0
        code = answer.status_code
        if keywords.get("stream") and code == 200:
            answer.content  # noqa: B018 (the stream is followed to its end)
        answers[f"{what}: {code}"] += 1
        return code

    def seconds_for_info(times: int) -> list[float]:
        spent = []
        for _ in range(times):
            start = time.monotonic()
            assert requests.get(f"{server.url}/info/", headers=head, timeout=120).status_code == 200
            spent.append(time.monotonic() - start)
            time.sleep(0.05)
        return sorted(spent)

    def watch() -> None:
        process = psutil.Process(server._process.pid)  # type: ignore[union-attr]
        while not over.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss)

    def repeat(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            while not done.is_set():
                work()

        return run

    assert ask("predict", "POST", "/infer/segresnet?image=a&output=json") == 200
    assert ask("open", "GET", "/review/images/a") == 200
    quiet = seconds_for_info(40)
    threading.Thread(target=watch, daemon=True).start()
    time.sleep(0.5)
    before, label = peak[0], bomb()
    address = (urlsplit(server.url).hostname, urlsplit(server.url).port)
    points = [[int(x), int(y), 10] for x, y in np.random.default_rng(0).integers(2, 250, (200, 2))]
    works: list[Callable[[], object]] = [repeat(lambda: ask("readyz", "GET", "/readyz"))] * 50
    works += [lambda: ask("path-of-200-clicks", "POST", "/review/images/a/draft/prompt", json={"tool": "path", "points": points})]
    works += [lambda: ask("stream", "GET", "/jobs/path-of-200-clicks/events", stream=True)] * 500
    works += [lambda: ask("bomb", "PUT", "/datastore/label?image=a&tag=final", files={"label": ("a.nii.gz", label)})] * 4
    halves = []
    for _ in range(600):
        try:
            half = socket.create_connection(address, timeout=10)
            half.sendall(b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            halves.append(half)
        except OSError as error:
            answers[f"half: {type(error).__name__}"] += 1
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    loud = seconds_for_info(100)
    done.set()
    for thread in threads:
        thread.join()
    over.set()
    for what, spent in (("quiet", quiet), ("all at once", loud)):
        p50, p95 = (spent[int(share * len(spent))] for share in (0.5, 0.95))
        print(f"/info/ {what}: p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, slowest {1000 * spent[-1]:.0f} ms")
    print(f"p95, all at once / quiet: {loud[95] / quiet[38]:.1f}")
    print(f"memory of the server: {before / 2**20:.0f} MB before, at most {peak[0] / 2**20:.0f} MB")
    print(*(f"  {what}: {count}" for what, count in sorted(answers.items())), sep="\n")


if __name__ == "__main__":
    main()
