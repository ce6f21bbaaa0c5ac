"""``minivess user``: who may use the label server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.output import Json, answer, table

if TYPE_CHECKING:
    from minivess.server import People

app = typer.Typer(no_args_is_help=True, help="Accounts of the label server of a studies folder.")

Studies = Annotated[Path, typer.Option("--studies", help="Folder that is served.")]
Workspace = Annotated[Path | None, typer.Option(help="The server's workspace.", show_default="STUDIES/.minivess")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="How they are named in labels and in the audit chain.")],
    role: Annotated[str, typer.Option(help="reader, annotator, reviewer or admin.")] = "annotator",
    studies: Studies = Path(),
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Make an account and print its token, once: it is the password in 3D Slicer.

    Example: minivess user add ann --role annotator --studies studies
    """
    token = _people(studies, workspace).add(name, role)
    answer({"name": name, "role": role, "token": token}, as_json=as_json, text=f"{name} ({role}): {token}")


@app.command("list")
def list_(studies: Studies = Path(), workspace: Workspace = None, as_json: Json = False) -> None:
    """List the accounts.

    Example: minivess user list --studies studies
    """
    rows = [{"name": person.name, "role": person.role} for person in _people(studies, workspace).all()]
    answer(rows, as_json=as_json, text=table(rows))


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose account.")],
    studies: Studies = Path(),
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Close an account; its token is worth nothing from now on, also on a server that runs.

    Example: minivess user remove ann --studies studies
    """
    _people(studies, workspace).remove(name)
    answer({"removed": name}, as_json=as_json, text=f"{name} has no account any more.")


def _people(studies: Path, workspace: Path | None) -> People:
    from minivess.errors import InputError
    from minivess.server import People, accounts_path

    if not studies.is_dir():
        raise InputError(f"No such folder of studies: {studies}. Name it: --studies FOLDER.")
    return People(accounts_path(workspace or studies / ".minivess"))
