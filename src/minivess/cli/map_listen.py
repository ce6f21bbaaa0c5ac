"""``minivess map listen``: the application beside a PACS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minivess.cli.map_options import (
    AnyModality,
    Memory,
    Model,
    OnlySeg,
    PackagedImage,
    Pictures,
    RunEngine,
    SegType,
    TimeLimit,
    application,
    application_options,
    check_application,
    package_options,
)

if TYPE_CHECKING:
    from minivess.pacs import Settings, TlsFiles


def listen(
    model: Model = None,
    image: PackagedImage = None,
    send_to: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="Where results are sent.", show_default="they stay in the spool")
    ] = None,
    spool: Annotated[Path, typer.Option(help="Queue on disk; a listener that is started again goes on with it.")] = Path("spool"),
    port: Annotated[int, typer.Option(help="Port for C-STORE; 0 takes a free one.", min=0, max=65535)] = 11112,
    title: Annotated[str, typer.Option(help="Our AE title.")] = "MINIVESS",
    allow: Annotated[list[str] | None, typer.Option(help="AE title that may send; repeat it for more.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than loopback needs --allow or --tls-*.")
    ] = "127.0.0.1",
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Our certificate for TLS, in PEM, with those up to the authority's.", show_default="no TLS"),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, in PEM, without a password.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Certificates that must have signed those of all others, in PEM.")] = None,
    quiet_s: Annotated[float, typer.Option(help="A series is complete when no image has come for so long.", min=0.1)] = 30.0,
    keep_refused_days: Annotated[
        float, typer.Option(help="So long the images of a series without a result are kept in the spool.", min=0)
    ] = 30.0,
    engine: RunEngine = None,
    memory: Memory = None,
    timeout_s: TimeLimit = None,
    only_seg: OnlySeg = False,
    any_modality: AnyModality = False,
    pictures: Pictures = False,
    seg_type: SegType = "binary",
) -> None:
    """Receive series from a PACS by C-STORE, segment each when it is complete, and send the results back. Ends with Ctrl+C.

    Example: minivess map listen --image vessels:1 --send-to PACS@pacs.local:2762 --host 10.0.0.7 --port 2762
    --tls-cert our.pem --tls-key our.key --tls-ca hospital.pem
    """
    from minivess.errors import UsageError
    from minivess.extras import require_extra
    from minivess.loopback import is_loopback

    limits = package_options(engine, memory, timeout_s)
    check_application(model, image, limits, memory)
    if not is_loopback(host) and not allow and tls_ca is None:
        about = f"--host {host} can be reached by other machines"
        raise UsageError(f"{about}: name the AE titles that may send with --allow, or ask for certificates with --tls-ca.")
    require_extra("map", "The listener")
    from minivess.map_package.application import identify_application
    from minivess.pacs import Settings
    from minivess.pacs.entity import check_title, parse_peer

    for name in (title, *(allow or ())):
        check_title(name)
    peer, tls = parse_peer(send_to) if send_to else None, _tls_files(tls_cert, tls_key, tls_ca)
    identify_application(model, image, engine)  # what is wrong with it is no reason to refuse a series
    command = application(model, image, [*limits, *application_options(only_seg, any_modality, pictures, seg_type)])
    _listen(spool, Settings(command, peer, host, port, title, tuple(allow or ()), quiet_s, tls, keep_refused_days))


def _listen(spool: Path, settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT."""
    import logging
    import signal

    from minivess.pacs import Listener, SeriesSpool

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # its lines quote what was sent
    queue = SeriesSpool(spool)
    listener = Listener(queue, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: listener.request_stop())
    waiting = ", ".join(f"{count} {state}" for state, count in queue.count().items() if count) or "empty"
    how = f"Listening{' with TLS' if settings.tls else ''} as {settings.title}"
    typer.echo(f"{how} at {settings.host}:{listener.port}; spool {spool}: {waiting}.")
    listener.run()
    typer.echo("Stopped; what is not done stays in the spool.")


def _tls_files(certificate: Path | None, key: Path | None, authority: Path | None) -> TlsFiles | None:
    from minivess.errors import UsageError
    from minivess.pacs import TlsFiles

    if certificate and key and authority:
        return TlsFiles(certificate, key, authority)
    if certificate or key or authority:
        raise UsageError("TLS needs --tls-cert, --tls-key and --tls-ca: our certificate, its key, and who signs those of others.")
    return None
