"""MONAI is imported without packages that it would load for nothing, and that take longer than itself; who needs them finds them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("transformers")


def run(script: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    return done.stdout.split()


def test_monai_does_not_import_what_we_do_not_use_of_it_and_others_can() -> None:
    script = """
import sys
from minivess.process_setup import prepare_process
prepare_process()
prepare_process()
import monai.networks.nets, monai.handlers, monai.engines
print(*(name in sys.modules for name in ("transformers", "mlflow", "pandas", "matplotlib", "sklearn")))
print("ignite" in sys.modules)
import matplotlib.pyplot, mlflow, pandas, sklearn.metrics
from transformers import Sam3Config
print(Sam3Config.model_type)
from monai.networks.nets import SegResNet, Transchex
"""
    assert run(script) == ["False"] * 5 + ["True", "sam3"]


def test_a_process_that_only_predicts_has_no_training_engines() -> None:
    script = """
import sys
from minivess.process_setup import prepare_process
prepare_process(only_predicts=True)
import minivess.models
print("ignite" in sys.modules)
"""
    assert run(script) == ["False"]
