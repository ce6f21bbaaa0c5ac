"""``minivess audit``: verify and sign the audit chain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.output import Json, emit
from minivess.cli.store import Root, Studies

if TYPE_CHECKING:
    from minivess.store import AuditChain

app = typer.Typer(no_args_is_help=True, help="Verify and sign the audit chain of a studies folder.")


@app.command("verify")
def verify(
    studies: Studies,
    checkpoints: Annotated[Path | None, typer.Option(help="Copy of checkpoints.jsonl from another place.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="Copy of the public key from another place.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Verify the whole audit chain, and report the first entry that was changed, removed or inserted.

    A removed end, or a chain that was written again with the private key, is detected only with checkpoints from another place.

    Example: minivess audit verify studies --checkpoints safe/checkpoints.jsonl --public-key safe/public_key.pem
    """
    verdict = _open_chain(studies, root).verify(checkpoints=checkpoints, public_key=public_key)
    valid = f"The audit chain is valid: {verdict.entries} entries, {verdict.checkpoints} signed checkpoints."
    emit(asdict(verdict), as_json=as_json, text=valid if verdict.ok else f"The audit chain is not valid. {verdict.reason}")
    if not verdict.ok:
        raise typer.Exit(1)


@app.command("checkpoint")
def checkpoint(
    studies: Studies,
    out: Annotated[Path | None, typer.Option(help="Folder elsewhere, for copies of checkpoints and public key.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Sign the last entry of the audit chain, and copy the files that a later verification needs.

    Example: minivess audit checkpoint studies --out /mnt/safe
    """
    import shutil

    chain = _open_chain(studies, root)
    signed = chain.checkpoint()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file in (chain.checkpoints, chain.public_key):
            shutil.copyfile(file, out / file.name)
    emit(signed, as_json=as_json, text=f"Signed entry {signed['seq']}: {signed['hash']}")


def _open_chain(studies: Path, root: Path | None) -> AuditChain:
    from minivess.errors import InputError
    from minivess.store import AuditChain
    from minivess.store.store import STORE_FOLDER

    folder = (root or studies / STORE_FOLDER) / "audit"
    if not folder.is_dir():
        raise InputError(f"No audit chain in {folder}. It is created when the studies are served: minivess serve {studies}")
    return AuditChain(folder)
