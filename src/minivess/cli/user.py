"""``minivess user``: manage the accounts of the label server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.output import Json, emit, table

if TYPE_CHECKING:
    from minivess.server import Accounts

app = typer.Typer(no_args_is_help=True, help="Manage the accounts of the label server of a studies folder.")

Studies = Annotated[Path, typer.Option("--studies", help="Folder of the studies that are served.")]
Days = Annotated[int | None, typer.Option(min=1, max=36500, help="Days until the token expires.", show_default="never")]
Workspace = Annotated[Path | None, typer.Option(help="Workspace of the server.", show_default="STUDIES/.minivess")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="User name, as recorded with labels and in the audit chain.")],
    role: Annotated[str, typer.Option(help="reader, annotator, reviewer or admin.")] = "annotator",
    studies: Studies = Path(),
    workspace: Workspace = None,
    days: Days = None,
    as_json: Json = False,
) -> None:
    """Create an account and print its token once; the token is the password in 3D Slicer.

    Example: minivess user add ann --role annotator --days 90 --studies studies
    """
    token = _accounts(studies, workspace).add(name, role, days=days)
    text = f"{name} ({role}): {token}\nFor the server of {_served(studies, workspace)}."
    emit({"name": name, "role": role, "token": token}, as_json=as_json, text=text)


@app.command("rotate")
def rotate(
    name: Annotated[str, typer.Argument(help="User name.")],
    studies: Studies = Path(),
    workspace: Workspace = None,
    days: Days = None,
    as_json: Json = False,
) -> None:
    """Replace the token of an account, and print the new one once; the old one is no longer valid.

    Example: minivess user rotate ann --days 90 --studies studies
    """
    token = _accounts(studies, workspace).rotate(name, days=days)
    emit({"name": name, "token": token}, as_json=as_json, text=f"{name}: {token}")


@app.command("list")
def list_(studies: Studies = Path(), workspace: Workspace = None, as_json: Json = False) -> None:
    """List the accounts.

    Example: minivess user list --studies studies
    """
    rows = [{"name": account.name, "role": account.role} for account in _accounts(studies, workspace).all()]
    emit(rows, as_json=as_json, text=table(rows))


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="User name.")],
    studies: Studies = Path(),
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Remove an account; its token is invalid from now on, also on a running server.

    Example: minivess user remove ann --studies studies
    """
    _accounts(studies, workspace).remove(name)
    emit({"removed": name}, as_json=as_json, text=f"The account of {name} was removed.")


def _accounts(studies: Path, workspace: Path | None) -> Accounts:
    from minivess.errors import InputError
    from minivess.server import Accounts, accounts_path

    if not studies.is_dir():
        raise InputError(f"This is no folder of studies: {studies}. Choose it with --studies FOLDER.")
    return Accounts(accounts_path(workspace or studies / ".minivess"))


def _served(studies: Path, workspace: Path | None) -> Path:
    return (workspace or studies).resolve()
