"""Write a MAP as a folder: the content of the image, its Containerfile, and nothing else. Any engine builds an image from it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import minivess
from minivess.errors import InputError
from minivess.map_package import layout
from minivess.map_package.manifests import app_manifest, package_manifest
from minivess.map_package.packages import Device, copy_packages, required_packages
from minivess.map_package.sbom import write_sbom
from minivess.paths import atomic_folder, file_sha256, resource_path, write_json

ROOT, PACKAGES = "root", "packages"
CONTENT_LABEL = "org.minivess.content.sha256"
DEFAULT_BASE = "python:3.11-slim-bookworm"
#: What a run takes, measured: the libraries, and bytes for each voxel.
_BASE_MEMORY, _MEMORY_PER_VOXEL = 1.5 * 2**30, 17.7
_TIME = 315_532_800  # 1 January 1980, the oldest date of a zip: the same content gives the same archive
_SEMANTIC = re.compile(r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$")


def write_package(
    bundle: Path,
    folder: Path,
    *,
    device: Device = "cpu",
    packages: bool = True,
    matrix: tuple[int, int, int] = (512, 512, 400),
) -> Path:
    """Write the content of a MAP for a bundle into a new folder.

    Args:
        bundle: Trained bundle or ensemble; it is checked.
        folder: New or empty folder.
        device: ``cpu`` leaves out what is used on a GPU only.
        packages: Whether to copy the Python packages. Without them, the folder is run with those of this environment.
        matrix: Columns, rows and slices of the largest series; the memory that the manifest asks for follows from it.

    Returns:
        The folder.

    Raises:
        BundleError: When the bundle is refused.
        InputError: When the environment was changed after its installation.
        OutputError: When the folder cannot be written.
    """
    from minivess.models.bundle_check import check_bundle  # imports torch, which running a package does not need

    check_bundle(bundle)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    number = str(metadata.get("version", ""))
    if not _SEMANTIC.match(number):
        raise InputError(f"{bundle.name}: the version in configs/metadata.json must be like 1.2.3. Got {number!r}.")
    with atomic_folder(folder) as partial:
        root = partial / ROOT
        _copy_application(root)
        copy_for_delivery(bundle, _inside(root, layout.MODELS) / bundle.name)
        memory = int(_BASE_MEMORY + _MEMORY_PER_VOXEL * matrix[0] * matrix[1] * matrix[2])
        write_json(
            _inside(root, layout.APP_MANIFEST),
            app_manifest(version=number, sdk_version=version("monai-deploy-app-sdk")),
        )
        write_json(
            _inside(root, layout.PACKAGE_MANIFEST),
            package_manifest(version=number, models=[bundle.name], memory_bytes=memory, gpu=device == "cuda"),
        )
        included = required_packages(also=_stated_packages(bundle))
        _write_documents(root, bundle)
        write_sbom(_inside(root, layout.DOCS) / "sbom.cdx.json", included, component=(bundle.name, number))
        (partial / PACKAGES).mkdir()
        if packages:
            copy_packages(partial / PACKAGES, included, device)
        labels = image_labels(str(metadata.get("name", bundle.name)), number, content_sha256(partial))
        (partial / "Containerfile").write_text(containerfile(labels), encoding="utf-8")
        _make_reproducible(partial)
    return folder


def copy_for_delivery(bundle: Path, target: Path) -> None:
    """Copy a trained bundle without what stays in the lab: runs, lists of cases with their paths, models before, other weights.

    Args:
        bundle: The bundle's folder.
        target: New folder.
    """
    from minivess.models.weights import FILE_NAME  # imports torch

    lab = shutil.ignore_patterns("runs", "previous", "withdrawn", "training_data.json", "eval", "*.ckpt", "__pycache__")

    def left_out(folder: str, names: list[str]) -> set[str]:
        others = {name for name in names if name.endswith(".safetensors") and name != FILE_NAME}
        return lab(folder, names) | (others if Path(folder).name == "models" else set())

    shutil.copytree(bundle, target, ignore=left_out)


def _stated_packages(bundle: Path) -> list[str]:
    """Return the packages that a bundle, or a member of an ensemble, states in its metadata."""
    files = [bundle / "configs" / "metadata.json", *bundle.glob("members/*/configs/metadata.json")]
    return sorted({name for file in files for name in json.loads(file.read_text()).get("required_packages_version", {})})


def image_labels(title: str, number: str, content: str) -> dict[str, str]:
    """Return the labels of the image.

    Args:
        title: Name of the application, for people.
        number: Its semantic version.
        content: Hash of the folder.
    """
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": number,
        "org.opencontainers.image.description": "DICOM series in, DICOM SEG and report out. Research only; not a medical device.",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.vendor": "MinIVess",
        "org.monai.deploy.app-sdk": version("monai-deploy-app-sdk"),
        "org.minivess.version": minivess.__version__,
        CONTENT_LABEL: content,
    }


def containerfile(labels: Mapping[str, str]) -> str:
    """Return the Containerfile: one stage that only copies, so that it is built without a network by any engine.

    Args:
        labels: Labels of the image.
    """
    environment = {
        **layout.ENVIRONMENT,
        **layout.PACKAGER_ENVIRONMENT,
        "PYTHONPATH": layout.PACKAGES,
        "PYTHONDONTWRITEBYTECODE": "1",
        **layout.PROCESS_ENVIRONMENT,
    }
    lines = [
        "# Any Linux with Python 3.11 as python3. Nothing is run while the image is built.",
        f"ARG BASE={DEFAULT_BASE}",
        "FROM ${BASE}",
        f"COPY {PACKAGES}/ {layout.PACKAGES}/",
        f"COPY {ROOT}/ /",
        f"COPY --chown={layout.USER}:{layout.USER} {ROOT}{layout.WORKING_DIRECTORY}/ {layout.WORKING_DIRECTORY}/",
        *(f"LABEL {name}={json.dumps(value)}" for name, value in labels.items()),
        *(f"ENV {name}={json.dumps(value)}" for name, value in environment.items()),
        f"WORKDIR {layout.WORKING_DIRECTORY}",
        f"USER {layout.USER}:{layout.USER}",
        f"ENTRYPOINT {json.dumps([layout.ENTRY_SCRIPT])}",
    ]
    return "\n".join(lines) + "\n"


def content_sha256(folder: Path) -> str:
    """Return a hash of the names, modes and contents of all files that the image receives."""
    digest = hashlib.sha256()
    for part in (PACKAGES, ROOT):
        for file in sorted(f for f in (folder / part).rglob("*") if f.is_file()):
            mode = "x" if file.stat().st_mode & 0o100 else "-"
            digest.update(f"{file.relative_to(folder)}\0{mode}\0{file_sha256(file)}\n".encode())
    return digest.hexdigest()


def _copy_application(root: Path) -> None:
    application = resource_path("maps/vessel_seg")
    ignored = shutil.ignore_patterns("__pycache__", "requirements.txt")
    shutil.copytree(application, _inside(root, layout.APPLICATION), ignore=ignored)
    for folder in (layout.INPUT, layout.OUTPUT, layout.LOGS):
        _inside(root, folder).mkdir(parents=True)
    shutil.copyfile(application / "app.yaml", _inside(root, layout.CONFIG))
    script = _inside(root, layout.ENTRY_SCRIPT)
    shutil.copyfile(resource_path("maps/container/tools"), script)
    script.chmod(0o755)


def _write_documents(root: Path, bundle: Path) -> None:
    """Copy model card and licences, for whoever opens the package."""
    documents = _inside(root, layout.DOCS)
    documents.mkdir(parents=True)
    for source in (bundle / "docs" / "README.md", bundle / "docs" / "data_license.txt", bundle / "LICENSE"):
        if source.is_file():
            shutil.copyfile(source, documents / source.name)


def _inside(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def _make_reproducible(folder: Path) -> None:
    """Set one time and plain permissions on every file and folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.chmod(0o755)
        else:
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (_TIME, _TIME))
    os.utime(folder, (_TIME, _TIME))
