"""One small MAP folder for all tests of this room: the real application, without the packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from dicom.test_series import ORIENTATIONS, volume_of
from untrained import untrained_bundle

from minivess.dicom import write_series
from minivess.map_package import write_package
from minivess.paths import resource_path


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map")
    bundle = untrained_bundle(resource_path("bundles/segresnet"), folder / "vessels")
    return write_package(bundle, folder / "package", packages=False, matrix=(64, 64, 32))


@pytest.fixture(scope="session")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), tmp_path_factory.mktemp("dicom") / "in", name="oblique")
