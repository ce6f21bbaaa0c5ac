"""Eight clients do mixed work on one server for an hour: is its memory flat, and does anything fail?

    make soak                                      # one hour
    python benchmarks/soak.py --minutes 5

Each client takes the next sample, reads the image, segments it, submits a label, reads it back, and now and then stops an
inference, sends a broken label, uploads an image, opens a session, follows a job or requests a page that does not exist. A
training runs every ten minutes, with the scoring that follows it. Each request has its expected status; any other is an error.
The exit status is 1 when there was an error, or when memory has grown from the second quarter to the last by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process()

import numpy as np
import psutil
import requests
import torch
from monai.bundle import ConfigParser
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from minivess.errors import MinivessError
from minivess.models import save_weights, weights_path
from minivess.paths import resource_path
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.store import LabelStore
from minivess.synth import make_sample
from minivess.train import copy_bundle
from minivess.volume import read_volume, write_volume

CLIENTS, IMAGES, PAUSE_S = 8, 24, 1.0


class Client:
    """An annotator whose actions are random, with a seed."""

    def __init__(self, number: int, url: str, token: str, folder: Path) -> None:
        self.random = random.Random(number)
        self.url, self.folder = url, folder / f"client{number}"
        self.folder.mkdir()
        self.session = requests.Session()
        # A server may close a connection that was idle for 5 s just when the next request is on its way: such a request is repeated once.
        self.session.mount(
            "http://", HTTPAdapter(max_retries=Retry(total=1, connect=1, read=1, status=0, allowed_methods=["GET"]))
        )
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.number, self.uploads = number, 0
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self.bases: dict[str, int] = {}

    def ask(self, method: str, path: str, *statuses: int, **keywords: object) -> requests.Response:
        try:
            answer = self.session.request(method, f"{self.url}{path}", timeout=300, **keywords)
        except requests.RequestException as error:
            self.errors.append(f"{method} {path}: {error!r}")
            raise
        if answer.status_code not in (statuses or (200,)):
            self.errors.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer

    def work(self, until: float) -> None:
        often = [self.annotate] * 6 + [self.look] * 4
        seldom = [self.cancel, self.broken_label, self.upload, self.open_session, self.lost]
        while time.monotonic() < until:
            action = self.random.choice(often + seldom)
            try:
                action()
                self.done[action.__name__] += 1
            except (requests.RequestException, KeyError, ValueError, OSError, MinivessError) as error:
                self.errors.append(f"{action.__name__}: {error!r}")
            time.sleep(self.random.uniform(0, 2 * PAUSE_S))

    def look(self) -> None:
        self.ask("GET", "/info/")
        self.ask("GET", "/datastore/", params={"output": self.random.choice(["all", "stats", "train"])})
        self.ask("GET", "/jobs/")
        self.ask("GET", "/readyz")

    def annotate(self) -> None:
        image = f"stack{self.number * (IMAGES // CLIENTS) + self.random.randrange(IMAGES // CLIENTS):02}"  # one's own
        self.ask("POST", "/activelearning/random", json={"client_id": str(self.number)})
        self.ask("GET", "/datastore/image", params={"image": image})
        answer = self.ask(
            "POST",
            "/infer/segresnet",
            params={"image": image, "output": "image"},
            data={"params": '{"result_extension": ".nii.gz"}'},
        )
        file = self.folder / "prediction.nii.gz"
        file.write_bytes(answer.content)
        label = read_volume(file, unit="um")
        array = label.array.astype(np.uint8)
        corner = tuple(self.random.randrange(n - 4) for n in array.shape[:2])
        array[corner[0] : corner[0] + 4, corner[1] : corner[1] + 4] = 1
        write_volume(label.with_array(array), file)
        with file.open("rb") as stream:
            sent = self.ask(
                "PUT", "/datastore/label", params={"image": image, "tag": "final"}, files={"label": ("l.nii.gz", stream)},
                data={"params": json.dumps({"idempotency_key": uuid.uuid4().hex, "base": self.bases.get(image)})},
            )  # fmt: skip
        self.bases[image] = sent.json()["minivess"]["revision"]
        self.ask("GET", "/datastore/label", params={"label": image, "tag": "final"})

    def cancel(self) -> None:
        name = uuid.uuid4().hex
        thread = threading.Thread(
            target=lambda: self.ask(
                "POST", "/infer/segresnet", 200, 409, params={"image": "large", "output": "json"}, headers={"X-Request-ID": name}
            )
        )
        thread.start()
        time.sleep(self.random.uniform(0.2, 1.5))
        self.ask("DELETE", f"/jobs/{name}", 200, 404)
        thread.join()

    def broken_label(self) -> None:
        body = self.random.choice([b"", b"\x1f\x8b" + bytes(200), b"%PDF-1.4", np.zeros(1000).tobytes()])
        self.ask("PUT", "/datastore/label", 400, 415, 422, params={"image": "large"}, files={"label": ("l.nii.gz", body)})

    def upload(self) -> None:
        if self.uploads >= 5:  # the studies must not grow without limit
            return
        self.uploads += 1
        file = write_volume(
            make_sample("capillary", 1000 * self.number + self.uploads, shape=(64, 64, 8)).image, self.folder / "up.nii.gz"
        )
        with file.open("rb") as stream:
            self.ask(
                "PUT",
                "/datastore/image",
                params={"image": f"up{self.number}-{self.uploads}"},
                files={"file": ("up.nii.gz", stream)},
            )

    def open_session(self) -> None:
        file = self.folder / "prediction.nii.gz"
        if not file.is_file():
            return
        with file.open("rb") as stream:
            session = self.ask("PUT", "/session/", files={"files": ("s.nii.gz", stream)}).json()["session_id"]
        self.ask("POST", "/infer/segresnet", params={"session_id": session, "output": "json"})
        self.ask("DELETE", f"/session/{session}")

    def lost(self) -> None:
        self.ask("GET", "/nothing/here", 404)
        self.ask("GET", "/datastore/label", 404, params={"label": "large", "tag": "final"})
        self.ask("DELETE", "/model/segresnet", 403)


def prepare(folder: Path) -> None:
    for index in range(IMAGES):
        sample = make_sample("capillary", index, shape=(96, 96, 8))
        write_volume(sample.image, folder / "studies" / f"stack{index:02}.nii.gz")
    write_volume(make_sample("capillary", 99, shape=(384, 384, 24)).image, folder / "studies" / "large.nii.gz")
    bundle = copy_bundle(resource_path("bundles/segresnet"), folder / "model" / "segresnet")
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def"), weights_path(bundle), {"made_by": "soak"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        accounts = Accounts(accounts_path(folder))
        tokens = [accounts.add(f"annotator{n}", "annotator") for n in range(CLIENTS)]
        launch = prepare_server(
            folder / "studies", workspace=folder, port=free_port(), conf={"model_dir": str(folder / "model"), "preset": "tiny"}
        )
        with LabelServer(launch, log=folder / "server.log") as server:
            clients = [Client(n, server.url, token, folder) for n, token in enumerate(tokens)]
            begun = time.monotonic()
            until = begun + 60 * arguments.minutes
            threads = [threading.Thread(target=client.work, args=(until,)) for client in clients]
            for thread in threads:
                thread.start()
            process, rows = psutil.Process(server._process.pid), []
            admin = {"Authorization": f"Bearer {launch.token}"}
            trained = 0
            while time.monotonic() < until:
                rows.append(
                    (time.monotonic() - begun, process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())
                )
                if (time.monotonic() - begun) // 600 >= trained:
                    trained += 1
                    requests.post(f"{server.url}/train/segresnet", json={"max_epochs": 1}, headers=admin, timeout=60)
                time.sleep(5)
            for thread in threads:
                thread.join()
            trainings = requests.get(f"{server.url}/jobs/", params={"kind": "train"}, headers=admin, timeout=60).json()
        store = LabelStore(folder / "studies")
        problems = store.journal.audit.verify()
        log = [json.loads(line) for line in (folder / "server.log").read_text().splitlines() if line.startswith("{")]
    report(clients, np.array(rows), trainings, [line for line in log if line["level"] in ("ERROR", "CRITICAL")], problems)


def report(clients: list[Client], rows: np.ndarray, trainings: list[dict], logged: list[dict], problems: object) -> None:
    errors = [error for client in clients for error in client.errors]
    total = sum((client.done for client in clients), Counter())
    print(f"{len(clients)} clients, {rows[-1, 0] / 60:.1f} minutes: " + ", ".join(f"{n} {k}" for k, n in total.most_common()))
    print(f"trainings: {Counter(job['state'] for job in trainings)}; audit: {problems}; errors in the log: {len(logged)}")
    print("| quarter | memory MiB, median | most | threads, most | open files, most |\n|---|---|---|---|---|")
    quarters = np.array_split(rows, 4)
    for index, quarter in enumerate(quarters, start=1):
        values = (np.median(quarter[:, 1]), quarter[:, 1].max(), quarter[:, 2].max(), quarter[:, 3].max())
        print(f"| {index} | " + " | ".join(f"{v:.0f}" for v in values) + " |")
    growth = np.median(quarters[3][:, 1]) / np.median(quarters[1][:, 1]) - 1
    print(f"growth of the median from the second quarter to the last: {100 * growth:+.1f} %; errors: {len(errors)}")
    for error in [*errors, *(json.dumps(line) for line in logged)][:20]:
        print("  " + error[:600])
    sys.exit(bool(errors or logged or growth > 0.05))


if __name__ == "__main__":
    main()
