"""The two manifests of a MAP: written by the specification's field names, read in the spelling of the SDK's packager, too."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minivess.errors import InputError
from minivess.map_package import layout

_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*$", re.IGNORECASE)
_KINDS: dict[type, str] = {str: "a text", list: "a list", dict: "an object", int: "a number", float: "a number"}
#: Manifest -> field -> what it may be; null counts as missing.
_TYPES: dict[str, dict[str, tuple[type, ...]]] = {
    layout.APP_MANIFEST: {
        "command": (str, list), "environment": (dict,), "input": (dict,), "output": (dict,), "timeout": (int, float),
        "workingDirectory": (str,),
    },
    layout.PACKAGE_MANIFEST: {"models": (list, dict), "resources": (dict,), "applicationRoot": (str,)},
}  # fmt: skip
_FACTORS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Manifests:
    """Application and package manifest of a MAP.

    Attributes:
        app: Content of app.json.
        package: Content of pkg.json.
    """

    app: Mapping[str, Any]
    package: Mapping[str, Any]

    @staticmethod
    def parse(app: bytes, package: bytes) -> Manifests:
        """Parse the files.

        Args:
            app: app.json.
            package: pkg.json.

        Raises:
            InputError: When one is not a JSON object, or a field has another type than the specification says.
        """
        contents = []
        for name, text in ((layout.APP_MANIFEST, app), (layout.PACKAGE_MANIFEST, package)):
            try:
                content = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{name} is not JSON: {error}") from error
            if b"\\u0000" in text:
                raise InputError(f"{name} contains the character NUL, which no command and no path may contain.")
            if not isinstance(content, dict):
                raise InputError(f"{name} must be a JSON object. Got {type(content).__name__}.")
            _check_types(name, content)
            contents.append(content)
        return Manifests(*contents)

    @property
    def command(self) -> list[str]:
        """The command as words; the packager of the SDK writes a JSON list inside the string."""
        return _words(self.app.get("command") or "")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the host provides to the application."""
        return {str(name): str(value) for name, value in (self.app.get("environment") or {}).items()}

    @property
    def models(self) -> dict[str, str]:
        """Name -> folder of each model; the packager of the SDK writes an object, the specification an array."""
        models = self.package.get("models") or {}
        if isinstance(models, list):
            return {str(m.get("name")): str(m.get("path") or f"{layout.MODELS}/{m.get('name')}") for m in models}
        return {str(name): str(path) for name, path in models.items()}

    @property
    def memory_bytes(self) -> int | None:
        """Memory that the package asks for; None when it asks for none."""
        text = (self.package.get("resources") or {}).get("memory")
        return parse_size(str(text)) if text else None

    @property
    def timeout_s(self) -> float:
        """Seconds after which the application is ended; 0 is never."""
        return float(self.app.get("timeout") or 0)


def _check_types(name: str, content: Mapping[str, Any]) -> None:
    for field, kinds in _TYPES[name].items():
        value = content.get(field)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            allowed = " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))
            raise InputError(f"{name}: {field} must be {allowed}. Got {json.dumps(value)[:80]}.")
    for number, model in enumerate(content.get("models") or [] if isinstance(content.get("models"), list) else []):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            raise InputError(f"{name}: models[{number}] must be an object with a name. Got {json.dumps(model)[:80]}.")
    try:
        _words(content.get("command") or "")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: command is no command line: {error}. Close the quotes.") from error
    if any(not variable or "=" in variable for variable in content.get("environment") or ()):
        raise InputError(f"{name}: environment has a variable without a name, or with = in it.")
    timeout = content.get("timeout") or 0
    if not 0 <= timeout < math.inf:
        raise InputError(f"{name}: timeout must be 0, for none, or seconds. Got {timeout}.")


def _words(command: str | list[Any]) -> list[str]:
    if isinstance(command, list):
        return [str(word) for word in command]
    try:
        words = json.loads(command)
    except ValueError:
        return shlex.split(command)
    return [str(word) for word in words] if isinstance(words, list) else shlex.split(command)


def parse_size(text: str) -> int:
    """Return a size like 4Gi or 512M in bytes; all units are powers of 1024.

    Raises:
        InputError: When the text is no size.

    Example:
        >>> parse_size("4Gi"), parse_size("512M")
        (4294967296, 536870912)
    """
    match = _SIZE.match(text)
    if not match:
        raise InputError(f"Not a size of memory: {text!r}. Write for example 4Gi or 512Mi.")
    return int(float(match[1]) * _FACTORS[match[2].upper()])


def app_manifest(*, version: str, sdk_version: str) -> dict[str, Any]:
    """Return app.json.

    Args:
        version: Semantic version of the application.
        sdk_version: Version of the MONAI Deploy App SDK.
    """
    return {
        "apiVersion": "1.0.0",
        "type": "application",
        "command": f"python3 {layout.APPLICATION}",
        "environment": {**layout.ENVIRONMENT, **layout.PACKAGER_ENVIRONMENT},
        "input": {"path": layout.INPUT, "formats": ["file"]},
        "output": {"path": layout.OUTPUT, "format": "file", "formats": ["file"]},  # the second: the packager's spelling
        "sdk": "monai-deploy",
        "sdkVersion": sdk_version,
        "timeout": 0,
        "version": version,
        "workingDirectory": layout.WORKING_DIRECTORY,
    }


def package_manifest(*, version: str, models: Sequence[str], memory_bytes: int, gpu: bool) -> dict[str, Any]:
    """Return pkg.json.

    Args:
        version: Semantic version of the application.
        models: Names of the models, which are folders.
        memory_bytes: Memory that the largest accepted series needs.
        gpu: Whether the image can use a GPU.
    """
    return {
        "apiVersion": "1.0.0",
        "applicationRoot": layout.APPLICATION,
        "modelRoot": layout.MODELS,
        "models": [{"name": name, "path": f"{layout.MODELS}/{name}"} for name in models],
        "resources": {"cpu": 2, "gpu": int(gpu), "memory": f"{-(-memory_bytes // 2**20)}Mi"},
        "version": version,
        "platformConfig": "dgpu" if gpu else "cpu",
    }
