"""Pack the Slicer extension: what its CMake lists, after the check that the lists are whole. Writes dist/MinIVessReview.zip.

python tools/slicer_package.py [VERSION]      of Slicer, 5.12 unless stated: an extension is installed by the version it is for
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "slicer_plugin"
NAME = "MinIVessReview"


def listed() -> list[str]:
    text = (PLUGIN / NAME / "CMakeLists.txt").read_text()
    lists = re.findall(r"set\(MODULE_PYTHON_\w+\s+(.*?)\)", text, re.S)
    return [name.replace("${MODULE_NAME}", NAME) for names in lists for name in names.split()]


def description() -> str:
    """Write what Slicer's *Install from file* looks for in an archive: the fields of the extension's CMake file."""
    text = (PLUGIN / "CMakeLists.txt").read_text()
    fields = dict(re.findall(r'set\(EXTENSION_(\w+) "(.*?)"\)', text))
    entry = json.loads((PLUGIN / f"{NAME}.json").read_text())
    rows = {"scm": "git", "scmurl": entry["scm_url"], "scmrevision": entry["scm_revision"], "build_subdirectory": "."}
    names = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    rows |= {name.lower(): fields[name] for name in names} | {"status": "", "enabled": "1"}
    return "".join(f"{name} {value}\n" for name, value in rows.items())


def main(version: str = "5.12") -> None:
    cmake = Path(sys.executable).with_name("cmake")
    with tempfile.TemporaryDirectory() as build:
        command = [str(cmake), "-S", str(PLUGIN), "-B", build, f"-DSlicer_DIR={PLUGIN / 'harness' / 'cmake'}"]
        command += [
            f"-DCMAKE_{n}_{v}" for n in ("C", "CXX") for v in ("COMPILER=/bin/true", "COMPILER_FORCED=1")
        ]  # nothing to compile
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    target = ROOT / "dist" / f"{NAME}.zip"
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in listed():
            archive.write(PLUGIN / NAME / name, f"{NAME}/lib/Slicer-{version}/qt-scripted-modules/{name}")
        archive.writestr(f"{NAME}/share/Slicer-{version}/{NAME}.s4ext", description())
        for name in ("LICENSE.txt", "README.md", f"{NAME}.json"):
            archive.write(PLUGIN / name, f"{NAME}/{name}")
    print(f"{target.relative_to(ROOT)}: {len(listed())} files of the module, {target.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
