"""Start the label server: which command, in which folder, and when is it ready."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from minivess.errors import InputError, MinivessError, MissingExtraError, UsageError
from minivess.extras import missing_modules
from minivess.paths import door


def server_command(
    studies: Path, *, workspace: Path, host: str = "127.0.0.1", port: int = 8000, conf: Mapping[str, str] | None = None
) -> list[str]:
    """Prepare the app in a workspace and give the command that serves it.

    The app is copied, since MONAI Label writes folders into it; the model and its runs lie in ``workspace/model``.

    Args:
        studies: Folder with the images.
        workspace: Folder that the server may write to.
        host: A loopback address; another one needs authentication, which this server does not have yet.
        port: TCP port.
        conf: Settings of the app, as ``--conf`` takes them.

    Raises:
        UsageError: When the address is not loopback.
        InputError: When the studies do not exist, or the port is taken.
        MissingExtraError: When MONAI Label is not installed.
    """
    missing = missing_modules("label")
    if missing:
        raise MissingExtraError(
            f"The label server needs {', '.join(missing)}. Install the extra label (in a checkout: make setup)"
        )
    if not _is_loopback(host):
        raise UsageError(f"--host {host} would show the studies to the network without authentication. Allowed: 127.0.0.1, ::1.")
    if not studies.is_dir():
        raise InputError(f"No such folder of studies: {studies}. Put .nii.gz or .nrrd volumes into a folder and name it.")
    if _is_taken(host, port):
        raise InputError(f"Port {port} on {host} is taken. Stop the other server, or choose another: --port {port + 1}.")
    app = workspace / "app"
    shutil.copytree(
        door("monailabel_app"), app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model", "logs", "__pycache__")
    )
    settings = {"model_dir": str(workspace.resolve() / "model"), **(conf or {})}
    flags = [word for key, value in settings.items() for word in ("--conf", key, value)]
    return [
        sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies),
        "--host", host, "--port", str(port), *flags,
    ]  # fmt: skip


class LabelServer:
    """A label server as a child process: started, waited for, and stopped with everything it started."""

    def __init__(self, command: list[str], *, url: str, log: Path, timeout_s: float = 120.0) -> None:
        """Take the command of :func:`server_command`, the address it will answer at, and a file for its output."""
        self.command = command
        self.url = url
        self.log = log
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> LabelServer:
        """Start it and wait until it answers."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.log.open("wb")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            self.command, stdout=self._stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def stop(self) -> None:
        """End the process and its children."""
        if self._process is not None:
            for number, wait_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
                try:
                    os.killpg(self._process.pid, number)
                    self._process.wait(wait_s)
                    break
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue
            self._process.wait()
        if self._stream is not None:
            self._stream.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise MinivessError(f"The label server stopped while starting. The end of {self.log}:\n{self._tail()}")
            try:
                with urlopen(f"{self.url}/info/", timeout=5):  # noqa: S310 (our own loopback address)
                    return
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.3)
        raise MinivessError(
            f"The label server did not answer within {self.timeout_s:.0f} s. The end of {self.log}:\n{self._tail()}"
        )

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def free_port(host: str = "127.0.0.1") -> int:
    """Ask the system for a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1" if host == "localhost" else host, port)) == 0
