"""``minivess release``: gather, sign and verify what belongs to a released model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minivess.cli.output import Json, emit

app = typer.Typer(no_args_is_help=True, help="Signed releases: model, evaluation, packages, advisories, in one folder.")


@app.command("keys")
def keys(folder: Annotated[Path, typer.Argument(help="Folder for the two keys.")], as_json: Json = False) -> None:
    """Create a pair of keys: the private one signs and stays with you, the public one goes to whoever verifies.

    Example: minivess release keys ~/minivess_keys
    """
    from minivess.release import create_keys

    private, public = create_keys(folder)
    about = {"private_key": str(private), "public_key": str(public)}
    emit(about, as_json=as_json, text=f"Private, keep it apart from releases: {private}\nPublic, give it away: {public}")


@app.command("make")
def make(
    bundle: Annotated[Path, typer.Argument(help="Trained bundle.")],
    report: Annotated[Path, typer.Option(help="Folder of `minivess evaluate --report`, on this model.")],
    key: Annotated[Path, typer.Option(help="Private key: `minivess release keys`.")],
    out: Annotated[Path, typer.Option(help="New or empty folder.")],
    sealed: Annotated[Path | None, typer.Option(help="Sealed test set, for its audit chain.", show_default="none")] = None,
    tests: Annotated[
        Path | None, typer.Option(help="Test results by requirement: `pytest --requirements FILE`.", show_default="none")
    ] = None,
    accept_advisories: Annotated[
        bool, typer.Option("--accept-advisories", help="Release although an advisory affects an installed package.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Gather a release and sign it.

    Example: minivess release make runs/model --report runs/report --key ~/minivess_keys/release_private.pem --out runs/release
    """
    from minivess.release import make_release

    content = make_release(
        bundle, out, private_key=key, report=report, sealed=sealed, tests=tests, accept_advisories=accept_advisories
    )
    text = f"Release {content['id']}: {content['name']} {content['version']}, weights {content['weights_sha256'][:16]}, in {out}"
    emit(content, as_json=as_json, text=text)


@app.command("verify")
def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a release.")],
    key: Annotated[Path, typer.Option(help="Public key of whoever signed; get it by another way than the release.")],
    as_json: Json = False,
) -> None:
    """Verify that a release is as it was signed. Exit code 1 when it is not; the files are named.

    Example: minivess release verify runs/release --key release_public.pem
    """
    import json

    from minivess.release import verify_folder

    verify_folder(folder, key)
    content = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    about = {key: content.get(key) for key in ("id", "name", "version", "weights_sha256")}
    text = f"As signed: release {about['id']}, {about['name']} {about['version']}, weights {about['weights_sha256'][:16]}"
    emit({"ok": True, **about}, as_json=as_json, text=text)
