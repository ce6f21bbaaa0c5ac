"""Run by the server's own environment: a server with images; says `ready URL {NAME: TOKEN}` and serves until it is ended.

serve_lab.py FOLDER ours        one image of each geometry, and more
serve_lab.py FOLDER training    one image
serve_lab.py FOLDER stock       one image, on MONAI Label's own server
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests"))

from minivess.quiet import prepare_process

prepare_process()

import requests
import torch
from contract.stock import copied_app, stock_launch
from geometries import geometries
from monai.bundle import ConfigParser

from minivess.models import save_weights, weights_path
from minivess.server import LabelServer, People, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume

#: Tests that answer places have an image each, since what is answered changes the queue.
OTHERS = (
    "path",
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
)


def make_lab(folder: Path, names: dict[str, object]) -> None:
    """Write the images and a model; its first epochs are its last, so that a training takes seconds."""
    known = list(geometries())
    for name, affine in names.items():
        sample = make_sample("capillary", known.index(name) if name in known else 0, shape=(160, 144, 12)).image
        write_volume(Volume(sample.array, affine, "um"), folder / "studies" / f"{name}.nii.gz")
    bundle = copy_bundle(ROOT / "bundles" / "segresnet", folder / "made" / "segresnet")
    tiny = bundle / "configs" / "tiny.yaml"
    tiny.write_text(
        tiny.read_text().replace("epochs: 8", "epochs: 2").replace("iterations_per_epoch: 25", "iterations_per_epoch: 2")
    )
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def"), weights_path(bundle), {"made_by": "serve_lab"})
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))


def main(folder: Path, kind: str) -> None:
    plain, stock = geometries()["plain"], kind == "stock"
    names = geometries() | dict.fromkeys(OTHERS, plain) if kind == "ours" else {kind: plain}
    make_lab(folder, names)
    conf = {"model_dir": str(folder / "model"), "bundle": str(folder / "made" / "segresnet"), "preset": "tiny"}
    conf |= {"unit": "um", "epistemic_enabled": "false"}
    tokens = {}
    if stock:
        settings = [word for pair in conf.items() for word in pair]
        launch = stock_launch(copied_app(folder), folder / "studies", *settings)
    else:
        people = People(accounts_path(folder))
        tokens = {name: people.add(name, role) for name, role in (("ann", "annotator"), ("bob", "annotator"), ("tom", "admin"))}
        launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "log") as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        for name in () if stock else names:  # all have their queue before the first answer, from which the server learns
            path = f"{server.url}/infer/segresnet?image={name}&output=json"
            requests.post(path, headers={"Authorization": f"Bearer {tokens['ann']}"}, timeout=120).raise_for_status()
        print("ready", server.url, json.dumps(tokens), flush=True)
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
