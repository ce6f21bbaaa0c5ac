"""Changed DICOM headers through the MAP's real command: each series ends in a result or in a refusal, and no patient is named.

    python benchmarks/fuzz_map.py --model runs/demo/model --seconds 3600 [--seed 0] [--out faults/]

A small CT series with made-up patient data is changed in one to three places: a value, an element that is missing or repeated in a
wrong form, in one slice or in all, or bytes of a file. What counts as a fault: another exit code than 0 or 1, a traceback, more
than a minute, a value of the patient in what is printed or in result.json, a part of a result beside a refusal, a result that highdicom
does not read, and an error that dciodvfy finds in the SEG. The libraries are loaded once; each run is a fork.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from minivess.process_setup import prepare_process

prepare_process(only_predicts=True)

import highdicom
import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence

from minivess.dicom import write_series
from minivess.paths import resource_path
from minivess.synth import make_sample

sys.path.insert(0, str(resource_path("maps/vessel_seg")))
import app  # noqa: F401 (torch and Holoscan are loaded here, once)
import command

LIMIT_S = 60
SECRETS = ("Sekretova", "SECRETID", "19010203", "SECRETPHYSICIAN")
#: Beside those of the file: what a series may have, and what others copy from it.
TAGS = (
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight", "StudyTime", "AcquisitionDateTime", "SliceThickness",
    "SpacingBetweenSlices", "RescaleType", "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "SmallestImagePixelValue", "BodyPartExamined", "Laterality", "PatientPosition", "BurnedInAnnotation", "LossyImageCompression",
    "ImagesInAcquisition", "TimezoneOffsetFromUTC", "SpecificCharacterSet", "PlanarConfiguration", "NumberOfFrames", "AccessionNumber",
    "ReferringPhysicianName", "ProcedureCodeSequence", "AnatomicRegionSequence", "ModalityLUTSequence", "VOILUTSequence", "ImageType",
    "TemporalPositionIdentifier", "DiffusionBValue", "GantryDetectorTilt", "SOPClassUID", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
TEXTS = (
    "", " ", "\\", "a\\b\\c", "0", "-1", "1e400", "nan", "inf", "-0.0", "99999999999999999999", "0.5\\0.5\\0.5", "2.5", "19010203", "190102",
    "1901.02.03", "99999999", "250000", "Sekretova^Anna==", "=" * 5, "山田^太郎", "x" * 70, "x" * 5000, "\n", "\0", "..", "1.2.3", "1.2.a", "CT",
    "ISO_IR 192", "ISO 2022 IR 87", "GB18030", "LATIN", "YES", "ORIGINAL\\PRIMARY\\LOCALIZER", "1\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0",
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 17, 32, 64, 255, 32767, 65535)


def make_series(folder: Path) -> Path:
    """Write a small series of a patient who must not be named."""
    sample = make_sample("capillary", seed=0, shape=(24, 20, 8))
    series = write_series(sample.image, folder / "good", name="good")
    for file in series.iterdir():
        data = pydicom.dcmread(file)
        data.PatientName, data.PatientID, data.PatientBirthDate = "Sekretova^Anna", "SECRETID", "19010203"
        data.ReferringPhysicianName = "SECRETPHYSICIAN"
        data.save_as(file)
    return series


def change_header(data: pydicom.Dataset, choose: random.Random) -> None:
    """Change, remove or add one element, with a value that its VR may not have."""
    present = [element.tag for element in data.iterall() if element.keyword != "PixelData"]
    tag = choose.choice(present) if choose.random() < 0.7 else pydicom.tag.Tag(choose.choice(TAGS))
    if choose.random() < 0.15:
        if tag in data:
            del data[tag]
        return
    vr = dictionary_VR(tag).split(" ")[0] if choose.random() < 0.9 else choose.choice(("LO", "DS", "US", "SQ", "UN", "OB"))
    data[tag] = _element(tag, vr, choose)


def _element(tag: int, vr: str, choose: random.Random) -> DataElement:
    if vr == "SQ":
        items = [pydicom.Dataset() for _ in range(choose.randrange(3))]
        for item in items:
            item[0x00080100] = DataElement(0x00080100, "SH", choose.choice(TEXTS)[:16])
        return DataElement(tag, vr, Sequence(items))
    if vr in ("US", "SS", "UL", "SL", "UV", "SV"):
        values = [choose.choice(NUMBERS) % (2**15) for _ in range(choose.choice((1, 1, 1, 0, 2)))]
        return DataElement(tag, vr, values if len(values) != 1 else values[0])
    if vr in ("FL", "FD"):
        return DataElement(tag, vr, choose.choice((0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30)))
    if vr in ("OB", "OW", "UN", "OF", "OD", "OL", "OV"):
        return DataElement(tag, vr, os.urandom(2 * choose.randrange(20)))
    element = DataElement(tag, "LO", choose.choice(TEXTS))
    element.VR = vr  # past pydicom's conversion, as a careless device writes it
    return element


def change_bytes(file: Path, choose: random.Random) -> None:
    """Change, remove or insert bytes of a file, or cut it off."""
    data = bytearray(file.read_bytes())
    at = choose.randrange(128, len(data)) if choose.random() < 0.3 else choose.randrange(128, min(len(data), 1500))
    kind = choose.randrange(4)
    if kind == 0:
        data[at] = choose.randrange(256)
    elif kind == 1:
        del data[at : at + choose.randint(1, 20)]
    elif kind == 2:
        data[at:at] = bytes(choose.randrange(256) for _ in range(choose.randint(1, 8)))
    else:
        del data[at:]
    file.write_bytes(bytes(data))


def change_series(series: Path, choose: random.Random) -> None:
    """Change a series in one to three places."""
    files = sorted(series.iterdir())
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        if choose.random() < 0.15:
            change_bytes(choose.choice(files), choose)
            continue
        seed, chosen = choose.random(), files if choose.random() < 0.6 else [choose.choice(files)]
        for file in chosen:
            try:
                data = pydicom.dcmread(file, force=True)
                change_header(data, random.Random(seed))
                data.save_as(file, enforce_file_format=False)
            except Exception:  # noqa: BLE001 (what cannot be written is no input)
                continue


def run(series: Path, out: Path, model: Path, said: Path, options: list[str]) -> tuple[int, float]:
    """Run the command in a fork; return its exit code, or -1 when it ran too long, and its seconds."""
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = 99
        try:
            code = command.main(["-i", str(series), "-o", str(out), "-m", str(model), "--any-modality", *options])
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(code)
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() - start > LIMIT_S:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1, time.monotonic() - start
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1]), time.monotonic() - start


def judge(code: int, out: Path, said: str) -> list[str]:
    """List what is wrong with the end of a run."""
    faults = [] if code in (0, 1) else [f"exit code {code}: {said.strip().splitlines()[-1:]}"]
    faults += ["a traceback"] if "Traceback" in said else []
    printed = said + ((out / "result.json").read_text() if (out / "result.json").is_file() else "")
    faults += [f"prints {secret}" for secret in SECRETS if secret in printed]
    left = [path.name for path in out.parent.iterdir() if path.name not in ("in", "said")]
    if code != 0:
        return faults + ([f"leaves {sorted(left)}"] if left else [])
    try:
        highdicom.seg.segread(out / "vessels.seg.dcm")
    except Exception as error:  # noqa: BLE001 (any is a fault)
        faults.append(f"highdicom: {type(error).__name__}: {str(error)[:80]}")
    verify = [Path(sys.executable).with_name("dciodvfy"), out / "vessels.seg.dcm"]
    found = subprocess.run(verify, capture_output=True, text=True, check=False, errors="replace")
    return faults + [f"dciodvfy: {line[:110]}" for line in found.stderr.splitlines() if line.startswith("Error")]


def fuzz(model: Path, seconds: float, seed: int, keep: Path | None) -> int:
    """Run changed series until the time is over; print what happened; return the number of faults."""
    choose, ends, faults, refusals, slowest = random.Random(seed), Counter[int](), Counter[str](), Counter[str](), 0.0
    with tempfile.TemporaryDirectory(prefix="fuzz_map_") as temporary:
        good = make_series(Path(temporary))
        place = Path(temporary) / "run"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(good, place / "in")
            change_series(place / "in", choose)
            options = choose.choice(([], [], ["--pictures"], ["--seg-type", "labelmap"], ["--seg-type", "fractional"]))
            code, lasted = run(place / "in", place / "out", model, place / "said", options)
            said = (place / "said").read_text(errors="replace")
            ends[code] += 1
            slowest = max(slowest, lasted)
            if code == 1:
                refusals[said.split(":")[0].splitlines()[-1][:40]] += 1
            for fault in judge(code, place / "out", said):
                faults[fault] += 1
                if faults[fault] == 1 and keep:
                    shutil.copytree(place, keep / f"{len(faults)}", dirs_exist_ok=True)
                    (keep / f"{len(faults)}" / "fault.txt").write_text(f"{fault}\n{options}\n")
    print(f"{ends.total()} series: {dict(ends)} by exit code; slowest {slowest:.1f} s; refusals {dict(refusals)}")
    print(f"peak memory of a run {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB")
    print(f"{faults.total()} faults", *(f"{count} x {fault}" for fault, count in faults.most_common()), sep="\n")
    return faults.total()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="bundle with weights")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the changes (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="new folder that keeps the first input of every kind of fault")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    sys.exit(1 if fuzz(chosen.model.resolve(), chosen.seconds, chosen.seed, chosen.out) else 0)
