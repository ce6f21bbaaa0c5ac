"""Start real container engines for a test: Docker in a network namespace of its own, podman with runc, and a base image from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What a kernel with hybrid control groups and without CAP_SYS_RESOURCE needs.
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
[engine]
runtime = "runc"
"""
_CONFIGURATIONS = {"CONTAINERS_CONF": "containers", "CONTAINERS_STORAGE_CONF": "storage"}


def missing_programs() -> list[str]:
    """Return what is not installed of what these tests need."""
    wanted = ("docker", "dockerd", "podman", "runc", "mmdebstrap", "unshare", "ip")
    return [program for program in wanted if shutil.which(program) is None and not Path("/usr/sbin", program).exists()]


@contextmanager
def docker_daemon(folder: Path) -> Iterator[str]:
    """Start a Docker daemon that reaches no network; yield its address."""
    address = f"unix://{folder}/docker.sock"
    script = (
        f"ip link set lo up; exec dockerd --data-root {folder}/data --exec-root {folder}/exec "
        f"--pidfile {folder}/docker.pid -H {address}"
    )
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "-H", address, "info"], capture_output=True, check=False).returncode:
            assert daemon.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield address
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
        shutil.rmtree(folder / "data", ignore_errors=True)  # gigabytes, which pytest would keep


def base_archive(folder: Path) -> Path:
    """Make a Debian 12 with Python as a tar archive, from Debian's packages."""
    archive = folder / "base.tar"
    command = ["mmdebstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", str(archive)]
    subprocess.run(command, check=True, capture_output=True)
    return archive


def import_base(engine: str, archive: Path, name: str) -> None:
    """Make the archive an image of an engine."""
    change = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    subprocess.run([engine, "import", "--change", change, str(archive), name], check=True, capture_output=True)


@contextmanager
def podman_environment(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the variables that podman needs on such a machine, with a storage of its own, which is removed at the end."""
    (folder / "containers.conf").write_text(_CONTAINERS_CONF)
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{folder}/run"\n'
    (folder / "storage.conf").write_text(storage)
    files = {name: str(folder / f"{file}.conf") for name, file in _CONFIGURATIONS.items()}
    variables = {**os.environ, **files, "BUILDAH_RUNTIME": "runc"}
    try:
        yield variables
    finally:
        subprocess.run(["podman", "system", "reset", "--force"], env=variables, check=True, capture_output=True)
