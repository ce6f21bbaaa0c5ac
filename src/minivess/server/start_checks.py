"""What is checked before the label server starts, so that it is refused in a sentence, and nothing was changed."""

from __future__ import annotations

import os
import shlex
import socket
import ssl
from pathlib import Path

from minivess.errors import InputError, UsageError
from minivess.server.accounts import Accounts, accounts_path
from minivess.server_lock import SERVER_LOCK, lock_for_server
from minivess.store.image_files import IMAGE_SUFFIXES, new_image_files
from minivess.store.store import STORE_FOLDER
from minivess.volume.io import stem_of, suffix_of


def check_start(studies: Path | str, workspace: Path, host: str, port: int, tls: tuple[Path, Path] | None, opened: str) -> None:
    """Refuse what the server could not be started with.

    Args:
        studies: Folder with the images, or the address of a DICOMweb server.
        workspace: Folder that the server may write to.
        host: Address to listen on.
        port: TCP port.
        tls: Certificate and private key, PEM files; None for none.
        opened: The option that opens the server to the network; empty for none.

    Raises:
        UsageError: When it is opened, and there is no account.
        InputError: When the studies or a PEM file do not exist, or the port is in use.
    """
    if is_address(studies):
        from minivess.dicom.web import DicomWeb  # of the same extra

        DicomWeb(str(studies))  # refuse a wrong address now, before a password in it is logged
    elif not Path(studies).is_dir():
        raise InputError(f"This is no folder of studies: {studies}. Put .nii.gz or .nrrd volumes in a folder and give its path.")
    else:
        _refuse_plain_tiff(Path(studies))
        _refuse_workspace_among_images(Path(studies), workspace)
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
    if tls:
        _check_certificate(*tls)


def _refuse_workspace_among_images(studies: Path, workspace: Path) -> None:
    """Refuse a workspace whose masks and synthetic stacks the server would take for images of the studies."""
    inside = workspace.resolve()
    if inside.is_relative_to(studies.resolve()):
        parts = inside.relative_to(studies.resolve()).parts
        if not any(part.startswith(".") for part in parts):
            raise InputError(
                f"The workspace {workspace} lies among the images: what the server writes there would be taken for images. "
                "Choose a folder elsewhere, or a hidden one; by default it is STUDIES/.minivess."
            )


def _check_certificate(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InputError(
            f"{certificate} and {key} are no certificate with its private key ({error}). Both are PEM files, without a password."
        ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")


def refuse_second_server(*folders: Path) -> None:
    """Refuse folders that another server uses, before anybody is told where this one is.

    Raises:
        ConflictError: When one does.
    """
    for folder in folders:
        if (folder / SERVER_LOCK).is_file():
            lock_for_server(folder).release()


def refuse_foreign_app(app: Path) -> None:
    """Refuse a workspace in which our app would replace another program's files.

    Raises:
        InputError: When it would.
    """
    main = app / "main.py"
    if main.is_file() and "minivess" not in main.read_text(errors="replace"):
        raise InputError(f"{main} belongs to another program; it would be replaced. Choose a folder of its own: --workspace DIR.")


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


def remark_on_left_out(studies: Path, workspace: Path) -> str:
    """Return which files of the studies cannot be images and why, as a sentence; empty when there are none.

    Args:
        studies: Folder with the images.
        workspace: Workspace of the server, which is left out.
    """
    left_out = [(path, why) for path, why in new_image_files(studies, workspace, ()) if why]
    if not left_out:
        return ""
    (path, why), more = left_out[0], len(left_out) - 1
    name = os.fsencode(path.relative_to(studies)).decode(errors="backslashreplace")  # not every name can be printed
    return f"Not served: {name}: {why}" + (f"; and {more} more" if more else "") + "."


def how_to_add_user(studies: Path | str, workspace: Path) -> str:
    """Return the command that adds an account.

    Args:
        studies: Folder with the images, or the address of a DICOMweb server.
        workspace: Workspace of the server.
    """
    inside = not is_address(studies) and workspace.resolve() == Path(studies).resolve() / ".minivess"
    words = ["--studies", str(studies)] if inside else ["--workspace", str(workspace)]
    return shlex.join(["minivess", "user", "add", "NAME", "--role", "annotator", *words])


def is_address(studies: Path | str) -> bool:
    """Return whether the studies are on a DICOMweb server."""
    return str(studies).startswith(("http://", "https://"))


def _how_to_convert(stack: Path) -> str:
    words = ["minivess", "data", "convert", str(stack), f"studies/{stem_of(stack)}.nii.gz"]
    return f"{shlex.join(words)} --spacing X Y Z --unit um"


def _tiff_stacks(studies: Path) -> tuple[list[Path], bool]:
    """List the TIFF stacks of a folder; return also whether it holds other volumes."""
    stacks, others = [], False
    for folder, folders, files in os.walk(studies):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in (STORE_FOLDER, "labels")]
        for file in (Path(folder) / name for name in sorted(files) if not name.startswith(".")):
            others |= suffix_of(file) in IMAGE_SUFFIXES or file.suffix.lower() in ("", ".dcm")
            stacks += [file] if suffix_of(file) in (".tif", ".tiff") else []
    return stacks, others


def _is_taken(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except socket.gaierror as error:
        allowed = "127.0.0.1, ::1, or a name or address of this machine"
        raise InputError(f"--host {host}: {error.strerror}. Allowed: {allowed}.") from error
    except OSError:
        return False
