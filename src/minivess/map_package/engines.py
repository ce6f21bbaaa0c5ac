"""Container engines: docker and podman build, inspect and run; buildah builds. They are called by their commands."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import EngineError, UsageError
from minivess.map_package import layout

BUILDERS = ("docker", "podman", "buildah")
RUNNERS = ("docker", "podman")
#: Processes and threads of a run.
_PIDS = 1024
#: Exit codes of `run` when the container did not start; 127 is a program that the image does not have.
CANNOT_RUN = (125, 126)
#: Limits of a small program of an image that is tried.
_TRY_S, _TRY_MEMORY = 60.0, "1g"
#: Seconds for an answer of an engine that is asked for an image or a container, which it may have to unpack, or about itself.
_ANSWER_S, _INFO_S = 600.0, 60.0


@dataclass(frozen=True)
class Engine:
    """A container engine.

    Attributes:
        name: docker, podman or buildah.
    """

    name: str

    def call(self, *words: str, check: bool = True, timeout_s: float | None = _ANSWER_S) -> subprocess.CompletedProcess[bytes]:
        """Run a command of the engine and return what it printed.

        Args:
            *words: The command, without the name of the engine.
            check: Whether a failure is an error.
            timeout_s: Seconds for its answer; None for work that takes as long as it takes.

        Raises:
            EngineError: When it fails, with its last lines, or does not answer in time.
        """
        try:
            result = subprocess.run([self.name, *words], capture_output=True, check=False, timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{self.name} {words[0]} did not answer within {timeout_s:g} s. Restart the engine, or choose another: --engine."
            ) from error
        if check and result.returncode != 0:
            raise EngineError(f"{self.name} {words[0]} failed ({result.returncode}): {_last_words(result, 3)}")
        return result

    def build(self, folder: Path, tag: str, *, base: str | None = None) -> None:
        """Build an image from a folder that :func:`write_package` wrote; no network is used.

        Args:
            folder: The folder, with its Containerfile.
            tag: Name of the image.
            base: Image to build on: a Linux with Python 3.11; the default is in the Containerfile.

        Raises:
            EngineError: When the engine fails.
        """
        words = ["build", "--network", "none", "--tag", tag, "--file", str(folder / "Containerfile")]
        if self.name != "docker":
            words += ["--timestamp", "0", "--format", "oci"]  # the same content gives the same digest
        if base:
            words += ["--build-arg", f"BASE={base}"]
        result = self.call(*words, str(folder), check=False, timeout_s=None)
        if result.returncode != 0:
            advice = "Is the base image there? Load it, or name another one with --base"
            raise EngineError(f"{self.name} build failed ({result.returncode}): {_last_words(result, 3)}. {advice}.")

    def inspect(self, image: str) -> Mapping[str, Any]:
        """Return the configuration of an image: ``Config`` with ``Labels``, ``User``, ``Entrypoint``; ``Id``, ``Size``.

        Raises:
            EngineError: When there is no such image.
        """
        result = self.call("image", "inspect", image, check=False)
        if result.returncode != 0:
            raise EngineError(f"{self.name} has no image {image}. Build it: minivess map build BUNDLE -t {image}")
        (content,) = json.loads(result.stdout)
        return dict(content)

    def read_files(self, image: str, paths: Sequence[str]) -> dict[str, bytes]:
        """Return the content of files of an image, as far as they exist; nothing of the image is run.

        Args:
            image: Name of the image.
            paths: Absolute paths.

        Raises:
            EngineError: When the engine cannot make a container of the image.
        """
        container, found = f"minivess-read-{uuid.uuid4().hex[:12]}", {}
        self.call("create", "--name", container, "--network", "none", image, "none")
        follow = ["--follow-link"] if self.name == "docker" else []  # podman does
        try:
            for path in paths:
                result = self.call("cp", *follow, f"{container}:{path}", "-", check=False)
                if result.returncode == 0:
                    found[path] = _only_file(result.stdout)
            if len(found) < len(paths):
                self.call("container", "inspect", container)  # the file is missing, not the engine
        finally:
            with contextlib.suppress(EngineError):  # what was found counts
                self.call("rm", "--force", "--volumes", container, check=False, timeout_s=_INFO_S)
        return found

    def try_program(self, image: str, words: Sequence[str], *, program: str | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a program of an image as the image's own user, without network, writing, capabilities, or more than a minute.

        Args:
            image: Name of the image.
            words: Its arguments.
            program: The program; None for the entry script.

        Returns:
            The ended process; exit code 137 beyond the minute.

        Raises:
            EngineError: When the engine cannot start a container of the image.
        """
        name = f"minivess-try-{uuid.uuid4().hex[:12]}"
        limits = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        limits += ["--tmpfs", "/tmp", "--pids-limit", str(_PIDS), "--memory", _TRY_MEMORY]  # noqa: S108 (inside)
        limits += ["--entrypoint", program] if program else []
        command = [self.name, "run", "--rm", "--name", name, *limits, image, *words]
        try:
            result = subprocess.run(command, capture_output=True, check=False, timeout=_TRY_S)
        except subprocess.TimeoutExpired:
            self.stop(name)
            return subprocess.CompletedProcess(command, 137, b"", f"did not end within {_TRY_S:g} s".encode())
        if program is not None and result.returncode in CANNOT_RUN:
            raise EngineError(f"{self.name} cannot run {image} ({result.returncode}): {_last_words(result, 1)}")
        return result

    def run_command(
        self,
        image: str,
        *,
        name: str,
        source: Path,
        target: Path | None,
        memory_bytes: int | None,
        arguments: Sequence[str] = (),
        entrypoint: str | None = None,
    ) -> list[str]:
        """Return the command that runs an image: no network, read-only, no capability, an unprivileged user.

        Args:
            image: Name of the image.
            name: Name of the container.
            source: Input folder, read-only.
            target: Output folder; the user of the container must be able to write to it.
            memory_bytes: Limit of memory; None for none.
            arguments: Words for the entry script.
            entrypoint: Program to run in place of the entry script.
        """
        user = os.getuid() or layout.USER
        words = [self.name, "run", "--rm", "--name", name, "--network", "none", "--read-only", "--tmpfs", "/tmp"]  # noqa: S108
        words += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", str(_PIDS)]
        words += ["--user", f"{user}:{os.getgid() or layout.USER}"]
        if self.name == "podman" and os.getuid():
            words += ["--userns", "keep-id"]
        if memory_bytes:
            words += ["--memory", str(memory_bytes), "--memory-swap", str(memory_bytes)]
        words += ["--env", f"TZ={layout.local_zone()}", "--volume", f"{source.resolve()}:{layout.INPUT}:ro"]
        if target is not None:
            words += ["--volume", f"{target.resolve()}:{layout.OUTPUT}"]
        if entrypoint:
            words += ["--entrypoint", entrypoint]
        return [*words, image, *arguments]

    def stop(self, name: str) -> None:
        """End a container at once; nothing happens when there is none, or when the engine does not answer."""
        with contextlib.suppress(EngineError):
            self.call("kill", name, check=False, timeout_s=_INFO_S)


