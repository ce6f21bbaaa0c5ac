"""Start the label server: the command, its workspace, and when it is ready."""

from __future__ import annotations

import os
import re
import secrets
import shlex
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

from minivess.errors import InputError, MinivessError, UsageError
from minivess.extras import require_extra
from minivess.loopback import is_loopback
from minivess.paths import resource_path
from minivess.process_setup import SPIN_COUNT
from minivess.server.accounts import Accounts
from minivess.server.environment import ACCOUNTS, ADMIN_TOKEN, HOST, PUBLIC_NAME
from minivess.server_lock import SERVER_LOCK, lock_for_server
from minivess.store.images import IMAGE_SUFFIXES
from minivess.store.store import STORE_FOLDER
from minivess.volume.io import stem_of, suffix_of


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


def accounts_path(workspace: Path) -> Path:
    """Return the file of the accounts in a workspace."""
    return workspace / "accounts.json"


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
    _check_start(studies, workspace, host, port, tls, opened)
    app = workspace / "app"
    _refuse_foreign_app(app)
    settings = {"model_dir": str(workspace.resolve() / "model"), **(conf or {})}
    store = settings.get("store_dir") or (workspace if is_address(studies) else Path(studies) / STORE_FOLDER)
    _refuse_second_server(Path(store), Path(settings["model_dir"]))
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


def _refuse_second_server(*folders: Path) -> None:
    """Refuse folders that another server uses, before anybody is told where this one is."""
    for folder in folders:
        if (folder / SERVER_LOCK).is_file():
            lock_for_server(folder).release()


def _refuse_foreign_app(app: Path) -> None:
    """Refuse a workspace in which our app would replace another program's files."""
    main = app / "main.py"
    if main.is_file() and "minivess" not in main.read_text(errors="replace"):
        raise InputError(f"{main} belongs to another program; it would be replaced. Choose a folder of its own: --workspace DIR.")


def how_to_add_user(studies: Path | str, workspace: Path) -> str:
    """Return the command that adds an account.

    Args:
        studies: Folder with the images, or the address of a DICOMweb server.
        workspace: Workspace of the server.
    """
    inside = not is_address(studies) and workspace.resolve() == Path(studies).resolve() / ".minivess"
    words = ["--studies", str(studies)] if inside else ["--workspace", str(workspace)]
    return shlex.join(["minivess", "user", "add", "NAME", "--role", "annotator", *words])


def _check_start(studies: Path | str, workspace: Path, host: str, port: int, tls: tuple[Path, Path] | None, opened: str) -> None:
    """Refuse what the server could not be started with; ``opened`` is the option that opens it to the network."""
    if is_address(studies):
        from minivess.dicom.web import DicomWeb  # of the same extra

        DicomWeb(str(studies))  # refuse a wrong address now, before a password in it is logged
    elif not Path(studies).is_dir():
        raise InputError(f"No such folder of studies: {studies}. Put .nii.gz or .nrrd volumes in a folder and give its path.")
    else:
        _refuse_plain_tiff(Path(studies))
    if opened and not Accounts(accounts_path(workspace)).all():
        raise UsageError(
            f"{opened} opens the studies to the network, and there is no account. Without accounts: 127.0.0.1, ::1. "
            f"Add an account first: {how_to_add_user(studies, workspace)}"
        )
    if _is_taken(host, port):
        raise InputError(f"Port {port} on {host} is in use. Stop the other server, or choose another port: --port {port + 1}.")
    for file in tls or ():
        if not file.is_file():
            raise InputError(f"No such file: {file}. HTTPS needs a certificate and its private key, both as PEM files.")


def _refuse_plain_tiff(studies: Path) -> None:
    """Refuse a folder whose only volumes are TIFF stacks, which do not state their voxel size: no image would be there."""
    stacks, others = _tiff_stacks(studies)
    if stacks and not others:
        raise InputError(
            f"{studies} holds {len(stacks)} TIFF stacks and no other volume. A TIFF stack does not state its voxel size. Convert "
            f"each into a folder of its own, for example: {_how_to_convert(stacks[0])}"
        )


def remark_on_stacks(studies: Path) -> str:
    """Return which TIFF stacks beside the images are not served, as a sentence; empty when there are none."""
    stacks, _ = _tiff_stacks(studies)
    if not stacks:
        return ""
    return (
        f"Not served, since they do not state their voxel size: {len(stacks)} TIFF stacks. Convert: {_how_to_convert(stacks[0])}"
    )


def _how_to_convert(stack: Path) -> str:
    return f"minivess data convert '{stack}' studies/{stem_of(stack)}.nii.gz --spacing X Y Z --unit um"


def _tiff_stacks(studies: Path) -> tuple[list[Path], bool]:
    """List the TIFF stacks of a folder; return also whether it holds other volumes."""
    stacks, others = [], False
    for folder, folders, files in os.walk(studies):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in (STORE_FOLDER, "labels")]
        for file in (Path(folder) / name for name in sorted(files) if not name.startswith(".")):
            others |= suffix_of(file) in IMAGE_SUFFIXES or file.suffix.lower() in ("", ".dcm")
            stacks += [file] if suffix_of(file) in (".tif", ".tiff") else []
    return stacks, others


def is_address(studies: Path | str) -> bool:
    """Return whether the studies are on a DICOMweb server."""
    return str(studies).startswith(("http://", "https://"))


class LabelServer:
    """A label server as a child process, with all processes that it starts."""

    def __init__(self, launch: Launch, *, log: Path, timeout_s: float = 1800.0) -> None:
        """Prepare the process.

        Args:
            launch: Result of :func:`prepare_server`.
            log: File for its output.
            timeout_s: Seconds to wait for its first response while the process lives: many images, or a slow machine.
        """
        self.launch = launch
        self.url = launch.url
        self.log = log
        self.timeout_s = timeout_s
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
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise MinivessError(f"The label server ended during its start. The end of {self.log}:\n{self._tail()}")
            try:
                with self.get("/info/", timeout_s=5):
                    return
            except (URLError, TimeoutError, ConnectionError):
                time.sleep(0.3)
        raise MinivessError(
            f"The label server did not respond within {self.timeout_s:.0f} s. The end of {self.log}:\n{self._tail()}"
        )

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is not in use."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _is_taken(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except socket.gaierror as error:
        allowed = "127.0.0.1, ::1, or a name or address of this machine"
        raise InputError(f"--host {host}: {error.strerror}. Allowed: {allowed}.") from error
    except OSError:
        return False
