from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from minivess.datasets import check_dataset, load_pair, make_dataset, read_dataset
from minivess.errors import GeometryError, InputError
from minivess.synth import make_sample
from minivess.volume import Volume, reorient, write_volume


def pairs(folder: Path, names: list[str], spacing: float = 1.0) -> Path:
    volume = Volume(np.zeros((4, 4, 4), np.uint8), np.diag([spacing, 1, 1, 1]), "um")
    for name in names:
        write_volume(volume, folder / "images" / f"{name}.nii.gz")
        write_volume(volume, folder / "labels" / f"{name}.nrrd")
    return folder


def test_cases_are_split_by_subject(tmp_path: Path) -> None:
    pairs(tmp_path, ["a1", "a2", "b", "c"])
    make_dataset(tmp_path, subjects={"a1": "A", "a2": "A"}, test=["A"], validation=["b"])
    sections = read_dataset(tmp_path)
    assert {s: [c.name for c in cases] for s, cases in sections.items()} == {
        "training": ["c"],
        "validation": ["b"],
        "test": ["a1", "a2"],
    }


def test_a_subject_in_two_sections_is_refused(tmp_path: Path) -> None:
    pairs(tmp_path, ["a", "b"])
    file = make_dataset(tmp_path, test=["a"])
    content = json.loads(file.read_text())
    content["training"][0]["subject"] = "a"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="subject a is in training and in test"):
        read_dataset(tmp_path)


def test_images_without_labels_are_named(tmp_path: Path) -> None:
    pairs(tmp_path, ["a", "b"])
    (tmp_path / "labels" / "b.nrrd").unlink()
    with pytest.raises(InputError, match="Without a partner: b"):
        make_dataset(tmp_path)


def test_unknown_subjects_and_missing_files_are_refused(tmp_path: Path) -> None:
    pairs(tmp_path, ["a"])
    with pytest.raises(InputError, match=r"Subjects to split by: a\. Unknown: z"):
        make_dataset(tmp_path, test=["z"])
    with pytest.raises(InputError, match="minivess data make"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"training": [{"label": "x"}]}')
    with pytest.raises(InputError, match="rows are"):
        read_dataset(tmp_path)


def test_check_reads_every_pair(dataset: Path) -> None:
    report = check_dataset(dataset)
    rows = report.rows
    assert report.warnings == []
    assert [row["section"] for row in rows] == ["training", "training", "validation", "test"]
    assert all(0.01 < row["vessel_share"] < 0.1 for row in rows)


def test_a_label_off_its_images_grid_is_refused(tmp_path: Path) -> None:
    pairs(tmp_path, ["a"])
    write_volume(Volume(np.zeros((4, 4, 4), np.uint8), np.diag([1, 1, 5.0, 1]), "um"), tmp_path / "labels" / "a.nrrd")
    make_dataset(tmp_path)
    with pytest.raises(GeometryError, match="not on the image's grid"):
        check_dataset(tmp_path)


def test_a_label_with_flipped_axes_is_turned_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Volume(rng.integers(0, 99, (5, 6, 7)).astype(np.uint8), np.diag([-0.6, 0.6, 5.0, 1]), "um")
    label = image.with_array((image.array > 50).astype(np.uint8) * 255)
    item = {"image": str(write_volume(image, tmp_path / "i.nii.gz")), "label": str(tmp_path / "l.nrrd")}
    for codes in (image.axis_codes, "RAS", "SPL"):
        write_volume(reorient(label, codes), tmp_path / "l.nrrd")
        assert np.array_equal(load_pair(item)[1].array, label.array // 255)
    write_volume(label.with_array(image.array), tmp_path / "l.nrrd")
    with pytest.raises(InputError, match=r"l\.nrrd: The label .* Export the segment of the vessels alone"):
        load_pair(item)


def test_a_training_row_without_a_label_is_named(dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"][0]["lable"] = content["training"][0].pop("label")
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="'label'"):
        read_dataset(tmp_path)


def test_the_unit_of_an_items_spacing_is_not_that_of_a_file_that_states_its_own(tmp_path: Path) -> None:
    image = make_sample("capillary", 0, shape=(24, 20, 8))
    tifffile.imwrite(tmp_path / "image.tif", image.image.array.transpose(2, 1, 0))
    spacing = image.image.spacing_um
    label = Volume(image.mask.array, np.diag([*(s / 1000 for s in spacing), 1.0]), "mm")
    write_volume(label, tmp_path / "label.nrrd")
    item = {"image": tmp_path / "image.tif", "label": tmp_path / "label.nrrd", "spacing": list(spacing), "unit": "um"}
    read, mask = load_pair(item)
    assert read.spacing_um == pytest.approx(spacing)
    np.testing.assert_array_equal(mask.array > 0, image.mask.array > 0)
    wrong = write_volume(Volume(image.mask.array, np.diag([*spacing, 1.0]), "mm"), tmp_path / "as_minivess.nii.gz")
    item = {"image": wrong, "label": wrong, "spacing": list(spacing), "unit": "um"}  # um, with the code for mm
    assert load_pair(item)[0].spacing_um == pytest.approx(spacing)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("spacing", [1, 1], "three positive numbers"),
        ("spacing", 5, "rows are"),
        ("label_threshold", "much", "rows are"),
        ("unit", "inch", "Allowed: mm, um"),
    ],
)
def test_a_row_that_was_edited_by_hand_is_named(dataset: Path, tmp_path: Path, field: str, value: object, words: str) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"][0][field] = value
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as raised:
        read_dataset(tmp_path)
    assert "dataset.json" in str(raised.value)


def test_micrometres_in_any_spelling_and_a_threshold_as_a_text(dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "dataset.json").read_text())
    content["training"][0] |= {"unit": "µm", "label_threshold": "0"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    case = read_dataset(tmp_path)["training"][0]
    assert (case.unit, case.label_threshold) == ("um", 0.0)
