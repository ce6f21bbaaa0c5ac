"""What a package needs to know of the place where it runs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kolkata", "UTC", "America/St_Johns"])
def test_a_container_has_the_local_time(zone: str) -> None:
    def run(program: str, zone: str) -> str:
        command = [sys.executable, "-c", f"import os, time; {program}"]
        return subprocess.run(command, env={"TZ": zone}, check=True, capture_output=True, text=True).stdout.strip()

    stated = run("from minivess.map_package.layout import local_zone; print(local_zone())", zone)
    offset = "print(time.strftime('%z'))"
    assert run(offset, stated) == run(offset, zone)
