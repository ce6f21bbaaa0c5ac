"""A training process of MONAI Label's own server asks that server to score again; a refusal does not undo the training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("monailabel")

from monailabel.config import settings as monai_settings

from minivess.label_app import VesselApp


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Run a server that is scoring already: it answers as MONAI Label does then, with status 429."""
    paths: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            paths.append(self.path)
            self.send_error(429)

        def log_message(self, *args: object) -> None:
            """Do nothing."""

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        monkeypatch.setattr(monai_settings, "MONAI_LABEL_SERVER_PORT", server.server_port)
        Thread(target=server.serve_forever, daemon=True).start()
        yield paths
        server.shutdown()


def test_a_training_is_done_although_the_server_refuses_to_score(
    asked: list[str], dataset: Path, bundle: Path, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(dataset / "images", studies)
    conf = {"model_dir": str(tmp_path / "model"), "bundle": str(bundle), "preset": "tiny"}
    app = VesselApp(str(tmp_path), str(studies), conf)
    for name in ("stack1", "stack2"):
        app.datastore().store.submit(dataset / "labels" / f"{name}.nii.gz", image_id=name, actor="ann")
    outcome = app.train({"model": "segresnet", "max_epochs": 1})
    assert outcome["seconds"] > 0
    assert asked == ["/scoring/uncertainty"]
    assert app.async_scoring("uncertainty") == {}
