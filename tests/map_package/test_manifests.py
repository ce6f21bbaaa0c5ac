from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.errors import InputError
from minivess.map_package import layout
from minivess.map_package.check import check_manifests
from minivess.map_package.folder import copy_for_delivery
from minivess.map_package.manifests import Manifests, app_manifest, package_manifest, parse_size

#: What the packager of the SDK writes (holoscan-cli 4.2.0).
PACKAGER_APP = {
    "apiVersion": "1.0.0",
    "command": '["python3", "/opt/holoscan/app"]',
    "environment": {"HOLOSCAN_DOCS_PATH": "/opt/holoscan/docs", "HOLOSCAN_WORKDIR": "/var/holoscan"},
    "input": {"path": "input/", "formats": None},
    "output": {"path": "output/", "formats": None},
    "version": "0.1.0",
    "workingDirectory": "/var/holoscan",
}
PACKAGER_PACKAGE = {
    "applicationRoot": "/opt/holoscan/app",
    "models": {"thr": "/opt/holoscan/models/thr"},
    "resources": {"cpu": 1, "gpu": 0, "memory": "1Gi"},
}


def parse(app: object, package: object) -> Manifests:
    return Manifests.parse(json.dumps(app).encode(), json.dumps(package).encode())


def ours() -> Manifests:
    package = package_manifest(version="1.2.3", models=["a", "b"], memory_bytes=3 * 2**30, gpu=False)
    return parse(app_manifest(version="1.2.3", sdk_version="4.0.0"), package)


def test_ours_has_every_field_of_the_specification() -> None:
    assert [finding for finding in check_manifests(ours()) if finding.result != "ok"] == []


def test_both_spellings_mean_the_same() -> None:
    other = parse(PACKAGER_APP, PACKAGER_PACKAGE)
    assert other.command == ours().command == ["python3", "/opt/holoscan/app"]
    assert other.models == {"thr": "/opt/holoscan/models/thr"}
    assert ours().models == {name: f"{layout.MODELS}/{name}" for name in ("a", "b")}
    assert (other.memory_bytes, ours().memory_bytes) == (2**30, 3 * 2**30)


def test_the_packagers_slips_are_named_and_no_errors() -> None:
    findings = {f.check: f.result for f in check_manifests(parse(PACKAGER_APP, PACKAGER_PACKAGE)) if f.result != "ok"}
    assert findings == dict.fromkeys(
        ("app.json: type", "app.json: input.formats", "app.json: output.format", "app.json: environment", "pkg.json: models"),
        "warning",
    )


def test_a_manifest_without_a_command_is_an_error() -> None:
    findings = {f.check: f.result for f in check_manifests(parse({}, {"resources": {"memory": "lots"}}))}
    assert findings["app.json: command"] == findings["pkg.json: resources.memory"] == "error"


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"1"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(InputError, match=r"app\.json"):
        Manifests.parse(text, b"{}")


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("64Mi", 2**26), ("1.5Gi", 3 * 2**29), ("2g", 2**31), ("10 KB", 10240)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Gi", "-1Gi", "1Xi", "nan"])
def test_no_size(text: str) -> None:
    with pytest.raises(InputError, match="4Gi"):
        parse_size(text)


def test_what_stays_in_the_lab_does_not_travel(tmp_path: Path) -> None:
    for name in ("configs/a.yaml", "models/model.safetensors", "models/previous/1/model.safetensors", "runs/train/log.csv"):
        (tmp_path / "bundle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bundle" / name).touch()
    copy_for_delivery(tmp_path / "bundle", tmp_path / "copy")
    copied = {str(f.relative_to(tmp_path / "copy")) for f in (tmp_path / "copy").rglob("*") if f.is_file()}
    assert copied == {"configs/a.yaml", "models/model.safetensors"}


def test_the_package_describes_itself(package: Path) -> None:
    root = package / "root"
    manifests = Manifests.parse((root / "etc/holoscan/app.json").read_bytes(), (root / "etc/holoscan/pkg.json").read_bytes())
    assert manifests.models == {"vessels": "/opt/holoscan/models/vessels"}
    assert manifests.memory_bytes is not None
    assert 2**30 < manifests.memory_bytes < 2 * 2**30  # of 64 x 64 x 32 voxels
    sbom = json.loads((root / "opt/holoscan/docs/sbom.cdx.json").read_text())
    versions = {component["name"].lower(): component["version"] for component in sbom["components"]}
    assert {"torch", "monai", "highdicom", "minivess", "monai-deploy-app-sdk"} <= set(versions)
    assert not {"triton", "mlflow", "pytest"} & set(versions)
    assert (root / "opt/holoscan/docs/README.md").is_file()
    assert "COPY" in (package / "Containerfile").read_text()
