"""The page in the system's Chromium, headless, against a real server with a plain, a mirrored and an oblique image."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright
from server.lab import Lab

from minivess.models import weights_path
from minivess.server import LabelServer, People, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume

#: WebGL2 without a GPU.
SOFTWARE_GL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-sandbox"]
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


def geometries() -> dict[str, np.ndarray]:
    """Affines of three images: as a microscope writes it, mirrored (left-handed), and oblique with swapped axes."""
    plain = np.diag([1.0, 1.0, 5.0, 1.0])
    mirrored = np.diag([-1.0, 1.0, -5.0, 1.0]) @ np.diag([1, -1, -1, 1])
    mirrored[:3, 3] = 40, -20, 7
    tilt = np.deg2rad(12)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    oblique = np.eye(4)
    oblique[:3, :3] = turn @ np.array([[0, -1.0, 0], [1.0, 0, 0], [0, 0, -5.0]])
    return {"plain": plain, "mirrored": mirrored, "oblique": oblique}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("page")
    for index, (name, affine) in enumerate(geometries().items()):
        sample = make_sample("capillary", index, shape=(160, 144, 12)).image
        write_volume(Volume(sample.array, affine, "um"), folder / "studies" / f"{name}.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    people = People(accounts_path(folder))
    roles = {"ann": "annotator", "bob": "annotator", "eve": "reader"}
    tokens = {name: people.add(name, role) for name, role in roles.items()}
    conf = {"model_dir": str(folder / "model"), "unit": "um", "epistemic_enabled": "false"}
    launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "log") as server:
        found = Lab(server, tokens, folder)
        yield found
        found.server.stop()  # a test may have started another


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: install the Debian package chromium to test the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*SOFTWARE_GL, *QUIET])
        yield browser
        browser.close()
