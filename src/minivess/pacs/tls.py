"""TLS for DICOM connections, with a certificate on both sides (PS3.15, annex B: the BCP 195 profiles)."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import InputError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one side of a connection.

    Attributes:
        certificate: Our certificate, and those between it and the authority.
        key: Its private key, without a password.
        authority: Certificates that sign those of the others; nobody else is spoken to.
    """

    certificate: Path
    key: Path
    authority: Path


class DicomContext(ssl.SSLContext):
    """TLS settings; ``fault`` is what went wrong in the newest connection, in OpenSSL's words.

    Keys are exchanged in the thread of a connection, not in the one that all callers wait for: a silent caller delays nobody.
    """

    fault = ""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Return a socket that notes its faults; that of a caller exchanges keys when it is read first."""
        self.fault = ""
        return super().wrap_socket(*args, **({**options, "do_handshake_on_connect": not options.get("server_side")}))


class _Socket(ssl.SSLSocket):
    """pynetdicom drops the reason why a connection failed; this notes it."""

    def connect(self, addr: Any) -> None:
        self._noting(super().connect, addr)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return bytes(self._noting(super().recv, buflen, flags))

    def _noting(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except ssl.SSLError as error:
            if isinstance(self.context, DicomContext):
                self.context.fault = _reason(error)
                if self.server_side and not isinstance(error, ssl.SSLEOFError):  # a probe that says nothing is no caller
                    _logger.warning("A caller%s was turned away: TLS, %s.", self._from(), self.context.fault)
            raise

    def _from(self) -> str:
        try:
            return f" at {self.getpeername()[0]}"
        except OSError:
            return ""


def listening_context(files: TlsFiles) -> DicomContext:
    """Return the TLS settings of a side that is called.

    Raises:
        InputError: When a file is not usable.
    """
    context = DicomContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, files)


def calling_context(files: TlsFiles) -> DicomContext:
    """Return the TLS settings of a side that calls; the certificate of the other must be of the host that is called.

    Raises:
        InputError: When a file is not usable.
    """
    return _with_files(DicomContext(ssl.PROTOCOL_TLS_CLIENT), files)


def check_certificate(files: TlsFiles) -> None:
    """Check that our own certificate would be taken, in both roles, by a side that trusts the same authority.

    Raises:
        InputError: When it would not, with OpenSSL's reason: it has expired, it is for servers only, another authority signed it.
    """
    listening, calling = listening_context(files), calling_context(files)
    calling.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listening.wrap_bio(to_server, to_client, server_side=True)
    client = calling.wrap_bio(to_client, to_server)
    try:
        for side in (client, server) * 3:  # enough for both to have seen the other's certificate
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        raise InputError(
            f"{files.certificate} would not be taken by others that trust {files.authority}: {_reason(error)}. It must be valid "
            "today, signed by that authority, and for both roles (extended key usage: serverAuth and clientAuth, or none)."
        ) from error


def _with_files(context: DicomContext, files: TlsFiles) -> DicomContext:
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file, kind in ((files.certificate, "CERTIFICATE"), (files.key, "PRIVATE KEY"), (files.authority, "CERTIFICATE")):
        _check_pem(file, kind)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise InputError(f"{files.key} cannot be used as the key of {files.certificate}: {_reason(error)}.") from error
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        raise InputError(f"The certificates in {files.authority} cannot be read: {_reason(error)}.") from error
    return context


def _check_pem(file: Path, kind: str) -> None:
    """Raise InputError when a file is missing, or holds something else."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    if f"{kind}-----".encode() not in content:
        raise InputError(f"{file} is not what it should be: a PEM file with a {kind}. Are two of the files exchanged?")


def _no_password() -> str:
    raise ValueError("it has a password, which a service cannot type")  # the default asks at the terminal


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no TLS").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
