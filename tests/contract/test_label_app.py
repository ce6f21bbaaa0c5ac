"""The label app under MONAI Label's own server and under ours, as a process over HTTP, with its own client in another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from waiting import wait_until

from contract.conftest import copied_app, odd_geometries, stock_launch
from minivess.models import load_bundle, weights_path
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.volume import Volume, read_volume, reorient, write_volume


def info(server: LabelServer) -> dict:
    with server.get("/info/") as answer:
        return json.load(answer)


def client(server: LabelServer, script: str, *arguments: str, timeout_s: float = 400) -> dict:
    """Run lines with the stock client in a process of its own, logged in where the server asks; its last line is JSON."""
    program = f"""
import json, sys
from monailabel.client import MONAILabelClient
c = MONAILabelClient({server.url!r})
if c.auth_enabled():
    c.update_auth(c.auth_token('admin', {server.launch.token!r}))
    assert c.auth_valid_token()
{script}"""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=timeout_s
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_info_has_the_shape_that_clients_draw(server: tuple[LabelServer, Path, Path]) -> None:
    content = info(server[0])
    assert "config" not in content
    assert content["labels"] == ["vessel"]
    model = content["models"]["segresnet"]
    assert (model["type"], model["dimension"], model["labels"]) == ("segmentation", 3, {"vessel": 1})
    assert {"random", "uncertainty", "foreground", "power"} <= set(content["strategies"])
    assert {"dice", "uncertainty"} <= set(content["scoring"])
    for task in (*content["models"].values(), *content["trainers"].values()):
        assert all(isinstance(v, bool | int | float | str | list) for v in task["config"].values())


@pytest.mark.parametrize("name", odd_geometries())
def test_an_answer_lies_on_its_image_whatever_the_geometry(
    server: tuple[LabelServer, Path, Path], bundle: Path, tmp_path: Path, name: str
) -> None:
    running, studies, _ = server
    answer = client(
        running,
        "f, p = c.infer('segresnet', sys.argv[1], {'result_extension': '.nii.gz', 'unknown_key': 1, 'roi': []})\n"
        "import shutil; shutil.copy(f, sys.argv[2]); print(json.dumps(p))",
        name,
        str(tmp_path / "answer.nii.gz"),
    )
    image, mask = read_volume(studies / f"{name}.nii.gz"), read_volume(tmp_path / "answer.nii.gz")
    assert mask.same_grid(image)
    assert mask.array.dtype == np.uint8
    assert np.array_equal(mask.array, load_bundle(bundle, device="cpu").predict(image).mask.array)
    assert answer["label_names"] == {"vessel": 1}
    assert set(answer["latencies"]) == {"pre", "infer", "invert", "post", "write", "total", "transform"}
    assert answer["minivess"]["model"]["bundle"] == "segresnet_vessel"


def test_a_swapped_roi_is_sorted_and_nrrd_is_the_default(server: tuple[LabelServer, Path, Path], tmp_path: Path) -> None:
    running, studies, _ = server
    client(
        running,
        "f, p = c.infer('segresnet', 'axial', {'roi': [20, 4, 0, 16, 0, 6]})\nimport shutil; shutil.copy(f, sys.argv[1]); print('1')",
        str(tmp_path / "a.nrrd"),
    )
    mask = read_volume(tmp_path / "a.nrrd")
    assert mask.same_grid(read_volume(studies / "axial.nii.gz"))
    assert not mask.array[20:].any()
    assert not mask.array[:, 16:].any()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"result_dtype": "object"}, "Allowed: uint8"),
        ({"result_extension": ".exe"}, "Allowed: .nrrd"),
        ({"foreground": [[999, 0, 0]]}, "outside the image"),
        ({"device": "cuda:99"}, "Allowed: auto, cpu"),
        ({"roi": [1, 2]}, "six integers"),
    ],
)
def test_a_bad_parameter_is_refused_in_words_and_the_server_lives(
    server: tuple[LabelServer, Path, Path], parameters: dict, words: str
) -> None:
    script = (
        "try:\n    c.infer('segresnet', 'axial', json.loads(sys.argv[1])); print('0')\n"
        "except Exception as e:\n    print(json.dumps(str(e)))"
    )
    answer = client(server[0], script, json.dumps(parameters))
    assert "422" in answer
    assert words in answer
    assert info(server[0])["name"] == "MinIVess"


def test_a_bad_label_is_refused_and_the_accepted_one_stays(server: tuple[LabelServer, Path, Path], tmp_path: Path) -> None:
    running, studies, _ = server
    image = read_volume(studies / "oblique.nii.gz")
    good = image.with_array((image.array > 3000).astype(np.uint8))
    flipped = reorient(good, image.axis_codes.translate(str.maketrans("RLAPSI", "LRPAIS")))
    files = {
        "flipped": flipped,
        "elsewhere": Volume(good.array, good.affine + np.eye(4, k=3) * 40, good.unit),
        "two labels": good.with_array(good.array + (image.array > 3500)),
    }
    for name, volume in files.items():
        write_volume(volume, tmp_path / f"{name}.nii.gz")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    script = """
