"""``minivess doctor``: what is installed, and what would fail."""

from __future__ import annotations

from typing import Any

import typer

from minivess.cli.output import Json, answer

_PROGRAMS = {"dciodvfy": "checking DICOM output", "podman": "running MAP images", "Orthanc": "DICOMweb studies"}


def doctor(as_json: Json = False) -> None:
    """Say what is installed, which extras and devices are there, and what would fail; exit 1 when the base would.

    Example: minivess doctor
    """
    report = examine()
    lines = [f"minivess {report['minivess']}, Python {report['python']}, {report['cpus']} CPUs, {report['memory_gib']:.0f} GiB"]
    lines += [f"  {'ok ' if row['ok'] else 'NO '} {row['what']}: {row['detail']}" for row in report["checks"]]
    failing = [row for row in report["checks"] if row["needed"] and not row["ok"]]
    lines.append("Everything that is needed is there." if not failing else "Mend the lines marked NO that are needed.")
    answer(report, as_json=as_json, text="\n".join(lines))
    if failing:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Look at the machine and the installation."""
    import os
    import platform
    import shutil
    import sys
    import sysconfig
    from pathlib import Path

    import torch

    import minivess
    from minivess.errors import MinivessError
    from minivess.extras import EXTRAS, missing_modules
    from minivess.models import check_bundle
    from minivess.paths import door

    checks = []
    for extra in EXTRAS:
        missing = missing_modules(extra)
        detail = f"missing {', '.join(missing)} (in a checkout: make setup)" if missing else "installed"
        checks.append({"what": f"extra {extra}", "ok": not missing, "needed": False, "detail": detail})
    for name in ("bundles/segresnet", "monailabel_app", "maps/vessel_seg"):
        try:
            folder = door(name)
            detail = ", ".join(check_bundle(folder)) if name.startswith("bundles") else str(folder)
            checks.append({"what": name, "ok": True, "needed": True, "detail": detail})
        except MinivessError as error:
            checks.append({"what": name, "ok": False, "needed": True, "detail": str(error)})
    search = os.pathsep.join((os.environ.get("PATH", ""), sysconfig.get_path("scripts")))
    for program, purpose in _PROGRAMS.items():
        found = shutil.which(program, path=search)
        detail = found or f"not found; needed for {purpose}"
        checks.append({"what": program, "ok": bool(found), "needed": False, "detail": detail})
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none; the CPU is used"
    checks.append({"what": "GPU", "ok": torch.cuda.is_available(), "needed": False, "detail": gpu})
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    checks.append({"what": "disk", "ok": free > 5, "needed": False, "detail": f"{free:.0f} GiB free here; 5 are enough to start"})
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "minivess": minivess.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
        "memory_gib": memory,
        "checks": checks,
    }
