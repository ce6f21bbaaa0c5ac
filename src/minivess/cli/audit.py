"""``minivess audit``: is the record of who did what still whole?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.output import Json, answer
from minivess.cli.store import Root, Studies

if TYPE_CHECKING:
    from minivess.store import AuditChain

app = typer.Typer(no_args_is_help=True, help="The audit chain over the labels of a studies folder.")


@app.command("verify")
def verify(
    studies: Studies,
    checkpoints: Annotated[Path | None, typer.Option(help="A copy of checkpoints.jsonl that was kept elsewhere.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="The public key that was kept elsewhere.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Read the whole chain; name the first entry that was changed, removed or put in.

    A cut end, or a chain written anew by somebody with the key, shows only against checkpoints that were kept elsewhere.

    Example: minivess audit verify studies --checkpoints safe/checkpoints.jsonl --public-key safe/public_key.pem
    """
    verdict = _chain(studies, root).verify(checkpoints=checkpoints, public_key=public_key)
    good = f"The chain holds: {verdict.entries} entries, {verdict.checkpoints} signed checkpoints."
    answer(asdict(verdict), as_json=as_json, text=good if verdict.ok else f"The chain is broken. {verdict.reason}")
    if not verdict.ok:
        raise typer.Exit(1)


@app.command("checkpoint")
def checkpoint(
    studies: Studies,
    out: Annotated[Path | None, typer.Option(help="Folder in another place: gets the checkpoints and the public key.")] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Sign the head of the chain now, and copy what is needed to check it later.

    Example: minivess audit checkpoint studies --out /mnt/safe
    """
    import shutil

    chain = _chain(studies, root)
    signed = chain.checkpoint()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file in (chain.checkpoints, chain.public_key):
            shutil.copyfile(file, out / file.name)
    answer(signed, as_json=as_json, text=f"Signed entry {signed['seq']}: {signed['hash']}")


def _chain(studies: Path, root: Path | None) -> AuditChain:
    from minivess.errors import InputError
    from minivess.store import AuditChain
    from minivess.store.store import STORE_FOLDER

    folder = (root or studies / STORE_FOLDER) / "audit"
    if not folder.is_dir():
        raise InputError(f"There is no audit chain at {folder}. It is made when the studies are served: minivess serve {studies}")
    return AuditChain(folder)
