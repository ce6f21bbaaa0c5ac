"""What may stand in parameters."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivess.errors import UsageError
from minivess.server.params import read_params


@pytest.mark.row(4, 5, 6)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON.*character 1"),
        ("[1]", "must be a JSON object"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1e999}', "finite"),
        ("[" * 10_000 + "]" * 10_000, "deep"),
        ('{"a":' * 40 + "1" + "}" * 40, "deep"),
        ('{"device": "$__import__(\'os\')"}', "may not begin"),
        ('{"a": [{"b": ["@x"]}]}', r"params.a\[0\].b\[0\]"),
        ('{"a": {"%c": 1}}', "may not begin"),
        ('{"image": "/etc/passwd"}', "set by the path"),
        ('{"model_filename": "../x"}', "set by the path"),
        ("x" * 1_000_001, "allowed 1000000"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_params(text)


@given(
    st.dictionaries(
        st.text("abc_", min_size=1), st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1), st.lists)
    )
)
def test_plain_json_comes_back(content: dict[str, object]) -> None:
    assert read_params(json.dumps(content)) == content


@given(st.text())
def test_no_text_makes_another_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(read_params(text), dict)
