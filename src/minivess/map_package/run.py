"""Run a MAP: in a container, in bubblewrap, or as a plain process; with limits, true exit codes and checked outputs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from minivess.errors import BundleError, EngineError, InputError, MinivessError
from minivess.map_package import layout, sandbox
from minivess.map_package.application import check_folder_runner
from minivess.map_package.engines import CANNOT_RUN, find_image
from minivess.map_package.manifests import Manifests
from minivess.map_package.outputs import check_outputs
from minivess.map_package.stop_signals import StopSignals, noted_stop_signals
from minivess.paths import atomic_folder

#: Exit codes of the runner's own: beyond the time limit, beyond the memory limit.
TIMED_OUT, OUT_OF_MEMORY = 124, 137
_POLL_S = 0.1
_NOTHING = "Nothing was written."


@dataclass(frozen=True)
class _Run:
    """What is run on what, by which engine, and within which limits; None for those that the package states."""

    image: str
    source: Path
    output: Path
    engine: str | None
    memory_bytes: int | None
    timeout_s: float | None
    arguments: Sequence[str]

    def limit_s(self, manifests: Manifests) -> float:
        """Return the limit of time; 0 is none."""
        return manifests.timeout_s if self.timeout_s is None else self.timeout_s


class _FailedError(MinivessError):
    """The application ended without a result."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def run_package(
    image: str,
    source: Path,
    target: Path,
    *,
    engine: str | None = None,
    memory_bytes: int | None = None,
    timeout_s: float | None = None,
    arguments: Sequence[str] = (),
) -> int:
    """Run a MAP on a folder; the output folder appears when the run succeeded and its outputs were checked, or not at all.

    Args:
        image: Name of an image, or the path of a MAP's folder.
        source: Input folder; the application can only read it (not with ``process``, which has the caller's rights).
        target: New or empty output folder.
        engine: docker or podman for an image; bubblewrap or process for a folder. The first that works by default.
        memory_bytes: Limit of memory; what the package asks for by default.
        timeout_s: Limit of time; what the package states by default, 0 is none.
        arguments: Options of the application.

    Returns:
        Exit code of the application; 124 beyond the time limit, 137 beyond the memory limit.

    Raises:
        MinivessError: When the package cannot be started, or its outputs are not what they should be.
        StoppedError: When SIGTERM or SIGINT came; the application is ended then.
    """
    if not source.is_dir():
        raise InputError(f"This is no folder: {source}. Choose the folder that contains the DICOM files of one series.")
    if source.resolve() == target.resolve():
        raise InputError(f"Input and output are the same folder: {source}. Name another output.")
    start = _start_folder if Path(image).is_dir() else _start_image
    try:
        with noted_stop_signals() as signals, atomic_folder(target) as partial:
            output = partial / "output"
            output.mkdir()
            code = start(_Run(image, source, output, engine, memory_bytes, timeout_s, arguments), signals)
            _give(code, output, source)
    except _FailedError as failed:
        return failed.code
    return 0


def _give(code: int, output: Path, source: Path) -> None:
    """Move checked outputs into the folder that becomes the result.

    Raises:
        _FailedError: When the application failed.
        InputError: When the outputs are not what they should be.
    """
    if code != 0:
        raise _FailedError(code)
    check_outputs(output, source)
    for file in sorted(output.iterdir()):
        if os.getuid() == 0:
            os.chown(file, 0, 0, follow_symlinks=False)
        file.rename(output.parent / file.name)
    output.rmdir()


def _start_image(run: _Run, signals: StopSignals) -> int:
    chosen = find_image(run.image, run.engine)
    files = chosen.read_files(run.image, [layout.APP_MANIFEST, layout.PACKAGE_MANIFEST])
    if len(files) < 2:
        raise BundleError(f"{run.image} is no MAP: it has no {layout.APP_MANIFEST} and {layout.PACKAGE_MANIFEST}.")
    manifests = Manifests.parse(*files.values())
    memory = run.memory_bytes or manifests.memory_bytes
    if os.getuid() == 0:
        os.chown(run.output, layout.USER, layout.USER)  # root runs it as an unprivileged user
    name = f"minivess-map-{uuid.uuid4().hex[:12]}"
    command = chosen.run_command(
        run.image, name=name, source=run.source, target=run.output, memory_bytes=memory, arguments=run.arguments
    )
    code = _wait(command, None, run.limit_s(manifests), signals, folder=run.output.parent, stop=lambda: chosen.stop(name))
    if code == OUT_OF_MEMORY:
        _say_out_of_memory(memory)
    if code in CANNOT_RUN:
        raise EngineError(f"{chosen.name} cannot run {run.image} ({code}). What it said is above.")
    return code


def _start_folder(run: _Run, signals: StopSignals) -> int:
    folder = Path(run.image)
    manifests = sandbox.read_manifests(folder)
    check_folder_runner(folder, run.engine)
    prepare = sandbox.in_process if run.engine == "process" else sandbox.in_bubblewrap
    command, environment = prepare(folder, manifests, source=run.source, target=run.output, arguments=run.arguments)
    memory = run.memory_bytes or manifests.memory_bytes
    return _wait(command, {**os.environ, **environment}, run.limit_s(manifests), signals, memory_bytes=memory)


def _wait(
    command: Sequence[str],
    environment: dict[str, str] | None,
    timeout_s: float,
    signals: StopSignals,
    *,
    memory_bytes: int | None = None,
    folder: Path | None = None,
    stop: Callable[[], None] = lambda: None,
) -> int:
    """Run a command and return its exit code; it is ended beyond a limit, and when this process is asked to stop."""
    signals.check(_NOTHING)
    process = subprocess.Popen(command, env=environment, cwd=folder)  # podman leaves a file `oom` where it is when memory ends
    deadline = time.monotonic() + timeout_s if timeout_s else None
    try:
        while process.poll() is None:
            signals.check(_NOTHING)
            if deadline and time.monotonic() > deadline:
                print(f"The application was ended at its limit of time, {timeout_s:g} s. Nothing was written.", file=sys.stderr)
                return TIMED_OUT
            if memory_bytes and _resident_bytes(process.pid) > memory_bytes:
                _say_out_of_memory(memory_bytes)
                return OUT_OF_MEMORY
            time.sleep(_POLL_S)
        if process.returncode:
            signals.check(_NOTHING)  # Ctrl+C ends both
        return process.returncode if process.returncode >= 0 else 128 - process.returncode
    finally:
        if process.poll() is None:
            stop()
            _kill_tree(process.pid)
            process.wait()


def _resident_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants, what they share counted once."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            memory = process.memory_info()
        except psutil.Error:
            continue
        total += memory.rss - memory.shared
    return total


def _kill_tree(pid: int) -> None:
    try:
        family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
    except psutil.Error:
        return
    for process in family:
        try:
            process.kill()
        except psutil.Error:
            continue


def _say_out_of_memory(memory_bytes: int | None) -> None:
    limit = f" of {memory_bytes / 2**30:.1f} GiB" if memory_bytes else ""
    print(
        f"The application was ended at its limit of memory{limit}. Nothing was written. Allow more: --memory 8Gi", file=sys.stderr
    )
