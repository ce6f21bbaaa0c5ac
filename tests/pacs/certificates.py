"""Certificates of an authority that a test makes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import trustme

from minivess.pacs import TlsFiles


def tls_files(authority: trustme.CA, folder: Path, *, host: str = "127.0.0.1", not_after: datetime | None = None) -> TlsFiles:
    """Write a certificate of a host, its key, and the authority's certificate."""
    folder.mkdir()
    files = TlsFiles(folder / "certificate.pem", folder / "private.key", folder / "authority.pem")
    issued = authority.issue_cert(host, not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=not_after)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.authority)
    return files
