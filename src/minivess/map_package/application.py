"""The application that a batch or a listener runs on many series: what would stop it on each, and what it is made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from minivess.errors import BundleError, EngineError, UsageError
from minivess.map_package import sandbox
from minivess.map_package.engines import find_image
from minivess.map_package.folder import ROOT
from minivess.paths import file_sha256, find_bundle

#: What runs a folder, without an engine.
FOLDER_RUNNERS = ("bubblewrap", "process")


def check_folder_runner(folder: Path, engine: str | None) -> None:
    """Check that an engine can run a MAP's folder.

    Args:
        folder: The folder.
        engine: Name of what runs it; None for bubblewrap.

    Raises:
        UsageError: When the engine runs images.
        EngineError: When bubblewrap is not installed.
    """
    if engine not in (None, *FOLDER_RUNNERS):
        raise UsageError(f"--engine {engine} runs images; {folder} is a folder. Allowed are {', '.join(FOLDER_RUNNERS)}.")
    if engine != "process" and shutil.which("bwrap") is None:
        raise EngineError("bubblewrap is not installed. Install it (Debian: bubblewrap), or use --engine process.")


def identify_application(model: Path | None, image: str | None, engine: str | None = None) -> str:
    """Return a hash of what an application is: another model or image under the same name has another one.

    It fails where the application could not be started at all, which must not be taken for a fault of a series.

    Args:
        model: A bundle, or a folder with one.
        image: Name of an image, or the path of a MAP's folder.
        engine: What runs it; the first that works by default.

    Raises:
        MinivessError: When the bundle, the folder, the image or the engine is missing or does not fit.
    """
    if model is not None:
        bundle = find_bundle(model)
        if not any(bundle.rglob("*.safetensors")):
            raise BundleError(f"{bundle} has no weights. Train it, or copy it whole.")
        return _hash_of(bundle, [bundle / name for name in ("configs", "models", "members")])
    folder = Path(str(image))
    if folder.is_dir():
        sandbox.read_manifests(folder)
        check_folder_runner(folder, engine)
        return _hash_of(folder, [folder / ROOT])
    return str(find_image(str(image), engine).inspect(str(image)).get("Id"))


def _hash_of(root: Path, folders: Sequence[Path]) -> str:
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return sha256(json.dumps([(str(f.relative_to(root)), file_sha256(f)) for f in files]).encode()).hexdigest()
