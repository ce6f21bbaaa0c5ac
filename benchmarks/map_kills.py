"""Stop the MAP at random moments: is there ever half a result, does the next run work, does a process stay?

    python benchmarks/map_kills.py --model runs/demo/model [--count 60] [--seed 0]

The moments are uniform over the time that a whole run takes; the signals SIGTERM, SIGINT and SIGKILL take turns. All runs write to one
folder, which nobody cleans in between.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from minivess.dicom import write_series
from minivess.paths import file_sha256, resource_path
from minivess.synth import make_sample

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background with SIGINT ignored


def start(source: Path, out: Path, model: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, resource_path("maps/vessel_seg"), "-i", source, "-o", out, "-m", model, "--any-modality"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def is_whole(out: Path) -> bool:
    """Return whether a result is complete: its index is there, and every file that it names, unchanged."""
    index = json.loads((out / "result.json").read_text())
    return all(file_sha256(out / name) == digest for name, digest in index["files"].items())


def one(source: Path, out: Path, model: Path, number: signal.Signals, after_s: float) -> tuple[str, float]:
    """Stop one run; return what was there then, and how long it took to end."""
    process = start(source, out, model)
    time.sleep(after_s)
    family = (
        [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
    )
    asked = time.monotonic()
    process.send_signal(number)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    took_s = time.monotonic() - asked
    if alive:
        return "a process stayed", took_s
    content = sorted(f.name for f in out.iterdir()) if out.exists() else []
    if not content:
        return "nothing", took_s
    result = "whole result" if "result.json" in content and is_whole(out) else f"half a result: {content}"
    shutil.rmtree(out)  # a result is refused as a target; this is no cleaning after a stop
    return result, took_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        source = write_series(make_sample("capillary", 0, shape=(96, 96, 16)).image, folder / "in", name="x")
        begun = time.monotonic()
        assert start(source, folder / "first", arguments.model).wait() == 0
        whole_s = time.monotonic() - begun
        found: Counter[tuple[str, str]] = Counter()
        slowest = (0.0, "", 0.0)
        for index in range(arguments.count):
            number = SIGNALS[index % len(SIGNALS)]
            after_s = float(rng.uniform(0, whole_s))
            what, took_s = one(source, folder / "out", arguments.model, number, after_s)
            found[number.name, what] += 1
            slowest = max(slowest, (took_s, number.name, after_s))
        last = start(source, folder / "out", arguments.model).wait()
        left = [name for name in os.listdir(folder) if name not in ("in", "first", "out")]
        works = last == 0 and is_whole(folder / "out")
    print(f"{arguments.count} runs, stopped between 0 and {whole_s:.1f} s")
    print(f"the slowest had ended {slowest[0]:.2f} s after {slowest[1]} at {slowest[2]:.1f} s")
    for (name, what), count in sorted(found.items()):
        print(f"  {name}: {what} ({count} times)")
    print(f"the next run without cleaning: {'a whole result' if works else 'FAILED'}; left behind after it: {left or 'nothing'}")
    if not works or left or any("half" in what or "stayed" in what for _, what in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
