"""Time from an answer to the next region on the screen, on a stack of 512 x 512 x 64 voxels: the page and the Slicer module.

    python benchmarks/seat_latency.py --bundle MODEL/segresnet

A scripted annotator presses A (accept) and waits until the crosshair and the frame are at the next region and the views are
drawn; the module's panel likewise (Slicer's real core and views, stand-ins for Qt's half; `make slicer-test` installs it). Beside
them, in the same run: the two requests alone. Without a GPU both draw in software.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import requests
from held_out import table
from playwright.sync_api import sync_playwright

from minivess.models import weights_path
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-sandbox"]
#: Presses A, waits until the next region is drawn, and returns the milliseconds.
NEXT = """async () => { const { review, viewer } = window.minivess; const before = review.regions.current.id; const start = performance.now()
    document.dispatchEvent(new KeyboardEvent('keydown', { key: 'a', bubbles: true }))
    while (!review.regions.current || review.regions.current.id === before) await new Promise((done) => setTimeout(done, 1))
    viewer.nv.gl.finish(); return performance.now() - start }"""


def by_page(url: str, token: str, image: str, count: int) -> list[float]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 760})
        page.goto(f"{url}/app/")
        page.fill("#token", token)
        page.click("#connect button")
        page.wait_for_function("() => window.minivess.review?.regions.current", timeout=3_600_000)
        page.select_option("#image", image)
        page.wait_for_function(
            f"() => window.minivess.review.image?.name === '{image}' && window.minivess.review.regions.current", timeout=600_000
        )
        page.evaluate("() => window.minivess.review.queue.then(() => true)")
        times = []
        for _ in range(count):
            times.append(page.evaluate(NEXT))
            page.evaluate("() => window.minivess.review.queue.then(() => true)")
            page.wait_for_timeout(700)  # the annotator looks
        browser.close()
    return times


def by_module(url: str, token: str, image: str, count: int) -> list[float]:
    python = ROOT / ".venv-slicer" / "bin" / "python"
    seat = [str(python), str(ROOT / "slicer_plugin" / "harness" / "seat.py"), url, token, image, str(count)]
    done = subprocess.run(seat, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("\n".join(line[:300] for line in done.stderr.splitlines() if "ERR|" not in line)[:4000])
    return json.loads(done.stdout.splitlines()[-1])


def by_requests(url: str, token: str, image: str, count: int) -> list[float]:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    item = session.post(f"{url}/review/next?image={image}", timeout=60).json()["place"]
    times = []
    for _ in range(count):
        start = time.perf_counter()
        session.post(f"{url}/review/places/{item['id']}/answer", data={"verdict": "accepted"}, timeout=60).raise_for_status()
        item = session.post(f"{url}/review/next?image={image}", timeout=60).json()["place"]
        times.append(1000 * (time.perf_counter() - start))
        time.sleep(0.7)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="a trained bundle")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 64))
    parser.add_argument(
        "--places", type=int, default=60, help="answers of each way; from 50 on the server trains its ranker with them"
    )
    parser.add_argument("--json", dest="out", type=Path, help="write all times there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        image = make_sample("capillary", 0, shape=tuple(arguments.shape)).image
        ways = {"page": ("the page, drawn", by_page), "module": ("the Slicer module, drawn", by_module)}
        ways["requests"] = ("the two requests alone", by_requests)
        for name in ways:  # a stack each, so that all are at the same point of a review
            write_volume(image, folder / "studies" / f"{name}.nii.gz")
        publish(weights_path(arguments.bundle), copy_bundle(arguments.bundle, folder / "model" / "segresnet"))
        token = Accounts(accounts_path(folder)).add("ann", "annotator")
        conf = {"model_dir": str(folder / "model"), "unit": "um", "epistemic_enabled": "false"}
        launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
        with LabelServer(launch, log=folder / "log") as server:
            for name in ways:
                answer = requests.post(
                    f"{server.url}/infer/segresnet?image={name}&output=json",
                    headers={"Authorization": f"Bearer {token}"},
                    timeout=600,
                )
                answer.raise_for_status()
            times = {words: way(server.url, token, name, arguments.places) for name, (words, way) in ways.items()}
    rows = [
        {"way": way, "places": len(ms), "p50 ms": float(np.median(ms)), "p95 ms": float(np.percentile(ms, 95))}
        for way, ms in times.items()
    ]
    print(table(rows))
    if arguments.out:
        arguments.out.write_text(json.dumps(times))


if __name__ == "__main__":
    main()
