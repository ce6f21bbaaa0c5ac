"""MONAI Label's own server with our label app."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from minivess.server import Launch
from minivess.server.serve import free_port

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
