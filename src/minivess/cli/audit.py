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

Checkpoints = Annotated[Path | None, typer.Option(help="Copy of checkpoints.jsonl from another place.")]
PublicKey = Annotated[Path | None, typer.Option(help="Copy of the public key from another place.")]
CopiesOut = Annotated[Path | None, typer.Option(help="Folder elsewhere, for copies of checkpoints and public key.")]

app = typer.Typer(no_args_is_help=True, help="Verify and sign the audit chain of a studies folder.")


@app.command("verify")
def verify(
    studies: Studies,
    checkpoints: Checkpoints = None,
    public_key: PublicKey = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Verify the whole audit chain, and compare every event and label with it.

    The first entry that was changed, removed or inserted is reported, and each file that is missing, changed or not in the chain.

    A removed end, or a chain that was written again with the private key, is detected only with checkpoints from another place.

    Example: minivess audit verify studies --checkpoints safe/checkpoints.jsonl --public-key safe/public_key.pem
    """
    from minivess.store.verification import check_files

    chain = _open_chain(studies, root)
    verdict = chain.verify(checkpoints=checkpoints, public_key=public_key)
    if not verdict.ok:
        emit(asdict(verdict), as_json=as_json, text=f"The audit chain is not valid. {verdict.reason}")
        raise typer.Exit(1)
    files = check_files(chain.folder.parent, chain)
    lines = [f"The audit chain is valid: {verdict.entries} entries, {verdict.checkpoints} signed checkpoints."]
    lines += files.faults or [f"All {files.events} events and their labels are those that were recorded."]
    lines += [f"{path.parent.name}: {path.name} is not in the chain, and is ignored" for path in files.not_in_chain]
    about = {"events": files.events, "faults": files.faults, "not_in_chain": [str(path) for path in files.not_in_chain]}
    ok = not files.faults
    emit({**asdict(verdict), **about, "ok": ok}, as_json=as_json, text="\n".join(lines))
    if not ok:
        raise typer.Exit(1)


@app.command("checkpoint")
def checkpoint(
    studies: Studies,
    out: CopiesOut = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Sign the last entry of the audit chain, and copy the files that a later verification needs.

    Example: minivess audit checkpoint studies --out /mnt/safe
    """
    from minivess.store.audit_copies import sign_and_copy
    from minivess.store.ownership import owned_as_before

    chain = _open_chain(studies, root)
    with owned_as_before(chain.folder.parent):
        signed = sign_and_copy(chain, out)
    emit(signed, as_json=as_json, text=f"Signed entry {signed['seq']}: {signed['hash']}")


def _open_chain(studies: Path, root: Path | None) -> AuditChain:
    from minivess.errors import InputError
    from minivess.store import AuditChain
    from minivess.store.format import require_format
    from minivess.store.journal import refuse_lost_chain
    from minivess.store.store import STORE_FOLDER

    folder = root or studies / STORE_FOLDER
    refuse_lost_chain(folder)
    if not (folder / "audit").is_dir():
        raise InputError(f"No audit chain in {folder}. It is created when the studies are served: minivess serve {studies}")
    require_format(folder)
    return AuditChain(folder / "audit")
