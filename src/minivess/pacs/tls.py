"""TLS for DICOM connections, with a certificate on both sides (PS3.15, annex B: the BCP 195 profiles)."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import InputError


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


class _PatientContext(ssl.SSLContext):
    """Exchanges keys in the thread of a connection, not in the one that all callers wait for: a silent caller delays nobody."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **{**options, "do_handshake_on_connect": False})


def listening_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the TLS settings of a side that is called.

    Raises:
        InputError: When a file is not usable.
    """
    context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _with_files(context, files)


def calling_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the TLS settings of a side that calls; the certificate of the other must be of the host that is called.

    Raises:
        InputError: When a file is not usable.
    """
    return _with_files(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _with_files(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        about = f"{files.certificate} and {files.key} are no certificate and its key, in PEM, without a password"
        raise InputError(f"{about}: {_reason(error)}.") from error
    try:
        context.load_verify_locations(files.authority)
    except (OSError, ValueError) as error:
        raise InputError(f"{files.authority} has no certificates of an authority, in PEM: {_reason(error)}.") from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")  # the default asks at the terminal, where a service has none


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
