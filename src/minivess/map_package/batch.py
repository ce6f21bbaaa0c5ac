"""Run a MAP on every series below a folder: one result folder each, a summary of all; what is done already is not done again."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from pydicom.uid import UID

from minivess.dicom.series_files import group_series
from minivess.errors import ABOUT_INPUT, ConflictError, InputError
from minivess.map_package.stop_signals import StopSignals, noted_stop_signals
from minivess.paths import atomic_file, file_sha256
from minivess.process_lock import ProcessLock

#: Exit codes of the application for a result, and for a series that it refuses.
DONE, REFUSED = 0, 1
SUMMARY = "summary.csv"
_STATE = ".batch"
_POLL_S = 0.1
#: An error in the words of the application, which names its kind first.
_ERROR = re.compile(r"^\w+Error: .*", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SeriesResult:
    """What became of one series.

    Attributes:
        series: SeriesInstanceUID; the result is in the folder of this name.
        images: Number of files.
        result: ``done``, ``refused`` with a reason, or ``failed``.
        vessel_volume_mm3: Volume of the vessels; None without a result.
        reason: Why there is no result.
    """

    series: str
    images: int
    result: str
    vessel_volume_mm3: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Batch:
    """The series below a folder.

    Attributes:
        source: The folder.
        series: SeriesInstanceUID to files, sorted.
        unusable: SeriesInstanceUID to the reason why a series is not run; also damaged files, by their paths below the folder.
        links: Names of linked folders, which are not followed.
    """

    source: Path
    series: dict[str, list[Path]]
    unusable: dict[str, str]
    links: list[str]


def find_batch(source: Path, target: Path) -> Batch:
    """Find the series below a folder. A series with a damaged file in its folders is not run: slices may be missing.

    Args:
        source: Folder of any number of series, in any sub-folders.
        target: Folder for the results.

    Raises:
        InputError: When there is no such folder, no series, or the results would lie among the images.
    """
    if not source.is_dir():
        raise InputError(f"This is no folder: {source}. Choose the folder that contains the DICOM files.")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"The results would lie among the images: {target} is in {source}. Name another output.")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file. Name a folder for the results.")
    found = group_series(source)
    if not found.series and not found.damaged:
        raise InputError(f"No DICOM image series in {source}, only {len(found.ignored)} other files.")
    unusable = {str(file.relative_to(source)): str(error) for file, error in found.damaged.items()}
    for uid, files in found.series.items():
        beside = [file for file in found.damaged if file.parent in {f.parent for f in files}]
        if not UID(uid).is_valid:
            unusable[uid] = "SeriesInstanceUID is no valid UID. Export the series again."
        elif beside:
            unusable[uid] = f"A file beside its images is damaged: {beside[0].relative_to(source)}. Export the series again."
        elif uid in found.doubles:
            first, second = (file.relative_to(source) for file in found.doubles[uid])
            unusable[uid] = (
                f"Two of its images have one SOPInstanceUID: {first} and {second}. Remove the copy, or export it again."
            )
    return Batch(source, dict(sorted(found.series.items())), unusable, found.links)


def run_batch(
    batch: Batch, target: Path, command: Sequence[str], *, identity: str = "", limits: Sequence[str] = ()
) -> Iterator[SeriesResult]:
    """Run an application on each series; the summary is written after each.

    Args:
        batch: The series.
        target: Folder for the results; what the same command made of the same files before is not made again.
        command: The application; input and output folder are put in at ``{in}`` and ``{out}``.
        identity: See :func:`minivess.map_package.application.identify_application`; the result of another one is not taken for
            this one's.
        limits: Further options, which change no result: with others, what is there stays.

    Yields:
        What became of each series, as soon as it is known.

    Raises:
        ConflictError: When another batch writes there.
        OutputError: When the summary cannot be written.
        StoppedError: When SIGTERM or SIGINT came; the application is ended then.
    """
    (target / _STATE).mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(target / _STATE / "lock")
    if not lock.take(exclusive=True):
        raise ConflictError(f"Another batch writes to {target}. Wait for it, or name another output.")
    for left in (target / _STATE).glob("images-*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    results: list[SeriesResult] = []
    with noted_stop_signals() as signals:
        for name in [*batch.series, *(name for name in batch.unusable if name not in batch.series)]:
            files = batch.series.get(name, [batch.source / name])
            if name in batch.unusable:
                results.append(SeriesResult(name, len(files), "refused", reason=batch.unusable[name]))
            else:
                results.append(_run_one(name, files, target, command, identity, limits, signals))
            _write_summary(results, target / SUMMARY)
            yield results[-1]
    lock.release()


def _run_one(
    uid: str,
    files: Sequence[Path],
    target: Path,
    command: Sequence[str],
    identity: str,
    limits: Sequence[str],
    signals: StopSignals,
) -> SeriesResult:
    """Run the application on one series, unless its result is there."""
    out, key_file = target / uid, target / _STATE / f"{uid}.key"
    try:
        is_done = out.is_dir() and any(out.iterdir()) and _is_of(key_file, files, command, identity)
        keys = None if out.exists() else _keys(files, command, identity)
    except OSError as error:
        return SeriesResult(uid, len(files), "failed", reason=f"{error.strerror}: an image cannot be read.")
    if out.exists() and not is_done:
        reason = (
            "Its folder holds a result of other images, another model or other options. Move it away, or name another output."
        )
        return SeriesResult(uid, len(files), "failed", reason=reason)
    if not out.exists():
        with tempfile.TemporaryDirectory(prefix="images-", dir=target / _STATE) as folder:
            Path(folder).chmod(0o755)  # a container reads it as another user
            try:
                for number, file in enumerate(files):
                    _link(file, Path(folder) / f"{number:05d}.dcm")
            except OSError as error:
                return SeriesResult(uid, len(files), "failed", reason=f"{error.strerror}: an image could not be copied.")
            _write_text(key_file, json.dumps(keys))
            paths = {"{in}": folder, "{out}": str(out)}
            words = [paths.get(word, word) for word in (*command, *limits)]
            code, said = _run(words, signals)
        if code != DONE:
            said = said.replace(folder, "the series")
            match = _ERROR.search(said)
            reason = match[0] if match else said[-1000:]
            return SeriesResult(
                uid, len(files), "refused" if code == REFUSED and reason.startswith(ABOUT_INPUT) else "failed", reason=reason
            )
    return SeriesResult(uid, len(files), "done", vessel_volume_mm3=_volume_mm3(out))


def _run(words: Sequence[str], signals: StopSignals) -> tuple[int, str]:
    """Run a command; return its exit code and what it said. It ends when this process is asked to."""
    again = "Run the same command again: it goes on with the series that has no result."
    signals.check(again)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while True:
            try:
                said = process.communicate(timeout=_POLL_S)[1]
                break
            except subprocess.TimeoutExpired:
                if signals.came:
                    process.terminate()
    signals.check(again)
    return process.returncode, said.decode("utf-8", "replace").strip()


def _keys(files: Sequence[Path], command: Sequence[str], identity: str) -> dict[str, str]:
    """Return what identifies a result: by the names and times of its files, and by their content."""
    contents = sorted(file_sha256(file) for file in files)
    return {"listing": _listing_key(files, command, identity), "content": _hash([contents, list(command), identity])}


def _listing_key(files: Sequence[Path], command: Sequence[str], identity: str) -> str:
    listed = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return _hash([sorted(listed), list(command), identity])


def _hash(about: object) -> str:
    return sha256(json.dumps(about).encode()).hexdigest()


def _is_of(key_file: Path, files: Sequence[Path], command: Sequence[str], identity: str) -> bool:
    """Return whether a result is of these files; they are read only where they were exported again."""
    try:
        known = dict(json.loads(key_file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return False
    if known.get("listing") == _listing_key(files, command, identity):
        return True
    return bool(known.get("content") == _keys(files, command, identity)["content"])


def _volume_mm3(out: Path) -> float | None:
    try:
        content = json.loads((out / "result.json").read_text())
    except (OSError, ValueError):  # an application of others need not write it
        return None
    return content.get("vessel_volume_mm3") if isinstance(content, dict) else None


def _link(file: Path, target: Path) -> None:
    """Add a file to another folder: by a hard link, or by a copy where the disks differ."""
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)


def _write_summary(results: Sequence[SeriesResult], path: Path) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(SeriesResult)])
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    _write_text(path, text.getvalue())


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
