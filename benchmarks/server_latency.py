"""How long do other clients wait? `GET /info/` by eight clients during inference and training, ours and stock.

    python benchmarks/server_latency.py                # each server for 60 s, about four minutes on two cores
    python benchmarks/server_latency.py --seconds 20

Each server gets the same studies and the same model. One client asks for inference after inference, a training runs, and
eight others ask for `/info/` every quarter of a second.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import requests
import torch
from monai.bundle import ConfigParser

from minivess.models import save_weights, weights_path
from minivess.paths import resource_path
from minivess.server import LabelServer, Launch, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle
from minivess.volume import write_volume

CLIENTS, PAUSE_S = 8, 0.25


def studies_in(folder: Path) -> Path:
    for index in range(3):
        sample = make_sample("capillary", index, shape=(512, 512, 20))
        write_volume(sample.image, folder / "studies" / f"stack{index}.nii.gz")
        write_volume(sample.mask, folder / "studies" / "labels" / "final" / f"stack{index}.nii.gz")
    return folder / "studies"


def model_in(folder: Path) -> Path:
    bundle = copy_bundle(resource_path("bundles/segresnet"), folder / "model" / "segresnet")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def"), weights_path(bundle), {"made_by": "benchmark"})
    return folder / "model"


def launch_of(kind: str, folder: Path) -> Launch:
    conf = {"model_dir": str(model_in(folder)), "preset": "tiny", "skip_scoring": "true"}
    studies = studies_in(folder)
    if kind == "ours":
        return prepare_server(studies, workspace=folder, port=free_port(), conf=conf)
    app, port = Path(shutil.copytree(resource_path("monailabel_app"), folder / "app")), free_port()
    flags = [word for pair in conf.items() for word in ("--conf", *pair)]
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies)]
    return Launch([*command, "--host", "127.0.0.1", "--port", str(port), *flags], {}, f"http://127.0.0.1:{port}", "")


def measure(kind: str, seconds: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        launch = launch_of(kind, folder)
        headers = {"Authorization": f"Bearer {launch.token}"}
        waited: list[float] = []
        inferred: list[float] = []
        with LabelServer(launch, log=folder / "server.log"):
            requests.post(
                f"{launch.url}/train/segresnet", json={"max_epochs": 1000}, headers=headers, timeout=60
            ).raise_for_status()
            until = time.monotonic() + seconds

            def ask() -> None:
                with requests.Session() as session:
                    while time.monotonic() < until:
                        start = time.monotonic()
                        session.get(f"{launch.url}/info/", headers=headers, timeout=120).raise_for_status()
                        waited.append(time.monotonic() - start)
                        time.sleep(PAUSE_S)

            def infer() -> None:
                while time.monotonic() < until:
                    start = time.monotonic()
                    query = {"image": "stack0", "output": "json"}
                    requests.post(f"{launch.url}/infer/segresnet", params=query, headers=headers, timeout=300).raise_for_status()
                    inferred.append(time.monotonic() - start)

            threads = [threading.Thread(target=ask) for _ in range(CLIENTS)] + [threading.Thread(target=infer)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        p50, p95, p99 = (float(v) * 1000 for v in np.percentile(waited, (50, 95, 99)))
        return {
            "p50 ms": p50,
            "p95 ms": p95,
            "p99 ms": p99,
            "answers": len(waited),
            "one inference s": float(np.median(inferred)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    results = {kind: measure(kind, arguments.seconds) for kind in ("ours", "stock")}
    head = list(results["ours"])
    print(f"| GET /info/, {CLIENTS} clients | " + " | ".join(head) + " |\n|" + "---|" * (len(head) + 1))
    for kind, row in results.items():
        print(f"| {kind} | " + " | ".join(f"{row[key]:.1f}" for key in head) + " |")
    print("| stock / ours | " + " | ".join(f"{results['stock'][key] / results['ours'][key]:.1f}" for key in head) + " |")


if __name__ == "__main__":
    main()
