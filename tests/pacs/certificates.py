"""Certificates of an authority that a test makes."""

from __future__ import annotations

from pathlib import Path

import trustme

from minivess.pacs import TlsFiles


def tls_files(authority: trustme.CA, folder: Path, *, host: str = "127.0.0.1") -> TlsFiles:
    """Write a certificate of a host, its key, and the authority's certificate."""
    folder.mkdir()
    files = TlsFiles(folder / "certificate.pem", folder / "private.key", folder / "authority.pem")
    issued = authority.issue_cert(host)
    issued.cert_chain_pems[0].write_to_path(files.certificate)
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.authority)
    return files
