"""From a release to the report of a patient: its id is in every object that its model makes."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from untrained import untrained_bundle

from minivess.cli.main import run
from minivess.map_package import run_package, write_package
from minivess.models import load_bundle, weights_path
from minivess.models.weights import read_weights, write_weights
from minivess.paths import resource_path
from minivess.release import create_keys, make_release, verify_folder


@pytest.fixture(scope="module")
def released(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A release, and its id."""
    folder = tmp_path_factory.mktemp("released")
    bundle = untrained_bundle(resource_path("bundles/segresnet"), folder / "vessels")
    report = folder / "report"
    assert run(["evaluate", str(dataset), "--bundle", str(bundle), "--section", "validation", "--report", str(report)]) == 0
    private, public = create_keys(folder / "keys")
    content = make_release(bundle, folder / "release", private_key=private, report=report)
    verify_folder(folder / "release", public)
    return folder / "release", content["id"]


@pytest.mark.requirement("R05")
def test_the_objects_of_a_map_name_the_release_that_it_was_built_from(
    released: tuple[Path, str], series: Path, tmp_path: Path
) -> None:
    release, name = released
    package = write_package(release / "bundle", tmp_path / "package", packages=False, matrix=(64, 64, 32))
    assert run_package(str(package), series, tmp_path / "out", engine="process", arguments=["--any-modality"]) == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["model"]["release"] == name
    for file in ("vessels.seg.dcm", "measurements.sr.dcm"):
        dataset = pydicom.dcmread(tmp_path / "out" / file)
        assert f"release {name}" in dataset.SoftwareVersions
        assert any(f"release={name}" in str(element.value) for element in dataset.iterall() if element.VR != "SQ")


def test_weights_that_were_trained_further_are_of_no_release(released: tuple[Path, str], bundle: Path) -> None:
    release, name = released
    assert load_bundle(release / "bundle").model.release == name
    file = weights_path(release / "bundle")
    before = file.read_bytes()
    try:
        tensors, metadata = read_weights(file)
        write_weights(tensors, file, {**metadata, "epoch": "99"})
        assert load_bundle(release / "bundle").model.release == ""
    finally:
        file.write_bytes(before)
