"""Schemathesis asks every operation of our OpenAPI with all sorts of values: nothing ends in a fault of the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from minivess.models import weights_path
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import write_volume

# What is there, so that requests come through to the handlers. A training that is waited for would take all the time.
THERE = """
[parameters]
image = "s0"
label = "s0"
id = "s1"
model = "segresnet"
strategy = "random"
method = "dice"
tag = ["final", "original"]
run_sync = false
"""


@pytest.mark.slow
@pytest.mark.parametrize("values", ["any", "there"])
def test_no_request_ends_in_a_fault_of_the_server(tmp_path: Path, bundle: Path, values: str) -> None:
    for index in range(2):
        write_volume(make_sample("capillary", index, shape=(32, 32, 8)).image, tmp_path / "studies" / f"s{index}.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, tmp_path / "model" / "segresnet"))
    (tmp_path / "schemathesis.toml").write_text(THERE if values == "there" else "")
    launch = prepare_server(tmp_path / "studies", workspace=tmp_path, port=free_port(), conf={"preset": "tiny"})
    with LabelServer(launch, log=tmp_path / "server.log") as server:
        token = {"Authorization": f"Bearer {launch.token}"}
        operations = sum(len(path) for path in requests.get(f"{server.url}/openapi.json", timeout=120).json()["paths"].values())
        assert operations > 40
        done = subprocess.run(
            [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--checks",
             "not_a_server_error", "--header", f"Authorization: {token['Authorization']}", "--max-examples", "4", "--seed", "1",
             "--phases", "coverage,fuzzing", "--suppress-health-check", "all", "--continue-on-failure", "--no-color",
             "--request-timeout", "120"],
            capture_output=True, text=True, cwd=tmp_path, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert f"Tested: {operations}" in done.stdout
        assert requests.get(f"{server.url}/info/", headers=token, timeout=120).status_code == 200
    log = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
    assert [line for line in log if line["level"] in ("ERROR", "CRITICAL")] == []
