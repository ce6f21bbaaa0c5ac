"""Compare installed packages with a snapshot of security advisories that travels with this package: no network is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from minivess.errors import InputError

_SNAPSHOT = Path(__file__).with_name("advisories.json")


@dataclass(frozen=True)
class Advisory:
    """A package that an advisory speaks of.

    Attributes:
        package: Its name.
        version: The version that was found.
        fixed_in: The first version that is not affected.
        ids: Identifiers of the advisories.
    """

    package: str
    version: str
    fixed_in: str
    ids: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)


def audit_packages(versions: Mapping[str, str], *, snapshot: Path = _SNAPSHOT) -> list[Advisory]:
    """Return the advisories that affect packages.

    Args:
        versions: Name -> version.
        snapshot: File with the advisories.

    Raises:
        InputError: When the snapshot does not flag its canary, a package that does not exist: an audit that finds nothing because
            it reads nothing must not look like a clean one.
    """
    try:
        content = json.loads(snapshot.read_text(encoding="utf-8"))
        canary = {content["canary"]["package"]: content["canary"]["version"]}
        advisories = content["advisories"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The snapshot of advisories {snapshot.name} cannot be read: {error}. Reinstall minivess.") from error
    if not _affecting(canary, advisories):
        raise InputError(f"The snapshot of advisories {snapshot.name} does not flag its canary: the audit would find nothing.")
    return _affecting(versions, advisories)


def snapshot_date() -> str:
    """Return when the advisories of the snapshot were read, year and month."""
    return str(json.loads(_SNAPSHOT.read_text(encoding="utf-8"))["read"])


def _affecting(versions: Mapping[str, str], advisories: list[dict[str, Any]]) -> list[Advisory]:
    found = []
    for advisory in advisories:
        version = versions.get(advisory["package"])
        if version is not None and Version(version) < Version(advisory["fixed_in"]):
            found.append(Advisory(advisory["package"], version, advisory["fixed_in"], tuple(advisory["ids"])))
    return found
