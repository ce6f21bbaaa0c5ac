"""What is certainly wrong with a data set is refused, and what probably is, is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from minivess.cli.main import run
from minivess.datasets import FileOptions, check_dataset, load_pair, make_dataset, read_dataset
from minivess.datasets.check import suspicions
from minivess.errors import ConflictError, InputError
from minivess.synth import make_sample
from minivess.volume import Volume, read_volume, write_volume


@pytest.fixture(scope="module")
def sample() -> tuple[Volume, Volume]:
    made = make_sample("capillary", 3, shape=(96, 96, 12))
    return made.image, made.mask


def write_pair(folder: Path, name: str, image: Volume, label: Volume) -> None:
    write_volume(image, folder / "images" / f"{name}.nii.gz")
    write_volume(label, folder / "labels" / f"{name}.nii.gz")


@pytest.mark.row(70)
def test_suspicions__names_what_is_wrong_and_nothing_else(sample: tuple[Volume, Volume]) -> None:
    image, label = sample
    vessel = label.array > 0
    assert suspicions(image, vessel) == []
    other = make_sample("capillary", 4, shape=(96, 96, 12)).mask.array > 0
    wrong = {
        "empty": (image, np.zeros_like(vessel)),
        "inverted": (image, ~vessel),
        "constant": (image.with_array(np.full_like(image.array, 7)), vessel),
        "darker": (image.with_array(image.array.max() - image.array), vessel),
    }
    for word, (volume, mask) in wrong.items():
        assert any(word in text for text in suspicions(volume, mask)), word
    two = np.empty((96, 96, 24), image.array.dtype)
    two[..., ::2], two[..., 1::2] = image.array, np.random.default_rng(0).permutation(image.array.ravel()).reshape(image.shape)
    assert any("channels" in text for text in suspicions(Volume(two, image.affine, "um"), np.repeat(vessel, 2, axis=2)))
    assert other.any()


@pytest.mark.row(70)
def test_check_dataset__one_image_under_two_names_is_refused_across_sections(
    sample: tuple[Volume, Volume], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_pair(tmp_path, name, *sample)
    make_dataset(tmp_path)
    assert "same voxels" in check_dataset(tmp_path).warnings[0]
    make_dataset(tmp_path, validation=["b"], replace=True)
    with pytest.raises(InputError, match="the score would be that of an image that was learned"):
        check_dataset(tmp_path)


@pytest.mark.row(71)
def test_make_dataset__does_not_replace_an_edited_file(sample: tuple[Volume, Volume], tmp_path: Path) -> None:
    write_pair(tmp_path, "a", *sample)
    write_pair(tmp_path, "b", *sample)
    file = make_dataset(tmp_path)
    assert make_dataset(tmp_path) == file  # the same once more
    edited = json.loads(file.read_text()) | {"description": "by hand"}
    file.write_text(json.dumps(edited))
    with pytest.raises(ConflictError, match="--replace"):
        make_dataset(tmp_path, validation=["b"])
    assert json.loads(file.read_text()) == edited
    make_dataset(tmp_path, validation=["b"], replace=True)
    assert len(read_dataset(tmp_path)["validation"]) == 1


@pytest.mark.row(72)
def test_make_dataset__refuses_twins_unknown_names_and_absurd_spacings(sample: tuple[Volume, Volume], tmp_path: Path) -> None:
    write_pair(tmp_path, "c0", *sample)
    for options, word in (
        ({"options": FileOptions(spacing=(0.0, 1.0, 5.0))}, "positive"),
        ({"options": FileOptions(spacing=(0.994e-3, 0.994e-3, 5e-3))}, "not plausible"),
        ({"options": FileOptions(spacing=(994.0, 994.0, 5000.0), unit="mm")}, "not plausible"),
        ({"options": FileOptions(spacing_of={"nope": (1.0, 1.0, 5.0)})}, "nope"),
        ({"subjects": {"nosuch": "m1"}}, "nosuch"),
        ({"validation": ["c0"]}, "left for training"),
    ):
        with pytest.raises(InputError, match=word):
            make_dataset(tmp_path, **options)
    write_volume(sample[0], tmp_path / "images" / "c0.nii")
    with pytest.raises(InputError, match=r"c0\.nii and c0\.nii\.gz have the same name"):
        make_dataset(tmp_path)


@pytest.mark.row(72)
def test_read_dataset__refuses_twins_and_reads_the_decathlon_s_own_form(sample: tuple[Volume, Volume], tmp_path: Path) -> None:
    write_pair(tmp_path, "c0", *sample)
    write_volume(sample[0], tmp_path / "images" / "c0.nii")
    rows = [{"image": f"./images/c0{suffix}", "label": "./labels/c0.nii.gz"} for suffix in (".nii", ".nii.gz")]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": rows[1:], "test": ["./images/c0.nii.gz"], "numTraining": 1}))
    assert [case.name for case in read_dataset(tmp_path)["training"]] == ["c0"]
    (tmp_path / "dataset.json").write_text(json.dumps({"training": rows}))
    with pytest.raises(InputError, match="mean one image"):
        read_dataset(tmp_path)


@pytest.mark.row(73)
def test_a_tiff_s_own_spacing_is_used_and_the_option_only_without_it(tmp_path: Path) -> None:
    stack = (np.random.default_rng(0).random((4, 16, 16)) * 99).astype(np.uint8)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "plain.tif", stack > 50, photometric="minisblack")
        write_volume(
            Volume((stack > 50).T.astype(np.uint8), np.diag([1.59, 1.59, 5, 1.0]), "um"), tmp_path / folder / "stated.ome.tif"
        )
    make_dataset(tmp_path, options=FileOptions(spacing=(0.994, 0.994, 5.0), unit="um"))
    spacings = {case.name: load_pair(case.to_item())[0].spacing_um for case in read_dataset(tmp_path)["training"]}
    assert spacings["plain"] == pytest.approx((0.994, 0.994, 5.0))
    assert spacings["stated"] == pytest.approx((1.59, 1.59, 5.0))
    with pytest.raises(InputError, match=r"states a voxel size of 1\.59"):
        read_volume(tmp_path / "images" / "stated.ome.tif", spacing=(1.0, 1.0, 5.0))


@pytest.mark.row(74)
def test_pairs_by_pattern_and_labels_by_threshold(sample: tuple[Volume, Volume], tmp_path: Path) -> None:
    image, label = sample
    noise = np.random.default_rng(0).integers(-6, 7, label.shape)
    jpeg = label.with_array(np.clip(label.array.astype(int) * 255 + noise, 0, 255).astype(np.uint8))
    write_volume(image, tmp_path / "images" / "m1_denoised.nii.gz")
    write_volume(jpeg, tmp_path / "labels" / "m1_labels_v1.nii.gz")
    with pytest.raises(InputError, match="--image-suffix=_denoised --label-suffix=_labels_v1"):
        make_dataset(tmp_path)
    options = FileOptions(label_threshold=127)
    make_dataset(tmp_path, image_suffixes=["_denoised"], label_suffixes=["_labels_v1"], options=options)
    (case,) = read_dataset(tmp_path)["training"]
    assert (load_pair(case.to_item())[1].array == label.array).all()


@pytest.mark.row(75)
def test_data_convert__replaces_nothing_that_was_not_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    raw = tmp_path / "raw.tif"
    tifffile.imwrite(raw, np.ones((4, 16, 16), np.uint8), photometric="minisblack")
    before = raw.read_bytes()
    spacing = ["--spacing", "1", "1", "5"]
    assert run(["data", "convert", str(raw), str(raw), *spacing, "--replace"]) == 1
    assert run(["data", "convert", str(raw), str(tmp_path / "raw.nrrd"), *spacing, "--unit", "µm"]) == 0
    assert run(["data", "convert", str(raw), str(tmp_path / "raw.nrrd"), *spacing]) == 1
    assert run(["data", "convert", str(raw), str(tmp_path / "raw.nrrd"), *spacing, "--replace"]) == 0
    assert raw.read_bytes() == before
    assert "--replace" in capsys.readouterr().err


@pytest.mark.row(76)
def test_the_commands_on_data_import_no_torch() -> None:
    script = "import sys; import minivess.cli.data, minivess.datasets; assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
