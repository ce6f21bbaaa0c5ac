"""Changed headers of every file format: each ends in a volume or in our own error, in bounded memory and time, and no other file is read.

    python benchmarks/fuzz_readers.py --seconds 3600
    strace -f --seccomp-bpf -e trace=openat -o opened.txt python benchmarks/fuzz_readers.py --seconds 3600

The second form records every file that is opened; ``--opened opened.txt`` then lists those that are neither the changed file nor
a part of Python or of a library.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from minivess.dicom import read_seg, read_series, write_seg, write_series
from minivess.errors import MinivessError
from minivess.volume import Volume, read_volume, write_volume
from minivess.volume.segments import segments_of

LIMIT_BYTES = 64 * 2**20
HEADER_BYTES = 700
NUMBERS = (0, 1, -1, 2, 127, 255, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**40)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30)
LINES = (
    "data file: {other}", "DATA FILE: {other}", "datafile: LIST 2", "ElementDataFile = {other}", "ElementDataFile = LIST",
    "sizes: 99999 99999 99999", "DimSize = 99999 99999 99999", "encoding: bzip2", "encoding: ascii", "endian: big", "NDims = 4",
    "CompressedData = True", "BinaryDataByteOrderMSB = True", "dimension: 16", "space directions: none none none",
    "space origin: (nan,nan,nan)", "ElementSpacing = 0 0 0", "type: block", "byte skip: -1", "HeaderSize = -1", "line skip: 9",
    "Segment0_LabelValue:=999999999999", "Segment0_Extent:=5 -5 0 99999 0 1", "Segmentation_ReferenceImageExtentOffset:=9 9 99999",
)  # fmt: skip


def examples(folder: Path) -> dict[str, bytes]:
    """Return file name -> a good file of every format."""
    stack = (np.random.default_rng(0).random((10, 24, 32)) * 4000).astype(np.uint16)
    volume = Volume(np.ascontiguousarray(stack.T), np.diag([-0.5, -0.5, 2.0, 1.0]), "mm")
    upright = Volume(volume.array, np.diag([0.5, 0.5, 2.0, 1.0]), "mm")
    names = ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.ome.tif")
    files = [write_volume(upright if "tif" in name else volume, folder / name) for name in names]
    tifffile.imwrite(folder / "imagej.tif", stack, imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"})
    tifffile.imwrite(folder / "lzw.tif", stack, compression="lzw")
    found = {path.name: path.read_bytes() for path in [*files, folder / "imagej.tif", folder / "lzw.tif"]}
    head, _, voxels = found["a.nrrd"].partition(b"\n\n")
    found["a.seg.nrrd"] = (
        head + b"\nSegment0_ID:=s\nSegment0_Name:=vessel\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n\n" + voxels
    )
    series = write_series(Volume(stack.T, volume.affine, "mm"), folder / "series", name="x")
    (folder / "run").mkdir()
    first = min(series.iterdir())
    shutil.copytree(series, folder / "run" / "slice_dcm")
    (folder / "run" / "slice_dcm" / first.name).rename(folder / "run" / "slice_dcm" / "slice.dcm")
    found["slice.dcm"] = first.read_bytes()
    source = read_series(series)
    mask = Volume((source.volume.array > 2000).astype(np.uint8), source.volume.affine, source.volume.unit)
    found["seg.dcm"] = write_seg(mask, source, None, folder / "seg.dcm").read_bytes()
    return found


def changed(whole: bytes, choose: random.Random, other: Path) -> bytes:
    """Return the file with one to four changes in its header, or cut off."""
    data = bytearray(whole)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(min(len(data), HEADER_BYTES))
        kind = choose.randrange(6)
        if kind == 0:
            data[at] = choose.randrange(256)
        elif kind == 1:
            form = choose.choice("<>") + choose.choice("bhiq")
            mask = (1 << 8 * struct.calcsize(form)) - 1
            data[at : at + struct.calcsize(form)] = (choose.choice(NUMBERS) & mask).to_bytes(
                struct.calcsize(form), "little" if form[0] == "<" else "big"
            )
        elif kind == 2:
            form = choose.choice(("<f", ">f", "<d"))
            data[at : at + struct.calcsize(form)] = struct.pack(form, choose.choice(FLOATS))
        elif kind == 3:
            end = data.find(b"\n", at)
            line = choose.choice(LINES).format(other=other).encode()
            data[end + 1 : end + 1] = line + b"\n"
        elif kind == 4:
            del data[at : at + choose.randint(1, 40)]
        else:
            del data[choose.randrange(len(data)) :]
        if not data:
            return b"\0"
    return bytes(data)


def reader_of(name: str) -> Callable[[Path], object]:
    """Return what reads a file of that name."""
    if name == "slice.dcm":
        return lambda path: read_series(path.parent, limit_bytes=LIMIT_BYTES)
    if name == "seg.dcm":
        return read_seg
    if name.endswith(".seg.nrrd"):
        return lambda path: (segments_of(path), read_volume(path, limit_bytes=LIMIT_BYTES))
    spacing = (1.0, 1.0, 5.0) if name == "lzw.tif" else None
    return lambda path: read_volume(path, spacing=spacing, limit_bytes=LIMIT_BYTES)


def fuzz(seconds: float, seed: int) -> int:
    """Read changed files until the time is over; print a table; return the number of faults."""
    choose, faults, results, slowest = random.Random(seed), Counter[str](), Counter[str](), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="fuzz_") as temporary:
        folder = Path(temporary)
        good = examples(folder)
        other = folder / "another_file_secret.raw"
        other.write_bytes(b"secret" * 10_000)
        for name, whole in good.items():
            place = folder / "run" / name.replace(".", "_")
            place.mkdir(exist_ok=True)
            (place / name).write_bytes(whole)
            reader_of(name)(place / name)  # the good file is read, and every library is loaded
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = choose.choice(list(good))
            file = folder / "run" / name.replace(".", "_") / name
            zipped = name.endswith(".gz") and choose.random() < 0.8
            content = changed(gzip.decompress(good[name]) if zipped else good[name], choose, other)
            file.write_bytes(gzip.compress(content, 1) if zipped else content)
            start = time.monotonic()
            try:
                reader_of(name)(file)
                results[name, "read"] += 1
            except MinivessError:
                results[name, "refused"] += 1
            except Exception as error:  # noqa: BLE001 (these are looked for)
                faults[f"{name}: {type(error).__name__}: {str(error)[:120]}"] += 1
                kept = Path(f"fault_{len(faults)}_{name}")
                if faults.total() == len(faults):
                    kept.write_bytes(file.read_bytes())
            slowest[name] = max(slowest.get(name, 0), time.monotonic() - start)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print("| file | read | refused | slowest s |\n|---|---|---|---|")
    for name in good:
        print(f"| {name} | {results[name, 'read']} | {results[name, 'refused']} | {slowest.get(name, 0):.2f} |")
    print(f"{results.total() + faults.total()} files, {faults.total()} errors that are not ours, memory grew by {grown:.0f} MB")
    print(*(f"{count} x {fault}" for fault, count in faults.most_common()), sep="\n")
    return faults.total()


def others_opened(trace: Path) -> list[str]:
    """List the opened files that are neither the changed file nor a part of Python, a library or the system."""
    text = trace.read_text(errors="replace")
    paths = set(re.findall(r'openat\([^,]+, "([^"]+)"', text[max(0, text.find("/run/a_nii/")) :]))  # after what Python loads
    known = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/proc", "/sys", "/dev", str(Path(__file__).resolve().parents[1]))
    return sorted(p for p in paths if not p.startswith(known) and not re.search(r"/fuzz_[^/]+/run/", p))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the changes (default: %(default)s)")
    parser.add_argument("--opened", type=Path, help="list the other files in a record of strace, and stop")
    chosen = parser.parse_args()
    if chosen.opened:
        print(*others_opened(chosen.opened), sep="\n")
        sys.exit()
    warnings.simplefilter("ignore")
    sys.exit(1 if fuzz(chosen.seconds, chosen.seed) else 0)
