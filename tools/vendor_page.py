"""Bring niivue for the page: fetch the pinned npm package, check its integrity, copy the one file that is used.

python tools/vendor_page.py          fetch (needs npm)
python tools/vendor_page.py check    compare what lies there with the pinned hash (needs nothing)
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@niivue/niivue@0.69.0"
INTEGRITY = "sha512-YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
FILE = "package/dist/index.js"
FILE_SHA256 = "d6c2be4feb1ad53b2ac76b4196da8d8fd2263b662b511c55ca0fd127eb6a6532"
TARGET = Path(__file__).resolve().parents[1] / "src" / "minivess" / "server" / "page" / "vendor" / "niivue.js"


def fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True)
        archive = Path(folder) / packed.stdout.strip().splitlines()[-1]
        got = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if got != INTEGRITY:
            raise SystemExit(f"{PACKAGE} is not what was pinned: {got}")
        with tarfile.open(archive) as tar:
            TARGET.write_bytes(tar.extractfile(FILE).read())


def check() -> int:
    if hashlib.sha256(TARGET.read_bytes()).hexdigest() != FILE_SHA256:
        print(f"{TARGET.name} is not the pinned {PACKAGE}: run tools/vendor_page.py")
        return 1
    print("niivue is the pinned one")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] != ["check"]:
        fetch()
    sys.exit(check())
