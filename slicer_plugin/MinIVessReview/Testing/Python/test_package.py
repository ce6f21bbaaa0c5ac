"""The extension as Slicer's build and the Extensions Index look at it."""

from __future__ import annotations

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

PLUGIN = Path(__file__).resolve().parents[3]
ALLOWED_AT_FILE_SCOPE = {"slicer", "vtk", "qt", "ctk", "numpy", "requests", *sys.stdlib_module_names}
#: What the catalog's schema v1.0.1 asks for, from its documentation; the schema itself is fetched by the Index's own checks.
ENTRY = {
    "type": "object",
    "required": ["$schema", "category", "scm_url"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "pattern": r"slicer-extension-catalog-entry-schema-v1\.0\.[12]\.json#$"},
        "build_dependencies": {"type": "array", "items": {"type": "string"}},
        "build_subdirectory": {"type": "string"},
        "enabled": {"type": "boolean"},
        "category": {"enum": ["Active Learning", "Segmentation"]},
        "scm_revision": {"type": "string"},
        "scm_type": {"enum": ["git", "local"]},
        "scm_url": {"type": "string", "pattern": r"^https://.*/Slicer[^/]*\.git$"},
        "tier": {"enum": [1, 3, 5]},
    },
}


def test_the_build_lists_what_is_there(tmp_path: Path) -> None:
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake")
    assert cmake, "requirements/slicer.txt installs cmake"
    command = [cmake, "-S", str(PLUGIN), "-B", str(tmp_path), f"-DSlicer_DIR={PLUGIN / 'harness' / 'cmake'}"]
    without_compiler = [f"-DCMAKE_{n}_{v}" for n in ("C", "CXX") for v in ("COMPILER=/bin/true", "COMPILER_FORCED=1")]
    done = subprocess.run([*command, *without_compiler], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_description_is_a_valid_entry_of_the_catalog() -> None:
    entry = PLUGIN / "MinIVessReview.json"
    assert b"\r" not in entry.read_bytes()
    assert [error.message for error in Draft7Validator(ENTRY).iter_errors(json.loads(entry.read_text()))] == []
    assert f"project({entry.stem})" in (PLUGIN / "CMakeLists.txt").read_text()
    assert not entry.stem.startswith("Slicer")
    assert (PLUGIN / "LICENSE.txt").is_file()
    assert (PLUGIN / f"{entry.stem}.png").read_bytes().startswith(b"\x89PNG")


SHIPPED = sorted({PLUGIN / "MinIVessReview" / "MinIVessReview.py", *PLUGIN.glob("MinIVessReview/MinIVessReviewLib/*.py")})


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_files_import_only_what_slicer_ships_and_are_translated(file: Path) -> None:
    tree = ast.parse(file.read_text())
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert {name.split(".")[0] for name in names} <= ALLOWED_AT_FILE_SCOPE | {"MinIVessReviewLib"}
        assert not isinstance(node, ast.If | ast.For | ast.With | ast.While), "nothing is done at import"
    calls = [call for call in ast.walk(tree) if isinstance(call, ast.Call)]
    for call in calls:
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        text = call.args[0] if call.args and isinstance(call.args[0], ast.Constant) else None
        if name in ("message", "notify", "trained", "training", "setText"):
            assert text is None or not text.value, f"line {call.lineno}: not translated"
        if name == "_":
            assert text is not None, f"line {call.lineno}: only a constant can be collected for translation"


def test_the_self_test_that_ships_passes() -> None:
    from MinIVessReviewLib.selftest import MinIVessReviewTest

    MinIVessReviewTest().runTest()


def test_the_archive_is_one_that_slicer_installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("slicer_package", PLUGIN.parent / "tools" / "slicer_package.py")
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    monkeypatch.setattr(package, "ROOT", tmp_path)
    package.main("5.10")
    with zipfile.ZipFile(tmp_path / "dist" / "MinIVessReview.zip") as archive:
        names = archive.namelist()
        described = archive.read("MinIVessReview/share/Slicer-5.10/MinIVessReview.s4ext").decode().splitlines()
    modules = "MinIVessReview/lib/Slicer-5.10/qt-scripted-modules"
    assert {f"{modules}/{file.relative_to(PLUGIN / 'MinIVessReview').as_posix()}" for file in SHIPPED} <= set(names)
    fields = dict(line.partition(" ")[::2] for line in described)
    assert fields["category"] == "Active Learning"
    assert fields["scmurl"].startswith("https://")
    assert fields["description"]
