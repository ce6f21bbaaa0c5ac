"""A disk that is really full, and one that is really read-only: a small file system of its own, mounted for the test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from store.conftest import image_volume, label_volume

from minivess.volume import write_volume

SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
from minivess.errors import MinivessError
from minivess.store import LabelStore
from minivess.store.repair import repair_store
disk, files = Path(sys.argv[1]), Path(sys.argv[2])
(disk / "studies").mkdir()
(disk / "studies" / "a.nii.gz").write_bytes((files / "a.nii.gz").read_bytes())
store = LabelStore(disk / "studies")
store.images.scan()
told = {}

def submit(seed):
    try:
        return store.submit(files / f"{seed}.nii.gz", image_id="a", actor="ann").number
    except MinivessError as error:
        return f"{type(error).__name__} {error.http_status}: {error}"

told["first"] = submit(0)
filler = disk / "filler"
with filler.open("wb", buffering=0) as stream:
    try:
        while True:
            stream.write(bytes(4096))
    except OSError:
        pass
told["full"] = submit(1)
told["after_full"] = [r.number for r in store.history("a")]
filler.unlink()
told["room_again"] = submit(1)
store.close()  # a system lets nobody make a disk read-only under an open file
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
try:
    LabelStore(disk / "studies")
    told["opened_read_only"] = "yes"
except MinivessError as error:
    told["opened_read_only"] = f"{type(error).__name__} {error.http_status}: {error}"
subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
store = LabelStore(disk / "studies")
told["kept"] = [r.number for r in store.history("a")] == [told["first"], told["room_again"]]
told["writable_again"] = submit(2)
told["chain"] = store.journal.audit.verify().ok
told["faults"] = repair_store(store)["faults"]
print(json.dumps(told))
"""


@pytest.mark.row(44)
def test_a_full_and_a_read_only_disk_lose_nothing(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody mount a small disk (unshare -rm)")
    write_volume(image_volume(), tmp_path / "a.nii.gz")
    for seed in range(3):
        write_volume(label_volume(seed), tmp_path / f"{seed}.nii.gz")
    (tmp_path / "script.py").write_text(SCRIPT)
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=6m none "{disk}" && exec "$0" "$@"', sys.executable, "-W", "ignore",
         str(tmp_path / "script.py"), str(disk), str(tmp_path)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(told["first"], int)
    for when, word in (("full", "No space left"), ("opened_read_only", "ead-only")):
        assert told[when].startswith(("StoreError 503", "OutputError 507")), told
        assert word in told[when], told
        assert "nothing was changed" in told[when].lower(), told
    assert told["after_full"] == [told["first"]]
    assert told["kept"]
    assert isinstance(told["room_again"], int)
    assert isinstance(told["writable_again"], int)
    assert told["chain"]
    assert told["faults"] == []
