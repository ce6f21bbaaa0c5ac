"""Start the label server: the command, its workspace, and when it is ready."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.error import URLError
from urllib.request import Request, urlopen

from minivess.errors import MinivessError, UsageError
from minivess.extras import require_extra
from minivess.loopback import is_loopback
from minivess.paths import resource_path
from minivess.process_setup import SPIN_COUNT
from minivess.server.accounts import accounts_path
from minivess.server.environment import ACCOUNTS, ADMIN_TOKEN, HOST, PUBLIC_NAME
from minivess.server.start_checks import check_start, is_address, refuse_foreign_app, refuse_second_server
from minivess.store.store import STORE_FOLDER

#: Time to wait for the first response while the process lives: many images, or a slow machine.
_START_S = 1800.0


@dataclass(frozen=True)
class Launch:
    """How to start the server.

    Attributes:
        command: The command.
        environment: Environment variables to add.
        url: Address of the server.
        token: Token of the user who starts it: role admin, valid until the server stops.
    """

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    url: str
    token: str = field(repr=False)


def prepare_server(
    studies: Path | str,
    *,
    workspace: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    conf: Mapping[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
    public_name: str = "",
) -> Launch:
    """Prepare the app in a workspace.

    The app is copied, since MONAI Label creates folders in it; the model and its runs are in ``workspace/model``.

    Args:
        studies: Folder with the images, or the address of a DICOMweb server.
        workspace: Folder that the server may write to.
        host: Address to listen on; an address that is not loopback needs accounts.
        port: TCP port.
        conf: Settings of the app, see ``--conf``.
        tls: Certificate and private key, PEM files, for HTTPS.
        public_name: Name by which a reverse proxy in front of the server is reached; empty for none. It needs accounts, too.

    Raises:
        UsageError: When the address is not loopback and there is no account.
        InputError: When the studies or a PEM file do not exist, or the port is in use.
        MissingExtraError: When MONAI Label is not installed.
    """
    require_extra("label", "The label server")
    accounts = accounts_path(workspace)
    if public_name and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", public_name):
        raise UsageError(f"--public-name {public_name}: a host name is wanted, without https:// and port, as labels.example.org.")
    opened = "--public-name" if public_name else f"--host {host}" if not is_loopback(host) else ""
    check_start(studies, workspace, host, port, tls, opened)
    app = workspace / "app"
    refuse_foreign_app(app)
    settings = {"model_dir": str(workspace.resolve() / "model"), **(conf or {})}
    store = settings.get("store_dir") or (workspace if is_address(studies) else Path(studies) / STORE_FOLDER)
    refuse_second_server(Path(store), Path(settings["model_dir"]))
    shutil.copytree(
        resource_path("monailabel_app"), app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model", "logs", "__pycache__")
    )
    flags = [word for key, value in settings.items() for word in ("--conf", key, value)]
    command = [
        sys.executable, "-m", "minivess.server", "start_server", "--app", str(app), "--studies", str(studies),
        "--host", host, "--port", str(port), "--uvicorn_app", "minivess.server.app:app", *flags,
    ]  # fmt: skip
    if tls is not None:
        command += ["--ssl_certfile", str(tls[0]), "--ssl_keyfile", str(tls[1])]
    token = secrets.token_urlsafe(24)
    environment = {
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT),
        ACCOUNTS: str(accounts.resolve()),
        ADMIN_TOKEN: token,
        HOST: host,
        PUBLIC_NAME: public_name,
    }
    scheme = "https" if tls is not None else "http"
    return Launch(command, environment, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}", token)


class LabelServer:
    """A label server as a child process, with all processes that it starts."""

    def __init__(self, launch: Launch, *, log: Path) -> None:
        """Prepare the process.

        Args:
            launch: Result of :func:`prepare_server`.
            log: File for its output.
        """
        self.launch = launch
        self.url = launch.url
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> LabelServer:
        """Start the process and wait until it responds."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.log.open("wb")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **self.launch.environment}
        self._process = subprocess.Popen(
            self.launch.command, stdout=self._stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop the process.

        Args:
            kind: Class of the exception that ended the block.
            error: The exception.
            trace: Its traceback.
        """
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

    def get(self, path: str, *, timeout_s: float = 30.0) -> HTTPResponse:
        """Send a GET request as the user who started the server.

        Args:
            path: Path of the request.
            timeout_s: Seconds to wait.
        """
        request = Request(f"{self.url}{path}", headers={"Authorization": f"Bearer {self.launch.token}"})  # noqa: S310 (our own server)
        response: HTTPResponse = urlopen(request, timeout=timeout_s)  # noqa: S310
        return response

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise MinivessError(f"The label server ended during its start. The end of {self.log}:\n{self._tail()}")
            try:
                with self.get("/info/", timeout_s=5):
                    return
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.3)
        raise MinivessError(f"The label server did not respond within {_START_S:.0f} s. The end of {self.log}:\n{self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def free_port() -> int:
    """Return a TCP port of this machine that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
