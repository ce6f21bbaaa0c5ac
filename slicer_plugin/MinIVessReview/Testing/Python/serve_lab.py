"""Run in the server's own environment: a server with images. Prints `ready URL {NAME: TOKEN}` and serves until it is ended.

serve_lab.py FOLDER ours        one image of each geometry, one for each scenario, and more
serve_lab.py FOLDER training    one image
serve_lab.py FOLDER stock       one image, on MONAI Label's own server
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests"))

from minivess.process_setup import prepare_process

prepare_process()

import requests
from contract.stock import copied_app, stock_launch
from geometries import geometries
from untrained import untrained_bundle

from minivess.errors import MinivessError
from minivess.models import weights_path
from minivess.server import Accounts, LabelServer, Launch, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume

USERS = {"ann": "annotator", "bob": "annotator", "tom": "admin"}
#: Each scenario has an image of its own; the model segments it when the test opens it.
SCENARIOS = [row["name"] for row in json.loads((ROOT / "tests" / "seats" / "scenarios.json").read_text())["scenarios"]]
#: Tests that answer regions have an image each, since answers change the queue.
OTHERS = (
    "path",
    "quick",
    "outside",
    "closed",
    "away",
    "faster",
    "wrong-key",
    "listed",
    "undone",
    "conflict",
    "token",
    "gone",
    "redone",
    "stale",
    "lost-reply",
    "resubmitted",
    "away-draft",
)


def make_lab(folder: Path, kind: str, names: dict[str, object]) -> None:
    """Write the images and a model; where it is trained it starts too low, so that a training of seconds makes it better."""
    known = list(geometries())
    for name, affine in names.items():
        sample = make_sample("capillary", known.index(name) if name in known else 0, shape=(160, 144, 12))
        write_volume(Volume(sample.image.array, affine, "um"), folder / "studies" / f"{name}.nii.gz")
        write_volume(Volume(sample.mask.array, affine, "um"), folder / "truth" / f"{name}.nii.gz")
    source, made = ROOT / "bundles" / "segresnet", folder / "made" / "segresnet"
    bundle = untrained_bundle(source, made, threshold=0.6, small=False) if kind == "training" else untrained_bundle(source, made)
    tiny = bundle / "configs" / "tiny.yaml"
    tiny.write_text(tiny.read_text().replace("iterations_per_epoch: 60", "iterations_per_epoch: 20"))
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))


def prepare(folder: Path, conf: dict[str, str]) -> Launch:
    return prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)


def started(launch: Callable[[], Launch], log: Path) -> LabelServer:
    """Start a server; on another port if another process took the free one first."""
    for last in (False, False, True):
        server = LabelServer(launch(), log=log)
        try:
            return server.__enter__()
        except MinivessError:
            if last or "address already in use" not in log.read_text():
                raise
    raise AssertionError("not reached")


def main(folder: Path, kind: str) -> None:
    plain, stock = geometries()["plain"], kind == "stock"
    names = geometries() | dict.fromkeys(OTHERS, plain) if kind == "ours" else {kind: plain}
    make_lab(folder, kind, names | dict.fromkeys(SCENARIOS if kind == "ours" else (), plain))
    conf = {"model_dir": str(folder / "model"), "bundle": str(folder / "made" / "segresnet"), "preset": "tiny"}
    conf |= {"unit": "um", "epistemic_enabled": "false"}
    tokens = {}
    if stock:
        launch = partial(stock_launch, copied_app(folder), folder / "studies", *(word for pair in conf.items() for word in pair))
    else:
        accounts = Accounts(accounts_path(folder))
        tokens = {name: accounts.add(name, role) for name, role in USERS.items()}
        launch = partial(prepare, folder, conf)
    server = started(launch, folder / "log")
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        for name in () if stock else names:  # all get their queue before the first answer, from which the server learns
            path = f"{server.url}/infer/segresnet?image={name}&output=json"
            requests.post(path, headers={"Authorization": f"Bearer {tokens['ann']}"}, timeout=120).raise_for_status()
        print("ready", server.url, json.dumps(tokens), flush=True)
        signal.pause()
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
