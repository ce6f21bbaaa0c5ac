"""Prepare a process before MONAI is imported: resource limits, shared libraries, and filters for known warnings."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import resource
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

#: Stack size that Holoscan requires; MONAI imports Holoscan where the MAP extra is installed.
_STACK_BYTES = 32 * 2**20
#: How long a thread of OpenMP spins at a barrier before it sleeps. By default it spins for milliseconds, so that a training
#: beside one busy process takes many times as long: its threads wait for the one that is not running. Without any, all is slower.
SPIN_COUNT = "2000"
#: What MONAI imports for networks, handlers, pictures and readers that nothing of ours takes from it.
_UNUSED_BY_MONAI = (
    "transformers", "mlflow", "pandas", "matplotlib", "sklearn", "torchvision", "cupy", "cupyx", "itk", "scipy.signal",
)  # fmt: skip


def prepare_process(*, only_predicts: bool = False) -> None:
    """Raise the stack limit, load the CUDA runtime that Holoscan links, and filter known warnings of other packages.

    Args:
        only_predicts: The process trains nothing: MONAI is imported without its engines, which is faster.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK_BYTES and (hard == resource.RLIM_INFINITY or hard >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, hard))
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    hidden = next((finder for finder in sys.meta_path if isinstance(finder, _HiddenFromMonai)), None)
    if hidden is None:
        sys.meta_path.insert(0, hidden := _HiddenFromMonai())
    if only_predicts:
        hidden.names.add("ignite")
    preload_cuda_runtime()
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF")  # the application itself prints its errors, once
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    warnings.filterwarnings("ignore", category=UserWarning, module="monai")
    # These warnings quote DICOM values, patient names among them, which must not reach a log.
    warnings.filterwarnings("ignore", category=UserWarning, module="highdicom|pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("monai").setLevel(logging.ERROR)
    logging.getLogger("ignite.engine").setLevel(logging.CRITICAL)  # it logs, without words, what it raises


class _HiddenFromMonai(MetaPathFinder):
    """Hides packages while MONAI is imported, which takes seconds to import them for parts that we do not use.

    Whoever imports them afterwards, as our SAM 3 does with transformers, finds them.
    """

    def __init__(self) -> None:
        """Hide what no part of ours uses through MONAI."""
        self.names = set(_UNUSED_BY_MONAI)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return no module; raise where MONAI asks for a hidden one."""
        monai = sys.modules.get("monai")
        if fullname in self.names and monai is not None and getattr(monai.__spec__, "_initializing", False):
            raise ModuleNotFoundError(f"{fullname} is hidden from MONAI", name=fullname)
        return None


def preload_cuda_runtime() -> None:
    """Load libcudart from its Python package; Holoscan links it also on a machine without a GPU."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(root).glob("cu13/lib/libcudart.so.13")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