answers = []
for name in ('flipped', 'elsewhere', 'two labels', 'empty'):
    try:
        answers.append(c.save_label('oblique', sys.argv[1] + '/' + name + '.nii.gz', tag='final', params={}))
    except Exception as e:
        answers.append(str(e))
print(json.dumps(answers))
"""
    answers = client(running, script, str(tmp_path))
    kept = answers[0]["minivess"]
    assert kept["revision"] > 1  # numbers of events: places may have been asked about in between
    assert kept["voxels"] == {"vessel": int(good.array.sum())}
    assert "reordered to the image's" in kept["changes"][0]
    for answer, words in zip(answers[1:], ("not on the image", "the value 2, unknown", "0 bytes"), strict=True):
        assert "422" in answer
        assert words in answer
    final = read_volume(next((studies / "minivess_store" / "cases" / "oblique").glob("*.nii.gz")))
    assert np.array_equal(reorient(final, image.axis_codes).array, good.array)


@pytest.mark.parametrize("name", odd_geometries())
def test_a_prompt_is_a_deepgrow_model_that_answers_with_the_whole_mask(
    server: tuple[LabelServer, Path, Path], tmp_path: Path, name: str
) -> None:
    running, studies, _ = server
    models = info(running)["models"]
    assert {n for n, m in models.items() if m["type"] == "deepgrow"} == {
        f"vessel_{tool}" for tool in ("path", "connect", "cut", "remove", "specks", "grow", "smooth")
    }
    image = read_volume(studies / f"{name}.nii.gz")
    x, y, z = (n // 2 for n in image.shape)
    answer = client(
        running,
        """
import shutil
points = json.loads(sys.argv[2])
for number, clicks in enumerate(([], points[:1], points)):  # as a stock client sends them: all of them with each click
    f, p = c.infer('vessel_path', sys.argv[1], {'foreground': clicks, 'background': [], 'result_extension': '.nii.gz', 'label': 'vessel'})
    shutil.copy(f, f'{sys.argv[3]}/{number}.nii.gz')
print(json.dumps(p))""",
        name,
        json.dumps([[2, 2, z], [x, y, z]]),
        str(tmp_path),
    )
    assert answer["label_names"] == {"vessel": 1}
    before, one, after = (read_volume(tmp_path / f"{number}.nii.gz") for number in range(3))
    assert after.same_grid(image)
    assert (one.array == before.array).all()
    assert after.array[2, 2, z] == after.array[x, y, z] == 1
    assert (after.array >= before.array).all()
    assert set(np.unique(after.array)) <= {0, 1}


def test_the_stock_client_completes_the_loop(server: tuple[LabelServer, Path, Path], dataset: Path, tmp_path: Path) -> None:
    running, studies, bundle = server
    before = weights_path(bundle).read_bytes()
    for name in odd_geometries():  # the loop is about the stacks
        (studies / f"{name}.nii.gz").unlink()
    time.sleep(2)
    _wait_for_scores(bundle)
    result = client(
        running,
        """
import time
seen = []
sample = c.next_sample('uncertainty', {})
cases = c.info()['minivess']['cases']
drawn = [c.next_sample(s, {}) for s in ('foreground', 'power')]
for i in ['stack0', 'stack1', 'stack2']:
    f, p = c.infer('segresnet', i, {})
    saved = c.save_label(i, sys.argv[1] + '/' + i + '.nii.gz', tag='final', params={'label_info': [{'name': 'vessel', 'idx': 1}]})
    seen.append(saved)
c.train_start('segresnet', {'max_epochs': 1, 'pretrained': False})
while c.train_status()['status'] not in ('DONE', 'ERROR', 'STOPPED'):
    time.sleep(0.5)
status = c.train_status()
f, p = c.infer('segresnet', 'stack3', {})
left = c.next_sample('random', {})
print(json.dumps({'sample': sample, 'cases': cases, 'drawn': drawn, 'saved': seen, 'train': status['status'], 'details': status['details'], 'infer': p,
                  'stats': c.info()['train_stats'], 'left': left, 'store': c.info()['datastore']}))
