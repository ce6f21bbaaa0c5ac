"""`minivess user`, and the address that the server listens on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivess.cli.main import run
from minivess.server import Accounts, accounts_path


def test_accounts_are_made_listed_and_closed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["user", "add", "ann", "--studies", str(tmp_path), "--json"]) == 0
    token = json.loads(capsys.readouterr().out)["token"]
    people = Accounts(accounts_path(tmp_path / ".minivess"))
    person = people.find_by_token(token)
    assert person is not None
    assert (person.name, person.role) == ("ann", "annotator")
    assert run(["user", "list", "--studies", str(tmp_path)]) == 0
    assert token not in capsys.readouterr().out
    for arguments, words in (
        (["add", "ann"], "has an account"),
        (["add", "bob", "--role", "king"], "Allowed: reader"),
        (["remove", "eve"], "no account"),
    ):
        assert run(["user", *arguments, "--studies", str(tmp_path)]) == 1
        assert words in capsys.readouterr().err
    assert run(["user", "remove", "ann", "--studies", str(tmp_path)]) == 0
    assert people.find_by_token(token) is None


@pytest.mark.row(11)
def test_a_network_address_needs_accounts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("monailabel")
    assert run(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "minivess user add" in capsys.readouterr().err
