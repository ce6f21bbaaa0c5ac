"""Copies of an audit chain's checkpoints in another place: the only evidence of a chain whose end was cut off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from minivess.errors import LockoutError
from minivess.paths import atomic_file
from minivess.store.audit import AuditChain


def sign_and_copy(chain: AuditChain, out: Path | None) -> dict[str, Any]:
    """Sign the head of a chain, and copy what a later verification needs.

    Args:
        chain: The chain.
        out: Folder elsewhere; None for no copies.

    Returns:
        The checkpoint, as :meth:`AuditChain.checkpoint`.

    Raises:
        LockoutError: When the chain is not that of the copies that are there; they are kept, and nothing is signed.
    """
    if out is None:
        return chain.checkpoint()
    kept, key = out / chain.checkpoints.name, out / chain.public_key.name
    if kept.is_file():
        verdict = chain.verify(checkpoints=kept, public_key=key if key.is_file() else None)
        if not verdict.ok:
            raise LockoutError(
                f"The audit chain is not that of the checkpoints in {out}: {verdict.reason} Nothing was signed, and the copies "
                "were kept. See minivess audit verify --help."
            )
    signed = chain.checkpoint()
    for file in (chain.checkpoints, chain.public_key):
        with atomic_file(out / file.name) as temporary:
            shutil.copyfile(file, temporary)
    return signed
