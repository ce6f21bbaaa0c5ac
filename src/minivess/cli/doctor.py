"""``minivess doctor``: check the installation and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from minivess.cli.output import Json, emit

_PROGRAMS = {"dciodvfy": "checking DICOM output", "bwrap": "running MAP folders apart", "Orthanc": "DICOMweb studies"}


def doctor(as_json: Json = False) -> None:
    """Check the installation, the extras and the devices; exit code 1 when a required check fails.

    Example: minivess doctor
    """
    report = examine()
    lines = [f"minivess {report['minivess']}, Python {report['python']}, {report['cpus']} CPUs, {report['memory_gib']:.0f} GiB"]
    lines += [f"  {'ok ' if row['ok'] else 'NO '} {row['what']}: {row['detail']}" for row in report["checks"]]
    failing = [row for row in report["checks"] if row["needed"] and not row["ok"]]
    failed = ", ".join(row["what"] for row in failing)
    lines.append(f"Failed required checks: {failed}. Reinstall minivess." if failing else "All required checks passed.")
    emit(report, as_json=as_json, text="\n".join(lines))
    if failing:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Return the results of all checks, as plain values for JSON."""
    import os
    import platform
    import sys

    import torch

    import minivess

    return {
        "minivess": minivess.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "checks": [*_check_extras(), *_check_resources(), *_check_programs(), *_check_transfer_syntaxes(), *_check_machine()],
    }


def _row(what: str, detail: str, *, ok: bool, needed: bool = False) -> dict[str, Any]:
    return {"what": what, "ok": ok, "needed": needed, "detail": detail}


def _check_extras() -> Iterator[dict[str, Any]]:
    from minivess.extras import EXTRAS, how_to_install, missing_modules

    for extra in EXTRAS:
        missing = missing_modules(extra)
        detail = f"missing {', '.join(missing)}. {how_to_install(extra)}" if missing else "installed"
        yield _row(f"extra {extra}", detail, ok=not missing)


def _check_resources() -> Iterator[dict[str, Any]]:
    from minivess.errors import MinivessError
    from minivess.models import check_bundle
    from minivess.paths import resource_path

    for name in ("bundles/segresnet", "monailabel_app", "maps/vessel_seg"):
        try:
            folder = resource_path(name)
            detail = ", ".join(check_bundle(folder)) if name.startswith("bundles") else str(folder)
            yield _row(name, detail, ok=True, needed=True)
        except MinivessError as error:
            yield _row(name, str(error), ok=False, needed=True)


def _check_programs() -> Iterator[dict[str, Any]]:
    import os
    import shutil
    import sysconfig

    search = os.pathsep.join((os.environ.get("PATH", ""), sysconfig.get_path("scripts")))
    for program, purpose in _PROGRAMS.items():
        executable = shutil.which(program, path=search)
        yield _row(program, executable or f"not found; required for {purpose}", ok=bool(executable))
    yield _check_engine()


def _check_engine() -> dict[str, Any]:
    from minivess.errors import EngineError
    from minivess.extras import missing_modules

    if missing_modules("map"):
        return _row("container engine", "not looked for: the extra map is missing", ok=False)
    from minivess.map_package.engines import RUNNERS, find_engine

    what = f"container engine ({' or '.join(RUNNERS)})"
    try:
        return _row(what, f"{find_engine().name} answers", ok=True)
    except EngineError as error:
        return _row(what, f"{error} Required for running MAP images", ok=False)


def _check_transfer_syntaxes() -> Iterator[dict[str, Any]]:
    """List the compressed DICOM images that can be read here."""
    from pydicom import uid
    from pydicom.pixels import get_decoder

    from minivess.dicom import jpeg_12_bit

    jpeg_12_bit.register()
    for syntaxes in (uid.JPEGTransferSyntaxes, uid.JPEGLSTransferSyntaxes, uid.JPEG2000TransferSyntaxes, uid.RLETransferSyntaxes):
        for syntax in syntaxes:
            try:
                decoder = get_decoder(syntax)
            except NotImplementedError:  # of several components: no grey image
                continue
            found = ", ".join(decoder.available_plugins)
            yield _row(f"DICOM {syntax.name}", f"read by {found}" if found else "not read here", ok=decoder.is_available)


def _check_machine() -> Iterator[dict[str, Any]]:
    import shutil
    from pathlib import Path

    import torch

    has_gpu = torch.cuda.is_available()
    yield _row("GPU", torch.cuda.get_device_name(0) if has_gpu else "none; the CPU is used", ok=has_gpu)
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    yield _row("disk", f"{free_gib:.0f} GiB free here; 5 GiB are enough to start", ok=free_gib > 5)
