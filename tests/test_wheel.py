"""The wheel: built, installed without the checkout, and used. It carries bundles, label app, maps and page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UV = ROOT / ".uv" / "bin" / "uv"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not UV.exists():
        pytest.skip("no .uv: run `make setup` to build the wheel")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


def runner(python: Path, folder: Path) -> Run:
    """Run ``minivess`` of an environment in a folder, which is that of the environment, too."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.with_name("minivess")), *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def borrowed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The wheel in an environment of its own that borrows the locked dependencies of this one: seconds in place of minutes."""
    folder = tmp_path_factory.mktemp("borrowed")
    python = folder / "env" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder / "env"], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, "--no-deps", wheel], check=True)
    site = folder / "env" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # not its own .pth files: no checkout
    return runner(python, folder)


def use(run: Run, bundle: Path) -> None:
    assert "Example: minivess demo" in run("--help").stdout
    report = json.loads(run("doctor", "--json").stdout)
    checks = {row["what"]: row for row in report["checks"]}
    assert all(checks[name]["ok"] for name in ("bundles/segresnet", "monailabel_app", "maps/vessel_seg"))
    assert str(ROOT / "src") not in json.dumps(report)
    made = run("synth", "make", "data", "--count", "1", "--shape", "32", "32", "8")
    assert made.returncode == 0, made.stderr
    (image,) = (Path(made.args[0]).parents[2] / "data" / "images").glob("*.nii.gz")
    predicted = run("predict", str(image), "--bundle", str(bundle), "--out", "predicted", "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert list((image.parents[2] / "predicted").glob("*.nii.gz"))


def test_the_wheel_works_without_the_checkout(borrowed: Run, bundle: Path) -> None:
    use(borrowed, bundle)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, bundle: Path, tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "env"], check=True)
    pins = tmp_path / "pins.txt"
    rows = (ROOT / "requirements" / "dev.txt").read_text().splitlines()
    pins.write_text("\n".join(row.rstrip(" \\") for row in rows if "==" in row and row[0].isalnum()))
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, "--constraint", pins, wheel], check=True)
    use(runner(python, tmp_path), bundle)
