"""Accounts: reserved names, private files, tokens that expire and are replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minivess.cli.main import app
from minivess.errors import InputError, NotFoundError, StoreError
from minivess.server import Accounts


@pytest.mark.row(125)
@pytest.mark.parametrize("name", ["admin", "Server", "import", "annotator"])
def test_add__refuses_names_of_the_server_itself(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="used by the server itself"):
        Accounts(tmp_path / "accounts.json").add(name, "reader")


@pytest.mark.row(126)
def test_the_file_stays_private(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    for change in (lambda: accounts.add("ann", "reader"), lambda: accounts.add("bob", "reader"), lambda: accounts.remove("bob")):
        change()
        assert accounts.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.row(130)
def test_tokens_expire_and_are_replaced(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    token = accounts.add("ann", "annotator", days=30)
    assert accounts.find_by_token(token) is not None
    rows = json.loads(accounts.path.read_text())
    rows["ann"]["expires"] = "2001-01-01T00:00:00+00:00"
    accounts.path.write_text(json.dumps(rows))
    assert accounts.find_by_token(token) is None
    fresh = accounts.rotate("ann")
    found = accounts.find_by_token(fresh)
    assert found is not None
    assert (found.name, found.role) == ("ann", "annotator")
    assert accounts.find_by_token(token) is None
    with pytest.raises(NotFoundError):
        accounts.rotate("nobody")


@pytest.mark.parametrize("content", ["{", "[]", '{"ann": {}}', '{"ann": 3}'])
def test_a_damaged_file_is_named_without_its_folder(tmp_path: Path, content: str) -> None:
    (tmp_path / "accounts.json").write_text(content)
    if content == "[]":
        assert Accounts(tmp_path / "accounts.json").all() == []
        return
    with pytest.raises(StoreError, match=r"accounts\.json") as raised:
        Accounts(tmp_path / "accounts.json").all()
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_whom_the_server_runs_as(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    accounts = Accounts(tmp_path / "accounts.json")
    accounts.add("ann", "reader")
    accounts.rotate("ann")
    for name in ("accounts.json", "accounts.json.lock"):
        assert (tmp_path / name).stat().st_uid == 1234


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = Accounts(tmp_path / "accounts.json")
    accounts.add("ann", "reader")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(StoreError, match=r"cannot be read: Permission denied\. It must belong to the user"):
        accounts.all()


def test_days_beyond_the_calendar_are_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["user", "add", "ann", "--days", "5000000", "--studies", str(tmp_path)])
    assert done.exit_code == 2
