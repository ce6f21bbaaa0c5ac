"""One server for the contract suite: the label app under MONAI Label's own server, and under ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom.test_series import ORIENTATIONS, volume_of

from contract.stock import copied_app, stock_launch
from minivess.models import weights_path
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.train import copy_bundle, publish
from minivess.volume import Volume, write_volume


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
