"""Check the parameters of a client: plain JSON of limited size, without expressions and without names of server files."""

from __future__ import annotations

import json
import math
from typing import Any

from minivess.errors import UsageError

MAX_DEPTH = 16
MAX_CHARACTERS = 1_000_000
#: MONAI evaluates or resolves strings in configurations that begin with these.
_EXPRESSIONS = ("$", "@", "%")
#: These would override the path of the request, or name a file or a process of the server.
_RESERVED = frozenset(
    {"image", "model", "method", "strategy", "studies", "bundle_path", "model_filename", "session", "local_rank"}
)


def read_params(text: str) -> dict[str, Any]:
    """Parse the ``params`` field of a form.

    Raises:
        UsageError: When it is not a JSON object, too large or nested too deeply, or :func:`check_params` refuses it.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"params: {len(text)} characters; allowed {MAX_CHARACTERS}.")
    try:
        content = json.loads(text or "{}", parse_constant=_refuse_constant)
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError):
            raise UsageError(f"params: not JSON, {error.msg} at character {error.pos}.") from error
        raise UsageError(f"params: {error}.") from error  # a number of thousands of digits
    except RecursionError as error:
        raise UsageError(f"params: nested too deeply; allowed {MAX_DEPTH} levels.") from error
    if not isinstance(content, dict):
        raise UsageError(f"params: must be a JSON object. Got {type(content).__name__}.")
    check_params(content)
    return content


def check_params(content: dict[str, Any]) -> None:
    """Refuse parameters that would be evaluated, or override the request.

    Raises:
        UsageError: When there is one; the message names it.
    """
    reserved = sorted(_RESERVED & set(content))
    if reserved:
        raise UsageError(f"params: {reserved[0]!r} is set by the path of the request, not by a parameter. Leave it out.")
    _check(content, "params", 1)


def _check(value: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UsageError(f"params: nested too deeply; allowed {MAX_DEPTH} levels.")
    if isinstance(value, str) and not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"{ascii(path)[1:-1]}: the text is not valid Unicode (a lone surrogate). Got {value[:40]!a}.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise UsageError(f"{path}: the number has more than 64 bits.")
    if isinstance(value, str) and value.lstrip().startswith(_EXPRESSIONS):
        raise UsageError(f"{path}: a value may not begin with $, @ or %. Got {value[:40]!r}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{path}: the number is not finite.")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key, path, depth)
            _check(inner, f"{path}.{key[:40]}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{path}[{index}]", depth + 1)


def _refuse_constant(name: str) -> float:
    raise UsageError(f"params: {name} is not a JSON number.")
