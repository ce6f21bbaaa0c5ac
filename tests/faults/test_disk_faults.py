"""Disk faults at any system call (strace injects them): what is acknowledged is there, what is refused changed nothing."""

from __future__ import annotations

import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from faults.disk_faults import try_faults


@pytest.mark.row(44)
@pytest.mark.parametrize("rounds", [24, pytest.param(260, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_label_store__under_disk_faults_acknowledges_exactly_what_it_stores(tmp_path: Path, rounds: int) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (apt-get install strace)")
    # in a process without threads: a fork of this one would keep the locks of threads that it does not have, and may wait for ever
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as clean:
        print(clean.submit(try_faults, tmp_path, rounds).result())
