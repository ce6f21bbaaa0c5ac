"""What several trainings in one folder are of: they go on after an interruption only with the same cases and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minivess.errors import InputError
from minivess.paths import atomic_file

FILE_NAME = "plan.json"


def check_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write the plan of a folder of trainings; where there is one already, check that it is the same.

    Args:
        folder: The folder.
        plan: Cases and settings, as JSON values.

    Raises:
        InputError: When the trainings there are of other cases or settings.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        with atomic_file(file) as temporary:
            temporary.write_text(json.dumps(plan, indent=2), encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    different = sorted(key for key in {*before, *plan} if before.get(key) != json.loads(json.dumps(plan.get(key))))
    if different:
        raise InputError(
            f"The trainings in {folder} have other {', '.join(different)}. Go on with the command that they were started with, "
            "or choose a new folder: --out."
        )
