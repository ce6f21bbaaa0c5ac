"""What is refused before the server starts, and the commands that are named."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minivess.cli.main import app
from minivess.errors import ConflictError, InputError, UsageError
from minivess.server import prepare_server
from minivess.server.serve import free_port
from minivess.server.start_checks import remark_on_left_out, remark_on_stacks
from minivess.server_lock import lock_for_server


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "my studies"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_the_command_that_adds_an_account_adds_it_for_this_server(studies: Path, tmp_path: Path, inside: bool) -> None:
    workspace = studies / ".minivess" if inside else tmp_path / "work"
    with pytest.raises(UsageError, match="there is no account") as refused:
        prepare_server(studies, workspace=workspace, host="0.0.0.0", port=free_port())
    words = shlex.split(str(refused.value).partition("Add an account first: ")[2])
    assert words[:2] == ["minivess", "user"]
    done = CliRunner().invoke(app, ["ann" if word == "NAME" else word for word in words[1:]])
    assert done.exit_code == 0, done.output
    prepare_server(studies, workspace=workspace, host="0.0.0.0", port=free_port())


def test_a_workspace_with_an_app_of_others_is_refused(studies: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "app").mkdir(parents=True)
    (tmp_path / "project" / "app" / "main.py").write_text("print('mine')")
    with pytest.raises(InputError, match="belongs to another program"):
        prepare_server(studies, workspace=tmp_path / "project", port=free_port())
    assert (tmp_path / "project" / "app" / "main.py").read_text() == "print('mine')"
    for _ in range(2):  # ours may be there
        prepare_server(studies, workspace=tmp_path / "work", port=free_port())


def test_ipv6_is_an_address_and_an_unknown_name_is_named(studies: Path, tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert prepare_server(studies, workspace=tmp_path / "w", host="::1", port=free_port()).url.startswith("http://[::1]:")
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        with pytest.raises(InputError, match="is in use"):
            prepare_server(studies, workspace=tmp_path / "w", host="::1", port=other.getsockname()[1])
    CliRunner().invoke(app, ["user", "add", "ann", "--workspace", str(tmp_path / "w")])
    with pytest.raises(InputError, match=r"--host no-such-host\.invalid"):
        prepare_server(studies, workspace=tmp_path / "w", host="no-such-host.invalid", port=free_port())


def test_tiff_stacks_beside_other_images_are_named(studies: Path) -> None:
    assert remark_on_stacks(studies) == ""
    for name in ("a.nii.gz", "b.TIF", "c.tiff"):
        (studies / name).write_bytes(b"x")
    assert "2 TIFF stacks" in remark_on_stacks(studies)
    assert f"minivess data convert {shlex.quote(str(studies / 'b.TIF'))} studies/b.nii.gz" in remark_on_stacks(studies)


def test_a_second_server_is_refused_before_it_says_where_it_is(studies: Path, tmp_path: Path) -> None:
    prepare_server(studies, workspace=tmp_path / "w", port=free_port())
    (tmp_path / "w" / "model").mkdir()
    first = lock_for_server(tmp_path / "w" / "model")
    done = CliRunner().invoke(app, ["serve", str(studies), "--workspace", str(tmp_path / "w"), "--port", str(free_port())])
    assert isinstance(done.exception, ConflictError)
    assert "Another label server uses" in str(done.exception)
    assert "Starting" not in done.output
    first.release()
    prepare_server(studies, workspace=tmp_path / "w", port=free_port())


def test_a_workspace_among_the_images_is_refused_unless_it_is_hidden(studies: Path) -> None:
    with pytest.raises(InputError, match="lies among the images"):
        prepare_server(studies, workspace=studies / "work", port=free_port())
    prepare_server(studies, workspace=studies / ".hidden" / "work", port=free_port())


def test_a_certificate_that_is_none_is_said_before_the_server_starts(studies: Path, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    with pytest.raises(InputError, match="are no certificate with its private key"):
        prepare_server(studies, workspace=tmp_path / "w", port=free_port(), tls=(tmp_path / "cert.pem", tmp_path / "key.pem"))


def test_two_files_of_one_name_are_said_before_the_start(studies: Path, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "c.nii.gz"):
        (studies / name).write_bytes(b"x")
    assert remark_on_left_out(studies, tmp_path / "w") == ""
    (studies / "a.nrrd").write_bytes(b"x")
    said = remark_on_left_out(studies, tmp_path / "w")
    assert said.startswith("Not served: a.nii.gz: a.nrrd beside it has the same name")
    assert said.endswith("and 1 more.")


def test_a_name_that_cannot_be_printed_does_not_stop_the_start(studies: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(studies) + b"/st\xe4ck.nrrd")).write_bytes(b"x")
    said = remark_on_left_out(studies, tmp_path / "w")
    assert said.encode().startswith(rb"Not served: st\xe4ck.nrrd: the name of the file or of a folder is not valid UTF-8")
