"""One server for the contract suite: the label app under MONAI Label's own server, and under ours."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom.test_series import ORIENTATIONS, volume_of

from minivess.models import weights_path
from minivess.server import LabelServer, Launch, prepare_server
from minivess.server.serve import free_port
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume

ROOT = Path(__file__).resolve().parents[2]


def stock_launch(app: Path, studies: Path, *conf: str) -> Launch:
    """MONAI Label's own server, as its documentation starts it."""
    port = free_port()
    flags = [word for pair in zip(conf[::2], conf[1::2], strict=True) for word in ("--conf", *pair)]
    command = [
        sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies),
        "--host", "127.0.0.1", "--port", str(port), *flags,
    ]  # fmt: skip
    return Launch(command, {}, f"http://127.0.0.1:{port}", "")


def copied_app(folder: Path) -> Path:
    ignore = shutil.ignore_patterns("model", "logs", "bin", "lib", "__pycache__")
    return Path(shutil.copytree(ROOT / "monailabel_app", folder / "app", ignore=ignore))


def odd_geometries() -> dict[str, Volume]:
    volumes = {name.split()[0]: volume_of(d, (24, 20, 6)) for name, d in ORIENTATIONS.items()}
    volumes["um"] = volume_of(np.diag([0.6, 0.6, 5.0]), (24, 20, 6), "um")
    volumes["flat"] = volume_of(np.diag([-0.6, 0.6, 5.0]), (24, 20, 1), "um")
    return volumes


@pytest.fixture(scope="module", params=["stock", "minivess"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bundle: Path, dataset: Path
) -> Iterator[tuple[LabelServer, Path, Path]]:
    """A server with four stacks, images of odd geometry, and a model; gives the server, studies and model folder."""
    folder = tmp_path_factory.mktemp("server")
    studies = Path(shutil.copytree(dataset / "images", folder / "studies"))
    for name, volume in odd_geometries().items():
        write_volume(volume, studies / f"{name}.nii.gz")
    target = copy_bundle(bundle, folder / "model" / "segresnet")
    publish(weights_path(bundle), target)
    if request.param == "stock":
        launch = stock_launch(copied_app(folder), studies, "model_dir", str(folder / "model"), "preset", "tiny")
    else:
        conf = {"model_dir": str(folder / "model"), "preset": "tiny"}
        launch = prepare_server(studies, workspace=folder, port=free_port(), conf=conf)
    with LabelServer(launch, log=folder / "server.log") as running:
        yield running, studies, target
