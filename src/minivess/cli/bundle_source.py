"""A bundle as it is named on the command line: a folder, or a model of the registry in MLflow's form, models:/NAME@ALIAS."""

from __future__ import annotations

import re
from pathlib import Path

import typer

_REGISTERED = re.compile(r"models:/([\w.-]+)@([\w-]+)")


def bundle_folder(text: str, parent: Path) -> Path:
    """Return the folder of a bundle; a model of the registry is copied first, its alias resolved once, its hash compared.

    Args:
        text: A folder, or ``models:/NAME@ALIAS``.
        parent: Folder for the copy.

    Raises:
        UsageError: When a model of the registry is named in another form.
        InputError: When no version has the alias.
        LockoutError: When the weights are not those that were registered.
        RemoteError: When the server does not answer.
    """
    if not text.startswith("models:"):
        return Path(text)
    from minivess.errors import UsageError
    from minivess.track import Registry
    from minivess.track.client import connect

    match = _REGISTERED.fullmatch(text)
    if match is None:
        raise UsageError(f"A model of the registry is named models:/NAME@ALIAS, as models:/vessels@champion. Got {text}.")
    name, alias = match.groups()
    folder = Registry(connect(), name).fetch_below(alias, parent)
    typer.echo(f"{alias} of {name}: {folder.name}", err=True)
    return folder
