"""One round of an annotator, over HTTP with MONAI Label's own client: ask, look, correct, submit, retrain."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from monailabel.client import MONAILabelClient

from minivess.errors import MinivessError
from minivess.server import LabelServer

_POLL_S = 0.5
_TIMEOUT_S = 900.0


def one_round(server: LabelServer, *, truth: Path, scratch: Path) -> dict[str, Any]:
    """Label the most uncertain image with what is true, and retrain.

    Args:
        server: The running server.
        truth: Folder with the true masks, named as the images.
        scratch: Folder for downloads.

    Returns:
        What happened: which image and why, times, the outcome of the training, the file of the prediction, and the ten places
        of the queue to look at first with the files of their pictures.

    Raises:
        MinivessError: When the training fails, or takes longer than 15 minutes.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    client = MONAILabelClient(server.url, tmpdir=str(scratch), client_id="demo")
    client.update_auth(client.auth_token("admin", server.launch.token))
    _wait_for_scores(server)
    sample = client.next_sample("uncertainty", {})
    image = sample["id"]
    _say(f"next sample: {image} ({sample['reason']}: {sample['weight']:.2f})")
    prediction, parameters = client.infer("segresnet", image, {})
    _say(f"auto-segmented {image} in {parameters['latencies']['total']:.1f} s")
    places = _first_places(server, image, scratch)
    client.save_label(image, str(truth / f"{image}.nii.gz"), tag="final", params={"label_info": [{"name": "vessel", "idx": 1}]})
    _say(f"submitted the label of {image}")
    client.train_start("segresnet", {})
    outcome = _follow_training(client)
    return {
        "labelled": image,
        "reason": sample["reason"],
        "score": sample["weight"],
        "prediction_file": prediction,
        "infer_latencies": parameters["latencies"],
        "training": outcome,
        "places": places,
    }


def _first_places(server: LabelServer, image: str, scratch: Path) -> list[dict[str, Any]]:
    """Ask which places of an image to look at first, and for their pictures."""
    with server.get(f"/review/?image={image}&limit=10") as answer:
        queue: dict[str, Any] = json.load(answer)
    for number, place in enumerate(queue["places"], start=1):
        with server.get(f"/review/places/{place['id']}/picture.png") as answer:
            place["picture"] = str(scratch / f"place{number}.png")
            Path(place["picture"]).write_bytes(answer.read())
    _say(
        f"{queue['total']} places to look at in {image}; the first: {queue['places'][0]['reason'] if queue['places'] else 'none'}"
    )
    return list(queue["places"])


def _wait_for_scores(server: LabelServer) -> None:
    """Wait for the background scoring that the server starts with."""
    deadline = time.monotonic() + _TIMEOUT_S
    _say("waiting for the uncertainty scores")
    while time.monotonic() < deadline:
        tasks = _scoring_tasks(server)
        failed = [task for task in tasks if task["status"] == "ERROR"]
        if failed:
            raise MinivessError("The scoring failed:\n" + "\n".join(failed[0]["details"]))
        if tasks and all(task["status"] == "DONE" for task in tasks):
            return
        time.sleep(_POLL_S)
    raise MinivessError("The scoring took longer than 15 minutes.")


def _scoring_tasks(server: LabelServer) -> list[dict[str, Any]]:
    try:
        with server.get("/scoring/?all=true") as answer:
            return list(json.load(answer))
    except HTTPError:  # 404: none was started yet
        return []


def _follow_training(client: MONAILabelClient) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    last = ""
    while (task := client.train_status())["status"] not in ("DONE", "ERROR", "STOPPED"):  # first it is only SUBMITTED
        lines = [line for line in task.get("details", []) if line.startswith("train:")]
        if lines and lines[-1] != last:
            last = lines[-1]
            _say(last.removeprefix("train: "))
        if time.monotonic() > deadline:
            client.train_stop()
            raise MinivessError("The training took longer than 15 minutes and was stopped.")
        time.sleep(_POLL_S)
    if task["status"] != "DONE":
        raise MinivessError("The training failed:\n" + "\n".join(task.get("details", [])))
    stats: dict[str, Any] = client.info()["train_stats"]["segresnet"]
    _say(f"training: {stats['state']}, Dice {stats['validation_dice']:.3f}")
    return stats


def _say(text: str) -> None:
    print(f"      {text}", file=sys.stderr, flush=True)
