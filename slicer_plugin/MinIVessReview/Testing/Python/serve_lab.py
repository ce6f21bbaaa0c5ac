"""Run by the server's own environment: a server with three images; says `ready URL TOKEN TOKEN` and serves until it is ended."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT / "tests"))

from minivess.quiet import prepare_process

prepare_process()

import torch
from geometries import geometries
from monai.bundle import ConfigParser

from minivess.models import save_weights, weights_path
from minivess.server import LabelServer, People, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume


def main(folder: Path) -> None:
    for index, (name, affine) in enumerate(geometries().items()):
        sample = make_sample("capillary", index, shape=(160, 144, 12)).image
        write_volume(Volume(sample.array, affine, "um"), folder / "studies" / f"{name}.nii.gz")
    bundle = copy_bundle(ROOT / "bundles" / "segresnet", folder / "made" / "segresnet")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def"), weights_path(bundle), {"made_by": "serve_lab"})
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    people = People(accounts_path(folder))
    tokens = [people.add(name, "annotator") for name in ("ann", "bob")]
    conf = {"model_dir": str(folder / "model"), "unit": "um", "epistemic_enabled": "false"}
    launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "log") as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("ready", server.url, *tokens, flush=True)
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
