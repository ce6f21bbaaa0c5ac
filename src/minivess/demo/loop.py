"""Simulate one round of an annotator with the client of MONAI Label: next sample, inference, label, training."""

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
#: Seconds without any progress after which the demo gives up. The whole may take as long as the machine needs.
_STALLED_S = 3600.0


def one_round(server: LabelServer, *, truth: Path, scratch: Path) -> dict[str, Any]:
    """Submit the true label of the most uncertain image, and retrain the model.

    Args:
        server: Running label server.
        truth: Folder of the true masks, with the file names of the images.
        scratch: Folder for downloads.

    Returns:
        The labelled image with the reason and score of its selection, the file and the latencies of the prediction, the
        result of the training, and the first ten items of the review queue with the files of their images.

    Raises:
        MinivessError: When the scoring or the training fails, or makes no progress for an hour.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    client = MONAILabelClient(server.url, tmpdir=str(scratch), client_id="demo")
    client.update_auth(client.auth_token("admin", server.launch.token))
    _wait_for_scores(server)
    sample = client.next_sample("uncertainty", {})
    image = sample["id"]
    _print_progress(f"next sample: {image} ({sample['reason']}: {sample['weight']:.2f})")
    prediction, parameters = client.infer("segresnet", image, {})
    _print_progress(f"auto-segmented {image} in {parameters['latencies']['total']:.1f} s")
    items = _first_queue_items(server, image, scratch)
    client.save_label(image, str(truth / f"{image}.nii.gz"), tag="final", params={"label_info": [{"name": "vessel", "idx": 1}]})
    _print_progress(f"submitted the label of {image}")
    client.train_start("segresnet", {})
    outcome = _follow_training(client)
    return {
        "labelled": image,
        "reason": sample["reason"],
        "score": sample["weight"],
        "prediction_file": prediction,
        "infer_latencies": parameters["latencies"],
        "training": outcome,
        "places": items,
    }


def _first_queue_items(server: LabelServer, image: str, scratch: Path) -> list[dict[str, Any]]:
    """Return the first ten items of an image's review queue, and download their images."""
    with server.get(f"/review/?image={image}&limit=10") as response:
        queue: dict[str, Any] = json.load(response)
    for number, item in enumerate(queue["places"], start=1):
        with server.get(f"/review/places/{item['id']}/picture.png") as response:
            item["picture"] = str(scratch / f"region{number}.png")
            Path(item["picture"]).write_bytes(response.read())
    _print_progress(
        f"{queue['total']} regions to review in {image}; the first: {queue['places'][0]['reason'] if queue['places'] else 'none'}"
    )
    return list(queue["places"])


class _Progress:
    """Notices when what is waited for no longer changes."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.state: object = None
        self.changed = time.monotonic()

    def update(self, state: object) -> None:
        """Compare the state with the last one, and wait a moment.

        Raises:
            MinivessError: When it has not changed for an hour.
        """
        if state != self.state:
            self.state, self.changed = state, time.monotonic()
        elif time.monotonic() - self.changed > _STALLED_S:
            raise MinivessError(f"The {self.what} has made no progress for {_STALLED_S / 60:.0f} minutes. See server.log.")
        time.sleep(_POLL_S)


def _wait_for_scores(server: LabelServer) -> None:
    """Wait for the scoring that the server runs in the background after its start."""
    progress = _Progress("scoring")
    _print_progress("waiting for the uncertainty scores")
    while True:
        tasks = _scoring_tasks(server)
        failed = [task for task in tasks if task["status"] == "ERROR"]
        if failed:
            raise MinivessError("The scoring failed:\n" + "\n".join(failed[0]["details"]))
        if tasks and all(task["status"] == "DONE" for task in tasks):
            return
        with server.get("/jobs/?running=true") as response:
            progress.update([(job["id"], job["progress"]) for job in json.load(response)])


def _scoring_tasks(server: LabelServer) -> list[dict[str, Any]]:
    try:
        with server.get("/scoring/?all=true") as response:
            return list(json.load(response))
    except HTTPError:  # 404: no task was started yet
        return []


def _follow_training(client: MONAILabelClient) -> dict[str, Any]:
    progress = _Progress("training")
    last = ""
    while (task := client.train_status())["status"] not in ("DONE", "ERROR", "STOPPED"):  # the first state is SUBMITTED
        lines = [line for line in task.get("details", []) if line.startswith("train:")]
        if lines and lines[-1] != last:
            last = lines[-1]
            _print_progress(last.removeprefix("train: "))
        progress.update(task.get("details"))
    if task["status"] != "DONE":
        raise MinivessError("The training failed:\n" + "\n".join(task.get("details", [])))
    stats: dict[str, Any] = client.info()["train_stats"]["segresnet"]
    _print_progress(f"training: {stats['state']}, Dice {stats['validation_dice']:.3f}")
    return stats


def _print_progress(text: str) -> None:
    print(f"      {text}", file=sys.stderr, flush=True)
