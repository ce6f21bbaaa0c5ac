"""``minivess serve``: start the label server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    studies: Annotated[str, typer.Argument(help="Folder of images (.nii.gz or .nrrd), or URL of a DICOMweb server.")],
    host: Annotated[str, typer.Option(help="Address to listen on; any address except loopback requires accounts.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8000,
    workspace: Annotated[
        Path | None,
        typer.Option(help="Folder of the app, the model and its training runs.", show_default="STUDIES/.minivess"),
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Trained bundle to start with, or models:/NAME@champion of the registry.")
    ] = None,
    prompt_bundle: Annotated[
        str | None,
        typer.Option(help="Trained bundle that answers clicks and boxes; by default --bundle."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of the certificate, for HTTPS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    public_name: Annotated[
        str, typer.Option(help="Host name of a reverse proxy on this machine, as labels.example.org.", show_default="none")
    ] = "",
    conf: Annotated[list[str] | None, typer.Option(help="Setting of the app, KEY=VALUE; repeatable.")] = None,
) -> None:
    """Serve a folder of studies or a DICOMweb server to MONAI Label clients such as 3D Slicer; Ctrl-C stops the server.

    For a DICOMweb server with authentication, set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD.

    Example: minivess serve studies --bundle runs/model --conf unit=um

    Example: minivess serve http://127.0.0.1:8042/dicom-web --workspace work
    """
    import os
    import sys

    from minivess.cli.bundle_source import bundle_folder
    from minivess.errors import UsageError
    from minivess.server import prepare_server
    from minivess.server.start_checks import how_to_add_user, is_address, remark_on_left_out, remark_on_stacks

    pairs = [text.partition("=") for text in conf or []]
    if not all(name and sign for name, sign, _ in pairs):
        raise UsageError("--conf must be KEY=VALUE, for example --conf unit=um.")
    if (certificate is None) != (key is None):
        raise UsageError("HTTPS needs both: --certificate FILE --key FILE.")
    settings = {name: value for name, _, value in pairs}
    folder = workspace or (Path() if is_address(studies) else Path(studies)) / ".minivess"
    if bundle is not None:
        settings["bundle"] = str(bundle_folder(bundle, folder / "registry").resolve())
    if prompt_bundle is not None:
        settings["prompt_bundle"] = str(bundle_folder(prompt_bundle, folder / "registry").resolve())
    tls = (certificate, key) if certificate is not None and key is not None else None
    launch = prepare_server(studies, tls=tls, workspace=folder, host=host, port=port, conf=settings, public_name=public_name)
    typer.echo(f"Starting the server of {studies} at {launch.url} (stop with Ctrl-C).")
    typer.echo(f"Review in a browser: {launch.url}/app/   In 3D Slicer: module MinIVess Review (or MONAILabel), {launch.url}")
    typer.echo(f"User name: admin   Password (token, valid until the server stops): {launch.token}")
    if not is_address(studies):
        for remark in filter(None, (remark_on_stacks(Path(studies)), remark_on_left_out(Path(studies), folder))):
            typer.echo(remark)
    typer.echo(f"Add a user: {how_to_add_user(studies, folder)}")
    sys.stdout.flush()
    os.environ.update(launch.environment)
    os.execv(launch.command[0], launch.command)  # noqa: S606 (it replaces this process, so that Ctrl-C reaches it directly)
