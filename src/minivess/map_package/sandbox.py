"""Commands that run a MAP's folder without a container engine: in bubblewrap, or as a plain process of this environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import minivess
from minivess.errors import InputError
from minivess.map_package import layout
from minivess.map_package.folder import PACKAGES, ROOT
from minivess.map_package.manifests import Manifests

#: Folders of the system that hold programs and libraries, not settings.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")


def read_manifests(folder: Path) -> Manifests:
    """Return the manifests of a MAP's folder.

    Raises:
        InputError: When the folder holds no MAP.
    """
    files = [folder / ROOT / path.lstrip("/") for path in (layout.APP_MANIFEST, layout.PACKAGE_MANIFEST)]
    for file in files:
        if not file.is_file():
            raise InputError(f"{folder} is no MAP: {file.relative_to(folder)} is missing. Write one: minivess map build --help")
    return Manifests.parse(*(file.read_bytes() for file in files))


def in_process(
    folder: Path, manifests: Manifests, *, source: Path, target: Path, arguments: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return command and environment that run the application as a child of this process, with its rights.

    Args:
        folder: The MAP's folder.
        manifests: Its manifests.
        source: Input folder.
        target: Output folder.
        arguments: Options of the application.
    """
    places = {layout.INPUT: source.resolve(), layout.OUTPUT: target.resolve()}
    root = (folder / ROOT).resolve()

    def outside(word: str) -> str:
        if word in places:
            return str(places[word])
        return str(root / word.lstrip("/")) if word.startswith(("/opt/holoscan", "/var/holoscan", "/etc/holoscan")) else word

    command = [_python(folder) if word == "python3" else outside(word) for word in manifests.command]
    environment = {name: outside(value) for name, value in manifests.environment.items()}
    unchanged = {"PYTHONDONTWRITEBYTECODE": "1"}  # a folder whose content is signed or hashed stays as it is
    return [*command, *arguments], {**environment, **unchanged, **_python_path(folder, str((folder / PACKAGES).resolve()))}


def in_bubblewrap(
    folder: Path, manifests: Manifests, *, source: Path, target: Path, arguments: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return command and environment that run the application in bubblewrap: no network, everything read-only but the output.

    Args:
        folder: The MAP's folder.
        manifests: Its manifests.
        source: Input folder.
        target: Output folder; it belongs to the caller.
        arguments: Options of the application.
    """
    root = (folder / ROOT).resolve()
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--proc", "/proc", "--dev", "/dev"]
    words += ["--tmpfs", "/tmp"]  # noqa: S108 (inside)
    for name in _SYSTEM:
        link = Path(name).is_symlink()
        words += ["--symlink", str(Path(name).readlink()), name] if link else ["--ro-bind-try", name, name]
    environment = {**manifests.environment, **layout.PROCESS_ENVIRONMENT, "TZ": layout.local_zone()}
    environment |= _python_path(folder, layout.PACKAGES)
    places = {str(Path(sys.executable).resolve().parents[1])}
    if has_packages(folder):
        words += ["--ro-bind", str((folder / PACKAGES).resolve()), layout.PACKAGES]
    else:
        places |= {sys.prefix, sys.base_prefix, str(Path(minivess.__file__).resolve().parents[1])}  # the last: of a checkout
    places = {place for place in places if not place.startswith("/usr")}
    for place in sorted(places):
        words += ["--ro-bind", place, place]
    for path in ("/etc/holoscan", "/opt/holoscan", layout.WORKING_DIRECTORY):
        words += ["--ro-bind", str(root / path.lstrip("/")), path]
    words += ["--ro-bind", str(source.resolve()), layout.INPUT, "--bind", str(target.resolve()), layout.OUTPUT]
    words += ["--remount-ro", "/", "--uid", str(layout.USER), "--gid", str(layout.USER), "--chdir", layout.WORKING_DIRECTORY]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    command = [_python(folder) if word == "python3" else word for word in manifests.command]
    return [*words, "--", *command, *arguments], {}  # what a package calls its command is no option


def has_packages(folder: Path) -> bool:
    """Return whether a MAP's folder carries its Python packages."""
    return (folder / PACKAGES).is_dir() and any((folder / PACKAGES).iterdir())


def _python(folder: Path) -> str:
    """Return the interpreter: with packages in the folder, one that sees no others."""
    return str(Path(sys.executable).resolve()) if has_packages(folder) else sys.executable


def _python_path(folder: Path, packages: str) -> Mapping[str, str]:
    """Return the variable that makes Python find the packages of the folder; none when it has none."""
    return {"PYTHONPATH": packages} if has_packages(folder) else {}
