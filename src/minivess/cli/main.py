"""The entry point of the command line: commands, exit codes and error messages."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

import minivess
from minivess.cli import (
    audit,
    bundle,
    calibrate,
    data,
    demo,
    doctor,
    evaluate,
    lineage,
    map_,
    measure,
    predict,
    release,
    serve,
    store,
    synth,
    testset,
    track,
    train,
    user,
)
from minivess.errors import MinivessError, MissingExtraError, OutputError
from minivess.extras import extra_of, how_to_install
from minivess.process_setup import prepare_process

_INTERNAL_FAULT = 3
_INTERRUPTED = 128 + 2


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"minivess {minivess.__version__}")
        raise typer.Exit


app = typer.Typer(
    name="minivess",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a folder of blood-vessel volumes to a validated segmentation model.\n\n"
    "Example: minivess demo. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 internal fault.",
)
app.add_typer(synth.app, name="synth")
app.add_typer(data.app, name="data")
app.add_typer(testset.app, name="testset")
app.add_typer(bundle.app, name="bundle")
app.add_typer(map_.app, name="map")
app.add_typer(release.app, name="release")
app.add_typer(track.app, name="track")
app.add_typer(store.app, name="store")
app.add_typer(audit.app, name="audit")
app.add_typer(user.app, name="user")
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("measure")(measure.measure)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("lineage")(lineage.lineage)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version.")] = False,
) -> None:
    """Process the options before a command."""


def main() -> None:
    """Run the command line and exit the process with its exit code."""
    prepare_process()
    code = run(sys.argv[1:])
    if code == _INTERRUPTED:
        typer.echo("Interrupted. What was finished before is kept.", err=True)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command.

    Returns:
        0 done, 1 refused or a failed check, 2 wrong usage, 3 internal fault, 130 interrupted.
    """
    try:
        app(args=arguments)  # wrong usage, Ctrl-C and a closed pipe raise SystemExit; wrong usage has printed its message
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    except MinivessError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        return error.exit_code
    except RuntimeError as error:
        cause = _own_cause(error)
        if cause is not None:  # MONAI's engines raise RuntimeError in place of any error in them
            typer.echo(f"{type(cause).__name__}: {cause}", err=True)
            return cause.exit_code
        if type(error).__name__ == "OutOfMemoryError":  # of the GPU
            words = "The GPU has not enough free memory. Close what else uses it, or run on the CPU: --device cpu."
            typer.echo(f"{words} ({str(error).splitlines()[0][:160]})", err=True)
            return OutputError.exit_code
        if not _is_full_disk(error):  # torch reports a full disk without an error number
            return _report_fault()
        typer.echo(f"OutputError: the file cannot be written: {error}. Is the disk full?", err=True)
        return OutputError.exit_code
    except ModuleNotFoundError as error:
        return _report_missing_module(error)
    except OSError as error:  # for example a full disk, or a folder without write permission
        typer.echo(f"OutputError: {error.strerror or error}: {error.filename or ''}", err=True)
        return OutputError.exit_code
    except Exception:  # noqa: BLE001 (an internal fault has an exit code of its own)
        return _report_fault()
    return 0


def _report_missing_module(error: ModuleNotFoundError) -> int:
    """Print which extra installs a missing module, and return the exit code."""
    extra = extra_of(error.name or "")
    if extra is None:
        return _report_fault()
    typer.echo(f"MissingExtraError: This needs {error.name}. {how_to_install(extra)}", err=True)
    return MissingExtraError.exit_code


def _own_cause(error: BaseException | None) -> MinivessError | None:
    while error is not None and not isinstance(error, MinivessError):
        error = error.__cause__ or error.__context__
    return error


def _is_full_disk(error: RuntimeError) -> bool:
    return any(text in str(error) for text in ("PytorchStreamWriter failed", "No space left", "unexpected pos"))


def _report_fault() -> int:
    traceback.print_exc()
    typer.echo("This is an internal fault of minivess. Please report it with the lines above.", err=True)
    return _INTERNAL_FAULT