def find_engine(name: str | None = None, *, among: Sequence[str] = RUNNERS) -> Engine:
    """Return an engine that is installed and answers.

    Args:
        name: Name of the engine; the first of ``among`` that answers by default.
        among: Engines that can do what is wanted.

    Raises:
        UsageError: When the name is unknown.
        EngineError: When none answers.
    """
    if name is not None and name not in among:
        raise UsageError(f"--engine {name}: allowed are {', '.join(among)}.")
    reasons = []
    for candidate in [name] if name else among:
        if shutil.which(candidate) is None:
            reasons.append(f"{candidate} is not installed")
            continue
        try:
            answer = Engine(candidate).call("info", check=False, timeout_s=_INFO_S)
        except EngineError as error:
            reasons.append(str(error).rstrip("."))
            continue
        if answer.returncode == 0:
            return Engine(candidate)
        reasons.append(f"{candidate} does not answer ({_last_words(answer, 1)[:200]})")
    raise EngineError(f"There is no container engine: {'; '.join(reasons)}. Without one, run the folder: --image FOLDER.")


def find_image(image: str, name: str | None = None) -> Engine:
    """Return an engine that runs images and has this one.

    Args:
        image: Name of the image.
        name: Name of the engine; the first that has the image by default.

    Raises:
        UsageError: When the name is unknown.
        EngineError: When none has it.
    """
    reasons = []
    for candidate in [name] if name else RUNNERS:
        try:
            engine = find_engine(candidate)
            engine.inspect(image)
        except EngineError as error:
            if name:
                raise
            reasons.append(str(error))
        else:
            return engine
    raise EngineError(" ".join(dict.fromkeys(reasons)))


def _only_file(archive: bytes) -> bytes:
    """Return the content of the file in a tar archive of `cp`; empty when it is a folder or a link."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            member = next((m for m in files.getmembers() if m.isfile()), None)
            content = files.extractfile(member) if member else None
            return content.read() if content else b""
    except tarfile.TarError as error:
        raise EngineError(f"What the engine copied is no archive: {error}") from error


def _last_words(result: subprocess.CompletedProcess[bytes], count: int) -> str:
    """Return the last lines of what an engine said."""
    return " ".join(result.stderr.decode(errors="replace").strip().splitlines()[-count:]) or "no message"