""",
        str(dataset / "labels"),
    )
    assert result["sample"]["id"].startswith("stack")
    assert "most expected errors" in result["sample"]["reason"]
    assert result["cases"]["scored"] == 4
    assert result["cases"]["worst"][0]["image"] == result["sample"]["id"]
    assert [row["strategy_used"] for row in result["drawn"]] == ["foreground", "power"]
    assert all(row["id"].startswith("stack") for row in result["drawn"])
    assert all(s["minivess"]["revision"] for s in result["saved"])
    assert result["train"] == "DONE", result["details"]
    stats = result["stats"]["segresnet"]
    assert {"epoch", "loss", "best_metric", "start_ts", "state", "validation_dice"} <= set(stats)
    assert stats["held_out"] is True
    assert result["left"]["id"] == "stack3"
    assert result["store"]["completed"] == 3
    token = running.launch.token
    asked: dict = {"headers": {"Authorization": f"Bearer {token}"} if token else {}, "timeout": 100}
    answer = httpx.get(f"{running.url}/datastore/label/info", params={"label": "stack1", "tag": "final"}, **asked)
    assert answer.json()["name"] == "stack1.nii.gz"  # as MONAI Label's own tests expect
    published = weights_path(bundle).read_bytes() != before
    assert published == (stats["state"] == "published")
    gain = sum(stats["scores"][name] - stats["scores_before"][name] for name in ("dice", "cldice"))
    assert published == (gain > 0 and not any(anchor["losses"] for anchor in stats["anchors"]))


def _wait_for_scores(bundle: Path) -> None:
    scores = bundle.parent / "scores.json"

    def known() -> dict:
        return json.loads(scores.read_text())["uncertainty"] if scores.is_file() else {}

    wait_until(lambda: {f"stack{i}" for i in range(4)} <= set(known()), known)


BUILD = """
import json, sys
from monailabel.interfaces.utils.app import app_instance
app = app_instance(app_dir=sys.argv[1], studies=sys.argv[2], conf=json.loads(sys.argv[3]))
print(json.dumps(app.info()))
"""


def build(tmp_path: Path, conf: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    app = tmp_path / "app"
    app = app if app.exists() else copied_app(tmp_path)
    (tmp_path / "studies").mkdir(exist_ok=True)
    variables = {**os.environ, "PYTHONPATH": str(app), "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false", **environment}
    command = [sys.executable, "-c", BUILD, str(app), str(tmp_path / "studies"), json.dumps(conf)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=200)


def test_without_weights_the_app_starts_and_the_model_is_hidden(tmp_path: Path) -> None:
    done = build(tmp_path, {})
    assert done.returncode == 0, done.stderr[-2000:]
    content = json.loads(done.stdout.splitlines()[-1])
    assert content["models"] == {}
    assert "segresnet" in content["trainers"]


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"prelaod": "true"}, "unknown setting"),
        ({"preload": "maybe"}, "not a boolean"),
        ({"models": "unet"}, "unknown model"),
        ({"unit": "inch"}, "unknown unit"),
        ({"preset": "huge"}, "unknown preset"),
        ({"epistemic_max_samples": "-1"}, "not a number"),
    ],
)
def test_a_bad_setting_stops_the_start_with_a_sentence(tmp_path: Path, conf: dict[str, str], word: str) -> None:
    done = build(tmp_path, conf)
    assert done.returncode != 0
    assert word in done.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["TRAIN", "STRATEGY", "SCORING", "BATCH_INFER"])
def test_each_kind_of_task_can_be_switched_off(tmp_path: Path, task: str) -> None:
    done = build(tmp_path, {"skip_trainers": "false"}, **{f"MONAI_LABEL_TASKS_{task}": "false"})
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_skips_leave_the_rest(tmp_path: Path) -> None:
    done = build(
        tmp_path, {"skip_trainers": "true", "skip_strategies": "true", "skip_scoring": "true", "use_pretrained_model": "false"}
    )
    content = json.loads(done.stdout.splitlines()[-1])
    assert (content["trainers"], list(content["strategies"]), content["scoring"]) == ({}, ["random"], {})


@pytest.mark.slow
def test_a_dry_run_of_the_stock_server_works(tmp_path: Path) -> None:
    app = copied_app(tmp_path)
    (tmp_path / "studies").mkdir()
    command = [*stock_launch(app, tmp_path / "studies").command, "--dryrun"]
    assert subprocess.run(command, check=False, timeout=200, cwd=tmp_path, capture_output=True).returncode == 0


def test_minivess_serve_prepares_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    launch = prepare_server(tmp_path / "studies", workspace=tmp_path / "w", port=free_port())
    assert (tmp_path / "w" / "app" / "main.py").is_file()
    assert launch.command[launch.command.index("--host") + 1] == "127.0.0.1"
    assert launch.token not in repr(launch) + " ".join(launch.command)  # a command line can be read by everybody
