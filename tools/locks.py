"""Write and check the lock files: hash-pinned, and without the address of any package registry.

The lock that uv itself writes names registry hosts, so it is not committed; these exports of it are. Each carries the hash
of what pyproject.toml declares, which tells a stale one without a network.

    python tools/locks.py write UV [--upgrade]    python tools/locks.py check

``write`` keeps the versions of the committed locks where it can; ``--upgrade`` takes the newest ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: File -> the extras of its environment.
ENVIRONMENTS = {"dev.txt": ["--all-extras"], "label.txt": ["--extra", "label"]}
#: What the tests of the Slicer extension need, in an environment of its own: it owns the package name `slicer`.
SLICER = "slicer.in"
UV_VERSION = "0.13.9"


def declared() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = [
        project["project"]["requires-python"],
        project["project"]["dependencies"],
        project["project"]["optional-dependencies"],
        project["tool"]["uv"],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write(uv: str, *options: str) -> None:
    uv = str(Path(uv).resolve())
    folder = ROOT / "requirements"
    folder.mkdir(exist_ok=True)
    if "--upgrade" not in options and not (ROOT / "uv.lock").exists():
        lock_committed_versions(uv)
    subprocess.run([uv, "lock", *options], cwd=ROOT, check=True)
    for name, extras in ENVIRONMENTS.items():
        command = [uv, "export", "--frozen", "--no-emit-project", "--no-emit-index-url", "--no-annotate", "--no-header"]
        text = subprocess.run([*command, *extras], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        header = f"# Written by `make lock`; do not edit.\n# declared: {declared()}\n"
        (folder / name).write_text(header + text)
    (folder / "uv.txt").write_text(compiled(uv, f"uv=={UV_VERSION}\n"))
    wanted = (folder / SLICER).read_text()
    (folder / "slicer.txt").write_text(f"# declared: {hashlib.sha256(wanted.encode()).hexdigest()}\n" + compiled(uv, wanted))


def lock_committed_versions(uv: str) -> None:
    """Write uv.lock with the versions of requirements/dev.txt: in a copy of the project that has them as constraints."""
    lines = [line for line in (ROOT / "requirements" / "dev.txt").read_text().splitlines() if "==" in line and line[0].isalnum()]
    versions = [line.split(" ;")[0] for line in lines]
    names = Counter(version.split("==")[0] for version in versions)
    pins = [version for version in versions if names[version.split("==")[0]] == 1]  # others depend on the version of Python
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy / name)
        project = (copy / "pyproject.toml").read_text()
        constraints = f"[tool.uv]\nconstraint-dependencies = {json.dumps(pins)}\n"
        (copy / "pyproject.toml").write_text(project.replace("[tool.uv]\n", constraints, 1))
        subprocess.run([uv, "lock"], cwd=copy, check=True)
        shutil.copy(copy / "uv.lock", ROOT / "uv.lock")


def compiled(uv: str, wanted: str) -> str:
    command = [uv, "pip", "compile", "--python-version", "3.11", "--generate-hashes"]
    quiet = ["--no-emit-index-url", "--no-annotate", "--no-header", "-"]
    return subprocess.run([*command, *quiet], input=wanted, check=True, capture_output=True, text=True).stdout


def check() -> int:
    problems = []
    for name in ENVIRONMENTS:
        text = (ROOT / "requirements" / name).read_text()
        if f"# declared: {declared()}" not in text:
            problems.append(f"requirements/{name} is stale against pyproject.toml: run `make lock`")
        if "://" in text:
            problems.append(f"requirements/{name} names an address: run `make lock`")
    wanted = hashlib.sha256((ROOT / "requirements" / SLICER).read_bytes()).hexdigest()
    if wanted not in (ROOT / "requirements" / "slicer.txt").read_text():
        problems.append(f"requirements/slicer.txt is stale against {SLICER}: run `make lock`")
    print("\n".join(problems) or "locks are fresh")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        sys.exit(check())
    write(*sys.argv[2:])
