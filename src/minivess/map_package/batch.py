"""Run a MAP on every series below a folder: one result folder each, a summary of all; what is done already is not done again."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from minivess.dicom.series_files import group_series
from minivess.errors import InputError
from minivess.paths import atomic_file

#: Exit codes of the application for a result, and for a series that it refuses.
DONE, REFUSED = 0, 1
SUMMARY = "summary.csv"


@dataclass(frozen=True)
class SeriesResult:
    """What became of one series.

    Attributes:
        series: SeriesInstanceUID; the result is in the folder of this name.
        images: Number of files.
        result: ``done``, ``refused`` by the application with a reason, or ``failed``.
        vessel_volume_mm3: Volume of the vessels; None without a result.
        reason: Why there is no result.
    """

    series: str
    images: int
    result: str
    vessel_volume_mm3: float | None = None
    reason: str = ""


def series_for_batch(source: Path, target: Path) -> dict[str, list[Path]]:
    """Find the series below a folder.

    Args:
        source: Folder of any number of series, in any sub-folders.
        target: Folder for the results.

    Returns:
        SeriesInstanceUID to files, sorted.

    Raises:
        InputError: When there is no such folder, no series, a file is damaged, or the results would lie among the images.
    """
    if not source.is_dir():
        raise InputError(f"No such folder: {source}. Choose the folder that contains the DICOM files.")
    if target.resolve().is_relative_to(source.resolve()):
        raise InputError(f"The results would lie among the images: {target} is in {source}. Name another output.")
    series, ignored = group_series(source)
    if not series:
        raise InputError(f"No DICOM image series in {source}, only {len(ignored)} other files.")
    return dict(sorted(series.items()))


def run_batch(series: Mapping[str, Sequence[Path]], target: Path, command: Sequence[str]) -> Iterator[SeriesResult]:
    """Run an application on each series; the summary is written after each.

    Args:
        series: Of :func:`series_for_batch`.
        target: Folder for the results; series that have one there already are not run again.
        command: The application; input and output folder are put in at ``{in}`` and ``{out}``.

    Yields:
        What became of each series, as soon as it is known.

    Raises:
        OutputError: When the summary cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    results: list[SeriesResult] = []
    for uid, files in series.items():
        results.append(_run_one(uid, files, target / uid, command))
        _write_summary(results, target / SUMMARY)
        yield results[-1]


def _run_one(uid: str, files: Sequence[Path], out: Path, command: Sequence[str]) -> SeriesResult:
    if not (out / "result.json").exists():
        with tempfile.TemporaryDirectory(prefix=".batch-", dir=out.parent) as folder:
            for number, file in enumerate(files):
                _link(file, Path(folder) / f"{number:05d}.dcm")
            paths = {"{in}": folder, "{out}": str(out)}
            words = [paths.get(word, word) for word in command]
            done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != DONE:
            reason = done.stderr.strip().replace(folder, "the series")[-1000:]
            return SeriesResult(uid, len(files), "refused" if done.returncode == REFUSED else "failed", reason=reason)
    content = json.loads((out / "result.json").read_text())
    return SeriesResult(uid, len(files), "done", vessel_volume_mm3=content.get("vessel_volume_mm3"))


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
    with atomic_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
