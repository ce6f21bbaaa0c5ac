"""The loop over HTTP on a real stack: two annotators who know the truth, a real server, a training after each round.

    python benchmarks/review_loop.py --models runs/two_photon

The model starts with synthetic stacks alone. In each round two users ask for the next region, one after the other until each has
given so many answers: a region without a significant error (more than 2 um off) is accepted, any other is drawn by hand and answered
from the draft. Then the model is trained on the reviewed regions, and nothing else. `model` is its own prediction of the stack,
`not reviewed` the same outside the reviewed regions, `with answers` the mask of the server, `other animal` the model on a stack that
nobody reviews. At the end the mask is submitted as the label. It fails when a region is served twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from minivess.process_setup import prepare_process

prepare_process()

import edt
import numpy as np
import requests
from held_out import add_arguments, table
from two_photon import cases, load

from minivess.metrics import cldice, dsc
from minivess.models import weights_path
from minivess.paths import resource_path
from minivess.review.mask_codec import pack_mask
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.train import copy_bundle, publish
from minivess.volume import Box, read_volume, write_volume

USERS = ("ann", "bob")


class Lab:
    """A running server and its users."""

    def __init__(self, url: str, tokens: dict[str, str], folder: Path) -> None:
        self.url, self.tokens, self.folder = url, tokens, folder
        self.served: dict[str, Box] = {}
        self.lock = threading.Lock()

    def ask(self, method: str, path: str, who: str, **keywords: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        response = requests.request(method, self.url + path, headers=headers, timeout=900, **keywords)
        assert response.ok, response.text
        return response

    def volume(self, path: str) -> np.ndarray:
        file = self.folder / "volume.nrrd"
        file.write_bytes(self.ask("GET", path, "ann").content)
        return read_volume(file).array > 0

    def predicted(self, image: str) -> np.ndarray:
        file = self.folder / "prediction.nrrd"
        file.write_bytes(self.ask("POST", f"/infer/segresnet?image={image}&output=image", "ann").content)
        return read_volume(file).array > 0


def visible(truth: np.ndarray, mask: np.ndarray, spacing_um: tuple[float, ...]) -> np.ndarray:
    """Return what an annotator sees is wrong: voxels more than 2 um from the other mask."""
    far = [edt.edt(np.ascontiguousarray(~m), anisotropy=spacing_um, black_border=False) > 2 for m in (mask, truth)]
    return (truth & far[0]) | (mask & far[1])


def work(lab: Lab, who: str, image: str, truth: np.ndarray, wrong: np.ndarray, count: int, verdicts: dict[str, int]) -> None:
    for _ in range(count):
        item = lab.ask("POST", f"/review/next?image={image}", who).json()["place"]
        if item is None:
            return
        box = Box.from_json(item["box"])
        with lab.lock:
            assert item["id"] not in lab.served, f"{item['id']} was served twice"
            lab.served[item["id"]] = box
        verdict = "accepted"
        if wrong[box.slices].any():
            stroke = {"box": box, "voxels": pack_mask(truth[box.slices])}
            drawn = lab.ask("POST", f"/review/images/{image}/draft/draw", who, json=stroke).json()
            verdict = "fixed" if drawn["step"] else "accepted"  # a region beside it, answered since, had the error
        lab.ask("POST", f"/review/places/{item['id']}/answer", who, data={"verdict": verdict})
        with lab.lock:
            verdicts[verdict] = verdicts.get(verdict, 0) + 1


def review(lab: Lab, image: str, truth: np.ndarray, spacing_um: tuple[float, ...], count: int) -> dict[str, int]:
    verdicts: dict[str, int] = {}
    wrong = visible(truth, lab.volume(f"/review/images/{image}/mask"), spacing_um)
    workers = [threading.Thread(target=work, args=(lab, who, image, truth, wrong, count, verdicts)) for who in USERS]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return verdicts


def train(lab: Lab, epochs: int) -> str:
    lab.ask("POST", "/train/segresnet", "admin", json={"max_epochs": epochs})
    while True:
        status = lab.ask("GET", "/train/", "admin").json()
        if status["status"] in ("DONE", "ERROR", "STOPPED"):
            stats = lab.ask("GET", "/info/", "ann").json()["train_stats"]["segresnet"]
            return f"{stats['published_dice_before']:.3f} -> {stats['validation_dice']:.3f}, {stats['state'].split()[0]}"
        time.sleep(1)


def reviewed(lab: Lab, shape: tuple[int, ...]) -> np.ndarray:
    seen = np.zeros(shape, bool)
    for box in lab.served.values():
        seen[box.slices] = True
    return seen


def loop(lab: Lab, truths: dict[str, np.ndarray], spacing_um: tuple[float, ...], arguments: argparse.Namespace) -> list[dict]:
    rows, verdicts, state = [], {}, ""
    truth = truths["stack"]
    for number in range(arguments.rounds + 1):
        model, other = lab.predicted("stack"), lab.predicted("other")
        current, rest = lab.volume("/review/images/stack/mask"), ~reviewed(lab, truth.shape)
        rows.append(
            {
                "round": number,
                "accepted": verdicts.get("accepted", 0),
                "fixed": verdicts.get("fixed", 0),
                "looked at": float(1 - rest.mean()),
                "model Dice": dsc(truth, model),
                "model clDice": cldice(truth, model),
                "not reviewed Dice": dsc(truth & rest, model & rest),
                "with answers Dice": dsc(truth, current),
                "with answers clDice": cldice(truth, current),
                "other animal Dice": dsc(truths["other"], other),
                "other animal clDice": cldice(truths["other"], other),
                "training": state,
            }
        )
        print(table(rows).splitlines()[-1], flush=True)
        if number < arguments.rounds:
            verdicts = review(lab, "stack", truth, spacing_um, arguments.places)
            state = train(lab, arguments.epochs)
    return rows


def submit(lab: Lab) -> int:
    (lab.folder / "final.nrrd").write_bytes(lab.ask("GET", "/review/images/stack/mask", "ann").content)
    with (lab.folder / "final.nrrd").open("rb") as label:
        submitted = lab.ask(
            "PUT", "/datastore/label?image=stack&tag=final", "ann", data={"params": "{}"}, files={"label": ("stack.nrrd", label)}
        ).json()
    return int(submitted["minivess"]["revision"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--stack", default="poon2015_BBB_noLeakage", help="the stack that is reviewed")
    parser.add_argument("--other", default="burgess2014_tgMouse", help="the stack that nobody reviews")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--places", type=int, default=15, help="regions that each of the two users answers in a round")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each training")
    parser.add_argument("--json", dest="out", type=Path, help="write all rows there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truths, spacing_um = {}, (1.0, 1.0, 1.0)
        for image_id, stack in (("stack", arguments.stack), ("other", arguments.other)):
            image, label = load(next(case for case in cases(arguments.data) if case.name.startswith(stack)))
            write_volume(image, folder / "studies" / f"{image_id}.nii.gz")
            truths[image_id] = label.array > 0
            spacing_um = image.spacing_um if image_id == "stack" else spacing_um
        publish(
            weights_path(arguments.models / "synthetic"),
            copy_bundle(resource_path("bundles/segresnet"), folder / "model" / "segresnet"),
        )
        accounts = Accounts(accounts_path(folder))
        tokens = {who: accounts.add(who, "annotator") for who in USERS} | {"admin": accounts.add("boss", "admin")}
        conf = {"model_dir": str(folder / "model"), "unit": "um", "preset": "tiny", "epistemic_enabled": "false"}
        launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
        with LabelServer(launch, log=folder / "log") as server:
            lab = Lab(server.url, tokens, folder)
            rows = loop(lab, truths, spacing_um, arguments)
            revision = submit(lab)
    print(f"\n{arguments.stack}, {2 * arguments.places} regions a round\n\n{table(rows)}\n")
    print(f"{len(lab.served)} regions served, none twice; the mask was submitted as revision {revision}")
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
