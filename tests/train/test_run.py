from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minivess.datasets import TrainingCase
from minivess.errors import BundleError, InputError
from minivess.models import check_bundle
from minivess.train import copy_bundle, set_modality
from minivess.train.run import _cache_rate


@pytest.fixture
def copy(segresnet: Path, tmp_path: Path) -> Path:
    return copy_bundle(segresnet, tmp_path / "bundle")


def texts(bundle: Path) -> list[str]:
    return [(bundle / "configs" / name).read_text() for name in ("train.yaml", "inference.yaml")]


def rewrite(bundle: Path, name: str, old: str, new: str) -> None:
    file = bundle / "configs" / name
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


LINE = "modality: two_photon      # how intensities are normalised: minivess.models.MODALITIES\n"


def test_set_modality__changes_the_value_and_nothing_else(copy: Path) -> None:
    before = texts(copy)
    set_modality(copy, "mr_angiography")
    for old, new in zip(before, texts(copy), strict=True):
        assert new == old.replace("modality: two_photon ", "modality: mr_angiography ")
        assert yaml.safe_load(new) == {**yaml.safe_load(old), "modality": "mr_angiography"}
    check_bundle(copy)


@pytest.mark.parametrize(
    "line",
    [
        'modality: "two_photon"\n',
        "modality:    'two_photon'  # quoted\n",
        '"modality": two_photon\n',
        "modality :\n  two_photon\n",
        "modality:  # not chosen\n",
        "modality:\n",
        "modality: null\n",
        "modality: '@kind'\nkind: two_photon\n",
        "modality: mr-angiography  # the old code replaced a part of it\n",
    ],
)
def test_set_modality__reads_yaml_in_any_form(copy: Path, line: str) -> None:
    rewrite(copy, "inference.yaml", LINE, line)
    set_modality(copy, "light_sheet")
    content = yaml.safe_load(texts(copy)[1])
    assert content["modality"] == "light_sheet"
    assert content["preprocessing"]["transforms"][1]["modality"] == "@modality"
    check_bundle(copy)


@pytest.mark.parametrize("name", ["train.yaml", "inference.yaml"])
@pytest.mark.parametrize("line", ["", "settings:\n  modality: two_photon\n", "# modality: two_photon\n"])
def test_set_modality__refuses_a_configuration_without_the_key_and_changes_nothing(copy: Path, name: str, line: str) -> None:
    rewrite(copy, name, LINE, line)
    before = texts(copy)
    with pytest.raises(InputError, match=rf"{name} has no top-level key modality.*Add the line `modality: light_sheet`"):
        set_modality(copy, "light_sheet")
    assert texts(copy) == before


def test_set_modality__refuses_what_it_cannot_replace(copy: Path) -> None:
    rewrite(copy, "inference.yaml", LINE, "modality: &kind two_photon\nsame: *kind\n")
    before = texts(copy)
    with pytest.raises(InputError, match=r"cannot be replaced\. Write it on one line"):
        set_modality(copy, "light_sheet")
    with pytest.raises(InputError, match=r"Unknown modality 'x_ray'\. Allowed: two_photon"):
        set_modality(copy, "x_ray")
    assert texts(copy) == before
    (copy / "configs" / "train.yaml").unlink()
    with pytest.raises(BundleError, match=r"train\.yaml cannot be read"):
        set_modality(copy, "light_sheet")


def test_large_data_sets_are_kept_in_memory_in_part(segresnet: Path, tmp_path: Path) -> None:
    cases = []
    for number in range(3):
        image, label = tmp_path / f"{number}.tif", tmp_path / f"{number}-label.tif"
        for file, size in ((image, 2**36), (label, 2**20)):
            with file.open("wb") as stream:
                stream.truncate(size)  # sparse: no such disk is needed
        cases.append(TrainingCase(image, label, f"m{number}"))
    assert _cache_rate(segresnet, []) == {}
    assert 0 < _cache_rate(segresnet, cases)["cache_rate"] < 0.1
