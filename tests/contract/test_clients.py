"""What the clients send that people use: Slicer's two modules, run as they are shipped, and OHIF's, request by request."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import numpy as np
import requests

from minivess.server import LabelServer
from minivess.volume import read_volume, write_volume

Running = tuple[LabelServer, Path, Path]

SLICER = """
import importlib.util, json, sys, tempfile
def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
client, rest, url, token, folder = sys.argv[1:6]
C = load(client, "client")
c = C.MONAILabelClient(url, tempfile.mkdtemp(), "slicer-user")
if c.auth_enabled():
    c.update_auth(c.auth_token("admin", token))
    assert c.auth_valid_token()
R = load(rest, "rest").MonaiServerREST(url)
"""


def shipped(name: str) -> str:
    """Find a file of the Slicer extension, which MONAI Label's package carries."""
    found = [f for f in files("monailabel") or [] if str(f).endswith(name) and "plugins/slicer" in str(f)]
    return str(found[0].locate())


def slicer(server: LabelServer, folder: Path, script: str) -> dict:
    """Run lines with Slicer's own client and its reviewer's, in a process of their own."""
    token = server.launch.token
    # The reviewer sends no token by itself, but uses requests, which knows who it is by ~/.netrc.
    (folder / "netrc").write_text(f"machine 127.0.0.1 login admin password {token}\n" if token else "")
    (folder / "netrc").chmod(0o600)
    command = [sys.executable, "-W", "ignore", "-c", SLICER + script, shipped("MONAILabelLib/client.py"),
               shipped("MonaiServerREST.py"), server.url, token or "-", str(folder)]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "NETRC": str(folder / "netrc")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_slicer_s_module_through_a_day(server: Running, tmp_path: Path) -> None:
    running, studies, _ = server
    image = read_volume(studies / "stack1.nii.gz")
    write_volume(image, tmp_path / "fresh.nii.gz")
    mask = image.with_array((image.array > np.percentile(image.array, 90)).astype(np.uint8))
    write_volume(mask, tmp_path / "label.nrrd")
    told = slicer(
        running,
        tmp_path,
        """
info = c.info()
assert "config" not in info and info["models"]["segresnet"]["dimension"] == 3
up = c.upload_image(folder + "/fresh.nii.gz", "from-slicer")              # deprecated PUT /datastore/
sample = c.next_sample("random", {})
session = c.create_session(folder + "/fresh.nii.gz")["session_id"]
assert c.get_session(session)
params = {"result_extension": ".nrrd", "result_dtype": "uint8", "device": ["cpu"], "roi": [], "reset_state": True}
by_image, told = c.infer("segresnet", "from-slicer", params)
by_session, _ = c.infer("segresnet", "", params, session_id=session)
by_file, _ = c.infer("segresnet", "", params, file=folder + "/fresh.nii.gz")
assert open(by_image, "rb").read(4) == b"NRRD"
c.remove_session(session)
kept = c.save_label("from-slicer", folder + "/label.nrrd", "", {"label_info": [{"name": "vessel", "idx": 1}], "user": "x"})
store = c.datastore()
name = c.download_label("from-slicer", "final")
content = open(name, "rb").read()
try:
    c.infer("no-such-model", "from-slicer", {})
    refused = ""
except C.MONAILabelClientException as error:
    refused = str(error)
print(json.dumps({"up": up, "sample": sample["id"], "told": told, "kept": kept, "final": "final" in store["objects"]["from-slicer"]["labels"],
    "name": name, "bytes": len(content), "refused": refused}))
""",
    )
    assert told["up"] == {"image": "from-slicer"}
    assert told["told"]["label_names"] == {"vessel": 1}
    assert {"pre", "infer", "invert", "post", "write", "total"} <= set(told["told"]["latencies"])
    assert told["kept"]["image"] == "from-slicer"
    assert told["final"]
    assert told["bytes"] > 100
    if running.launch.token:  # ours says in words what is wrong, where Slicer shows its details
        assert "There is no model" in told["refused"]


def test_slicer_s_training_buttons(server: Running, tmp_path: Path) -> None:
    running, *_ = server
    told = slicer(
        running,
        tmp_path,
        """
import time
started = c.train_start("segresnet", {"segresnet": {"max_epochs": 400, "preset": ["tiny", "full"]}})
until = time.time() + 60
while not c.train_status(check_if_running=True) and time.time() < until:
    time.sleep(0.2)
status = c.train_status()
stopped = c.train_stop()
until = time.time() + 30
while c.train_status(check_if_running=True) and time.time() < until:
    time.sleep(0.2)
print(json.dumps({"started": bool(started), "status": status["status"], "details": isinstance(status.get("details", []), list),
    "stopped": stopped["status"], "end": c.train_status()["status"]}))
""",
    )
    assert told == {"started": True, "status": "RUNNING", "details": True, "stopped": "STOPPED", "end": "STOPPED"}


