"""``minivess track``: trainings in MLflow, and a registry whose promotion is gated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit

app = typer.Typer(no_args_is_help=True, help="Trainings in MLflow (MLFLOW_TRACKING_URI), champion and challenger.")
Name = Annotated[str, typer.Argument(help="Name of the model in the registry.")]


@app.command("send")
def send(
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; for the process that a training starts.")] = False,
    as_json: Json = False,
) -> None:
    """Send the trainings that wait in the spool. What the server does not take stays there.

    Example: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 minivess track send
    """
    from minivess.errors import RemoteError
    from minivess.track import Spool, send_all
    from minivess.track.client import connect

    spool = Spool()
    try:
        sent = send_all(connect(), spool)
    except RemoteError:
        if quiet:
            raise typer.Exit(1) from None
        raise
    if not quiet:
        emit({"sent": sent, "spool": str(spool.folder)}, as_json=as_json, text=f"Sent: {len(sent)} trainings.")


@app.command("status")
def status(name: Name, as_json: Json = False) -> None:
    """Show champion, challenger, and how many trainings wait.

    Example: minivess track status vessels
    """
    from minivess.track import Registry, Spool
    from minivess.track.client import connect
    from minivess.track.registry import CHALLENGER, CHAMPION

    waiting, aside = len(list(Spool().entries())), len(list(Spool().folder.glob("*.unsendable")))
    registry = Registry(connect(), name)
    found = {alias: registry.resolve(alias) for alias in (CHAMPION, CHALLENGER)}
    lines = [f"{alias}: {f'version {row[0]}, weights {row[1][:16]}' if row else 'none'}" for alias, row in found.items()]
    about = {alias: {"version": row[0], "weights_sha256": row[1]} if row else None for alias, row in found.items()}
    if not any(found.values()):
        lines.append(f"No model {name} is registered, or none of its versions has an alias: check the name.")
    lines.append(f"waiting in the spool: {waiting}" + (f", put aside as *.unsendable: {aside}" if aside else ""))
    emit({**about, "waiting": waiting, "put_aside": aside}, as_json=as_json, text="\n".join(lines))


@app.command("promote")
def promote(
    name: Name,
    report: Annotated[Path | None, typer.Option(help="report.json of `minivess evaluate` on challenger and champion.")] = None,
    sealed: Annotated[
        Path | None, typer.Option(help="Instead: data set whose sealed test cases both are compared on; one look.")
    ] = None,
    limits: Annotated[Path | None, typer.Option(help="YAML: at_least, margin, gain, subjects.", show_default="0.01")] = None,
    as_json: Json = False,
) -> None:
    """Make the challenger the champion, if it is within the limits. Exit code 1 and the reasons when it is not.

    On a sealed test set somebody else approves the look (`minivess testset approve`), and no number is told.

    Example: minivess track promote vessels --report runs/report/report.json --limits limits.yaml

    Example: minivess track promote vessels --sealed runs/data --limits limits.yaml
    """
    from tqdm import tqdm

    from minivess.errors import InputError, UsageError
    from minivess.store import system_user
    from minivess.track import Limits, Registry, promote_on_sealed
    from minivess.track.client import connect

    stated = Limits.read(limits) if limits else Limits()
    if sealed is not None and report is None:
        with tqdm(desc="evaluate", unit="case", disable=as_json) as bar:
            version, look = promote_on_sealed(
                Registry(connect(), name), sealed, stated, actor=system_user(), progress=lambda _: bar.update()
            )
        text = f"Version {version} of {name} is the champion. {look.sentence()}"
        return emit({"champion": version, "look": look.sentence()}, as_json=as_json, text=text)
    if report is None or sealed is not None:
        raise UsageError("Give one of --report FILE and --sealed DATASET.")
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{report} is no evaluation report: {error}") from error
    version = Registry(connect(), name).promote(content, stated)
    return emit({"champion": version}, as_json=as_json, text=f"Version {version} of {name} is the champion.")


@app.command("roll-back")
def roll_back(name: Name, as_json: Json = False) -> None:
    """Make the champion before the champion again.

    Example: minivess track roll-back vessels
    """
    from minivess.track import Registry
    from minivess.track.client import connect

    version = Registry(connect(), name).roll_back()
    emit({"champion": version}, as_json=as_json, text=f"Version {version} of {name} is the champion again.")


@app.command("fetch")
def fetch(
    name: Name,
    out: Annotated[Path, typer.Option(help="New or empty folder for the bundle.")],
    alias: Annotated[str, typer.Option(help="champion or challenger.")] = "champion",
    as_json: Json = False,
) -> None:
    """Copy the champion's bundle; its weights must have the hash that was registered.

    Example: minivess track fetch vessels --out runs/champion, then: minivess map build runs/champion -t vessels:1
    """
    from minivess.track import Registry
    from minivess.track.client import connect

    version = Registry(connect(), name).fetch(alias, out)
    emit({"version": version, "bundle": str(out)}, as_json=as_json, text=f"Version {version} of {name} in {out}")
