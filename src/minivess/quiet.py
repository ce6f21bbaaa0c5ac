"""Prepare a process before MONAI is imported: libraries found at once, and no warnings that a user cannot act on."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import os
import resource
import warnings
from pathlib import Path

#: Holoscan, which comes with the MAP extra and which MONAI imports where it is installed, asks for this much.
_STACK_BYTES = 32 * 2**20


def prepare_process() -> None:
    """Raise the stack limit that Holoscan asks for, preload the CUDA runtime it links, and hush known noise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK_BYTES and (hard == resource.RLIM_INFINITY or hard >= _STACK_BYTES):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, hard))
    preload_cuda_runtime()
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF")  # a refusal is told once, by the application itself
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    warnings.filterwarnings("ignore", category=UserWarning, module="monai")
    # Their warnings quote what they found, names of patients among it, and no log is to hold that.
    warnings.filterwarnings("ignore", category=UserWarning, module="highdicom|pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("monai").setLevel(logging.ERROR)


def preload_cuda_runtime() -> None:
    """Load libcudart, which Holoscan links also on a machine without a GPU, from its Python package."""
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for library in sorted(Path(root).glob("cu13/lib/libcudart.so.13")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
