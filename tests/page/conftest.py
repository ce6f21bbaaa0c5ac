"""The page in the system's Chromium, headless, against a real server.

The tests that answer regions have an image each, and all have their queue before the first answer: ten answers let the server rank an
image's other regions again, whenever it has time for that, and what answers teach counts for images that are predicted later.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from geometries import geometries
from numpy.typing import NDArray
from page.seat import Seat
from playwright.sync_api import Browser, sync_playwright
from server.lab import Lab

from minivess.models import weights_path
from minivess.server import Accounts, LabelServer, accounts_path, prepare_server
from minivess.server.serve import free_port
from minivess.synth import make_sample
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume

#: What both annotator seats must do.
SCENARIOS = json.loads((Path(__file__).parents[1] / "seats" / "scenarios.json").read_text())["scenarios"]
#: WebGL2 without a GPU.
SOFTWARE_GL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-sandbox"]
QUIET = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


#: Shapes of images that are not small.
LARGE = {"large": (512, 512, 14), "slow": (512, 512, 14), "wide": (1024, 1024, 8), "broad": (2304, 64, 8)}
#: Tests predict these.
NOT_PREDICTED = ("slow", "wanted")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Lab]:
    """A server with the images that the module lists in IMAGES."""
    folder, known = tmp_path_factory.mktemp("page"), geometries()
    images: Sequence[str] = request.module.IMAGES
    for name in images:
        if name in LARGE:
            write_large(folder, name, LARGE[name])
        else:
            seed = list(known).index(name) if name in known else 0
            sample = make_sample("capillary", seed, shape=(160, 144, 12)).image
            write_volume(Volume(sample.array, known.get(name, known["plain"]), "um"), folder / "studies" / f"{name}.nii.gz")
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    with lab_of(folder) as found:
        for name in images:
            if name not in NOT_PREDICTED:
                found.ask("POST", f"/infer/segresnet?image={name}&output=json", "ann").raise_for_status()
        yield found
        found.server.stop()  # a test may have started another


@contextmanager
def lab_of(folder: Path) -> Iterator[Lab]:
    """Start a server for the studies and the model of a folder, with an account of each role."""
    people = Accounts(accounts_path(folder))
    roles = {"ann": "annotator", "bob": "annotator", "eve": "reader", "ada": "admin"}
    tokens = {name: people.add(name, role) for name, role in roles.items()}
    conf = {"model_dir": str(folder / "model"), "unit": "um", "epistemic_enabled": "false"}
    launch = prepare_server(folder / "studies", workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "log") as server:
        yield Lab(server, tokens, folder)


def write_large(folder: Path, name: str, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Write a stack that gets dimmer with depth, as tissue does, and the mask of its vessels."""
    sample = make_sample("capillary", 7, shape=shape)
    light = sample.image.array.astype(np.float64) * np.exp(-np.arange(shape[2]) / 5)
    noisy = np.random.default_rng(0).poisson(np.maximum(light, 0) / light.max() * 400).astype(np.uint16)
    write_volume(sample.image.with_array(noisy), folder / "studies" / f"{name}.nii.gz")
    write_volume(sample.mask, folder / "truth" / f"{name}.nii.gz")
    return sample.image.affine


@pytest.fixture(scope="module")  # while Playwright runs, asyncio.run() is refused in this thread: not longer than its own tests
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: install the Debian package chromium to test the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*SOFTWARE_GL, *QUIET])
        yield browser
        browser.close()


@pytest.fixture
def seat(chromium: Browser, lab: Lab) -> Iterator[Seat]:
    context = chromium.new_context(viewport={"width": 1200, "height": 760})
    page = context.new_page()
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())
    page.on("pageerror", lambda error: broken.append(str(error)))
    yield Seat(page, lab)
    context.close()
    assert broken == []
    assert {url.split("/")[2] for url in asked if url.startswith("http")} <= {lab.server.url.split("/")[2]}, "only this server"
