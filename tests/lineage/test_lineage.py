from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minivess.cli.main import run
from minivess.errors import ConflictError, InputError
from minivess.lineage import draw_lineage, find_models, trace_case, trace_voxel
from minivess.paths import file_sha256
from minivess.store import LabelStore, Region
from minivess.volume import Box, Volume, write_volume

SHAPE = (12, 10, 4)
AFFINE = np.diag([0.6, 0.6, 5.0, 1.0])
REGION = Region((1, 1, 1), Box(0, 4, 0, 4, 0, 2), (0, 0, 0, 2, 2, 5), "gap", 3.0, 9.0, 8.0, "a branch may continue")


def weights(bundle: Path, value: float, **metadata: str) -> str:
    """Write weights of a bundle; return their hash."""
    file = bundle / "models" / "model.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.tensor(value)}, file, metadata={"training_subjects": '["m1", "m2"]', **metadata})
    return file_sha256(file)


def submit(store: LabelStore, folder: Path, mask: np.ndarray, *, actor: str, base: int | None) -> int:
    file = write_volume(Volume(mask.astype(np.uint8), AFFINE, "um"), folder / f"{actor}.nii.gz")
    return store.submit(file, image_id="a", actor=actor, base=base).number


@pytest.fixture
def lab(tmp_path: Path) -> tuple[LabelStore, list[int], dict[str, str]]:
    """A store with two revisions of one image; one model has proposed its region, another one has learned the second revision."""
    studies = tmp_path / "studies"
    write_volume(Volume(np.zeros(SHAPE, np.uint16), AFFINE, "um"), studies / "a.nii.gz")
    store = LabelStore(studies)
    store.images.scan()
    first = weights(tmp_path / "models" / "first", 1.0)
    queue = store.queue.propose("a", [REGION], model=first, actor="server")
    store.queue.answer(f"a:{queue}.0", "fixed", actor="ann", note="was cut")
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 1:4, 1] = True
    one = submit(store, tmp_path, mask, actor="ann", base=None)
    mask[8, 8, 3] = True
    two = submit(store, tmp_path, mask, actor="bob", base=one)
    second = weights(tmp_path / "models" / "second", 2.0, trained_from=first, published_by="label app")
    hashes = {"image": file_sha256(studies / "a.nii.gz"), "label": store.revision("a", two).sha256}
    case = {"image": "a.nii.gz", "label": "a.label.nii.gz"}
    manifest = {"weights_sha256": second, "cases": [{"case": case, "sha256": hashes}]}
    (tmp_path / "models" / "second" / "models" / "training_data.json").write_text(json.dumps(manifest))
    return store, [one, two], {"first": first, "second": second}


@pytest.mark.requirement("R28")
def test_a_label_is_followed_to_its_model_and_to_the_models_that_learned_it(
    lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path
) -> None:
    store, (one, two), model = lab
    found = trace_case(store, "a", find_models([tmp_path / "models"]))
    assert [(r.number, r.actor, r.base) for r in found.revisions] == [(one, "ann", None), (two, "bob", one)]
    assert {row["proposed_by"] for row in found.to_json()["revisions"]} == {model["first"]}
    assert found.to_json()["proposals"][0]["answers"] == [{"by": "ann", "verdict": "fixed", "count": 1}]
    assert found.learned_by == {model["second"]: [two]}
    assert found.models[model["second"]].trained_from == model["first"]
    assert found.models[model["first"]].subjects == ("m1", "m2")


def test_a_voxel_is_followed_to_the_revision_that_set_it(lab: tuple[LabelStore, list[int], dict[str, str]]) -> None:
    store, (one, two), model = lab
    old = trace_voxel(store, "a", (2, 2, 1))
    assert (old["value"], old["revision"], old["by"]) == (1, one, "ann")
    assert [(a["by"], a["verdict"], a["model"], a["note"]) for a in old["answers"]] == [
        ("ann", "fixed", model["first"], "was cut")
    ]
    new = trace_voxel(store, "a", (8, 8, 3))
    assert (new["value"], new["revision"], new["by"], new["answers"]) == (1, two, "bob", [])
    with pytest.raises(InputError, match="outside the image of 12 x 10 x 4"):
        trace_voxel(store, "a", (12, 0, 0))


def test_an_image_without_a_label_has_no_voxel_to_trace(tmp_path: Path) -> None:
    write_volume(Volume(np.zeros(SHAPE, np.uint16), AFFINE, "um"), tmp_path / "studies" / "a.nii.gz")
    store = LabelStore(tmp_path / "studies")
    store.images.scan()
    with pytest.raises(ConflictError, match="no final label"):
        trace_voxel(store, "a", (0, 0, 0))


def test_weights_that_were_changed_after_training_have_no_training_data(
    lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path
) -> None:
    store, _, _ = lab
    weights(tmp_path / "models" / "second", 3.0)
    assert trace_case(store, "a", find_models([tmp_path / "models"])).learned_by == {}


def test_the_picture_is_a_drawing_with_all_of_it(lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path) -> None:
    store, (one, two), model = lab
    drawn = draw_lineage(trace_case(store, "a", find_models([tmp_path / "models"])))
    texts = [element.text or "" for element in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    for wanted in (
        f"Model {model['first'][:12]}",
        f"Revision {one}, superseded",
        f"Revision {two}, current",
        "ann: 1 fixed",
        f"learned revision {two}",
    ):
        assert wanted in texts


def test_the_command_says_which_model_was_not_found(
    lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, model = lab
    picture = tmp_path / "a.svg"
    assert run(["lineage", str(tmp_path / "studies"), "a", "--voxel", "8", "8", "3", "--picture", str(picture)]) == 0
    said = capsys.readouterr().out
    assert f"Not found: {model['first'][:12]}. Say where their bundles are: --models FOLDER" in said
    assert "by bob" in said.split("Voxel (8, 8, 3): 1")[1]
    assert picture.read_text().startswith("<svg")
    assert run(["lineage", str(tmp_path / "studies"), "b"]) == 1
    assert run(["lineage", str(tmp_path / "studies"), "a", "--models", str(tmp_path / "nowhere")]) == 1
    assert "nowhere to look for models in" in capsys.readouterr().err


def test_a_revision_comes_after_the_newest_proposal_before_it(
    lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path
) -> None:
    store, (one, two), model = lab
    store.queue.propose("a", [REGION], model=model["second"], actor="server")
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 1:4, 1] = True
    three = submit(store, tmp_path, mask, actor="cat", base=two)
    proposed = {r["number"]: r["proposed_by"] for r in trace_case(store, "a", {}).to_json()["revisions"]}
    assert proposed == {one: model["first"], two: model["first"], three: model["second"]}


def test_a_voxel_of_a_restored_label_is_of_who_set_it_first(
    lab: tuple[LabelStore, list[int], dict[str, str]], tmp_path: Path
) -> None:
    store, (one, two), _ = lab
    other = np.zeros(SHAPE, bool)
    other[5, 5, 0] = True
    three = submit(store, tmp_path, other, actor="cat", base=two)
    store.restore("a", two, actor="dan")
    assert store.revision("a", three).actor == "cat"
    for voxel, number, actor in (((2, 2, 1), one, "ann"), ((8, 8, 3), two, "bob")):
        found = trace_voxel(store, "a", voxel)
        assert (found["value"], found["revision"], found["by"]) == (1, number, actor)
