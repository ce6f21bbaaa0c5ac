"""MONAI is imported without transformers, which takes longer than MONAI itself; who needs transformers finds it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("transformers")


def test_monai_does_not_import_transformers_and_others_can() -> None:
    script = """
import sys
from minivess.process_setup import prepare_process
prepare_process()
prepare_process()
import monai.networks.nets
print("transformers" in sys.modules)
from transformers import Sam3Config
print(Sam3Config.model_type)
from monai.networks.nets import SegResNet, Transchex
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["False", "sam3"]
