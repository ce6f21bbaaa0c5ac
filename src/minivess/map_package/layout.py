"""Paths and variables of a MAP, by the specification 1.0 of MONAI Deploy (guidelines/monai-application-package.md)."""

from __future__ import annotations

from datetime import datetime

APP_MANIFEST = "/etc/holoscan/app.json"
PACKAGE_MANIFEST = "/etc/holoscan/pkg.json"
APPLICATION = "/opt/holoscan/app"
MODELS = "/opt/holoscan/models"
DOCS = "/opt/holoscan/docs"
WORKING_DIRECTORY = "/var/holoscan"
INPUT = "/var/holoscan/input"
OUTPUT = "/var/holoscan/output"
CONFIG = "/var/holoscan/app.yaml"
LOGS = "/var/holoscan/logs"
ENTRY_SCRIPT = "/var/holoscan/tools"
#: The Python packages, which the specification leaves to the packager.
PACKAGES = "/opt/minivess/packages"
#: User and group of the process, as numbers: Kubernetes verifies only these.
USER = 1000

#: The variables that a MAP must define; the packager of the SDK names the last two with _PATH.
ENVIRONMENT = {
    "HOLOSCAN_INPUT_PATH": INPUT,
    "HOLOSCAN_OUTPUT_PATH": OUTPUT,
    "HOLOSCAN_WORKDIR": WORKING_DIRECTORY,
    "HOLOSCAN_MODEL_PATH": MODELS,
    "HOLOSCAN_CONFIG_PATH": CONFIG,
    "HOLOSCAN_APP_MANIFEST_PATH": APP_MANIFEST,
    "HOLOSCAN_PKG_MANIFEST_PATH": PACKAGE_MANIFEST,
    "HOLOSCAN_DOCS": DOCS,
    "HOLOSCAN_LOGS": LOGS,
}
#: What a process without a home and without a name in /etc/passwd needs: MONAI asks for the user's name.
PROCESS_ENVIRONMENT = {"HOME": "/tmp", "USER": "map", "LANG": "C.UTF-8", "MPLCONFIGDIR": "/tmp"}  # noqa: S108 (of a container)
#: What the packager of the SDK adds, for tools that expect it.
PACKAGER_ENVIRONMENT = {"HOLOSCAN_APPLICATION": APPLICATION, "HOLOSCAN_DOCS_PATH": DOCS, "HOLOSCAN_LOGS_PATH": LOGS}


def local_zone() -> str:
    """Return the variable TZ of this place, in the form of POSIX: a container has no table of zones, and writes local times."""
    offset = datetime.now().astimezone().strftime("%z")  # +HHMM east of Greenwich; POSIX counts west
    opposite = ("-" if offset[0] == "+" else "+") + f"{offset[1:3]}:{offset[3:5]}"
    return f"<{offset[:5]}>{opposite}"
