"""JSON responses that are always valid: JSON has no NaN, and UTF-8 no lone surrogates."""

from __future__ import annotations

import math
from typing import Any

from starlette.responses import JSONResponse


class ValidJSONResponse(JSONResponse):
    """A response whose numbers are finite and whose text is Unicode, whatever was stored before such values were refused."""

    def render(self, content: Any) -> bytes:
        """Return the content as JSON: null for a number that is not finite, U+FFFD for a character that is not Unicode."""
        try:
            return super().render(content)
        except ValueError:  # UnicodeEncodeError is one
            return super().render(_valid(content))


def _valid(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_valid(str(key)): _valid(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_valid(inner) for inner in value]
    return value