def test_slicer_s_reviewer(server: Running, tmp_path: Path) -> None:
    running, studies, _ = server
    image = read_volume(studies / "stack0.nii.gz")
    mask = image.with_array((image.array > np.percentile(image.array, 90)).astype(np.uint8))
    write_volume(mask, tmp_path / "label.nrrd")
    told = slicer(
        running,
        tmp_path,
        """
assert R.checkServerConnection()
label = folder + "/label.nrrd"
saved = R.saveLabel("stack0", label, "final", {"label_info": [{"name": "vessel", "idx": 1}]})
meta = {"segmentationMeta": {"status": "approved", "approvedBy": "r", "level": "easy", "comment": "fine", "editTime": "1"}}
updated = R.updateLabelInfo("stack0", "final", meta)                      # deprecated PUT /datastore/updatelabelinfo
version = R.saveLabel("stack0", label, "version_1", meta)
store = R.requestDataStoreInfo()["objects"]["stack0"]["labels"]
segmentation = R.requestSegmentation("stack0", "version_1")
image = __import__("requests").get(R.getDicomDownloadUri("stack0"), timeout=120)
deleted = R.deleteLabelByVersionTag("stack0", "version_1")
after = R.requestDataStoreInfo()["objects"]["stack0"]["labels"]
print(json.dumps({"codes": [saved, updated, version, segmentation.status_code, image.status_code, deleted], "tags": sorted(store),
    "meta": store["final"]["info"].get("params", store["final"]["info"]), "after": sorted(after)}))
""",
    )
    assert told["codes"] == [200] * 6
    assert {"final", "version_1"} <= set(told["tags"])
    assert "version_1" not in told["after"]


def ohif(server: LabelServer, method: str, path: str, **keywords: object) -> requests.Response:
    """Send what axios sends: its accept header, the page's origin, the token that OHIF's sign-in has given."""
    headers = {"accept": "application/json,multipart/form-data", "origin": server.url}
    if server.launch.token:
        headers["authorization"] = f"Bearer {server.launch.token}"
    return requests.request(method, f"{server.url}/{path}", headers=headers, timeout=120, **keywords)


def test_ohif_s_panel(server: Running) -> None:
    running, studies, _ = server
    assert ohif(running, "GET", "info/").json()["models"]["segresnet"]["type"] == "segmentation"
    sample = ohif(running, "POST", "activelearning/random", json={})
    assert sample.json()["id"]
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False, "restore_label_idx": False}
    form = {"params": (None, json.dumps(params))}  # a multipart form without a file
    answer = ohif(running, "POST", "infer/segresnet", params={"image": "stack1", "output": "all"}, files=form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("multipart/form-data")
    assert b"NRRD000" in answer.content
    assert b"uint16" in answer.content or b"unsigned short" in answer.content
    click = {"params": (None, json.dumps({**params, "foreground": [[5, 5, 2]], "background": []}))}
    assert ohif(running, "POST", "infer/segresnet", params={"image": "stack1", "output": "all"}, files=click).status_code == 200
    shape = read_volume(studies / "stack1.nii.gz").shape
    voxels = np.zeros(shape, np.uint8)
    voxels[5:20, 5:20, 2] = 1
    label = {
        "params": (None, json.dumps({"label_info": [{"name": "vessel", "idx": 1}]})),
        "label": ("label.bin", voxels.tobytes(order="F")),
    }
    saved = ohif(running, "PUT", "datastore/label", params={"image": "stack1"}, files=label)
    assert saved.status_code == 200, saved.text
    if running.launch.token:  # MONAI Label's own keeps the bare bytes, which nothing can read
        kept = ohif(running, "GET", "datastore/label", params={"label": "stack1", "tag": "final"})
        (studies.parent / "kept.nii.gz").write_bytes(kept.content)
        np.testing.assert_array_equal(read_volume(studies.parent / "kept.nii.gz").array, voxels)
    assert ohif(running, "GET", "train/", params={"check_if_running": "true"}).status_code in (200, 404)
    wrong = ohif(
        running, "PUT", "datastore/label", params={"image": "stack1"}, files={**label, "label": ("label.bin", b"\x01" * 99)}
    )
    assert not running.launch.token or (wrong.status_code == 422 and "99 bytes" in wrong.json()["detail"])
