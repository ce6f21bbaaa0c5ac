"""The audit chain: every change of an entry is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.errors import InputError, StoreError
from minivess.store import AuditChain


@pytest.fixture
def chain(tmp_path: Path) -> AuditChain:
    chain = AuditChain(tmp_path / "audit")
    for number in range(12):
        assert chain.append("label.entered", actor="ann", image_id=f"case{number}", details={"number": number}) == number + 1
    return chain


def edit(chain: AuditChain, change: object) -> None:
    lines = chain.path.read_text().splitlines(keepends=True)
    change(lines)  # type: ignore[operator]
    chain.path.write_text("".join(lines))


def test_verify__accepts_an_intact_chain_which_contains_no_image_id(chain: AuditChain) -> None:
    chain.checkpoint()
    verdict = chain.verify()
    assert (verdict.ok, verdict.entries, verdict.checkpoints) == (True, 12, 1)
    assert "case3" not in chain.path.read_text()
    assert len({e["case_hmac"] for e in chain.entries()}) == 12


@pytest.mark.row(50)
@pytest.mark.parametrize(
    ("change", "seq"),
    [
        (lambda lines: lines.__setitem__(4, lines[4].replace('"ann"', '"eve"')), 5),
        (lambda lines: lines.pop(6), 7),
        (lambda lines: lines.insert(2, lines[9]), 3),
        (lambda lines: lines.__setitem__(slice(7, 9), [lines[8], lines[7]]), 8),
        (lambda lines: lines.__setitem__(3, "rubbish\n"), 4),
    ],
)
def test_verify__returns_the_first_bad_entry(chain: AuditChain, change: object, seq: int) -> None:
    edit(chain, change)
    verdict = chain.verify()
    assert not verdict.ok
    assert verdict.first_bad_seq == seq


@pytest.mark.requirement("R10")
@pytest.mark.row(50)
def test_verify__finds_a_cut_end_and_a_rewritten_chain_by_the_signed_checkpoint(chain: AuditChain, tmp_path: Path) -> None:
    chain.checkpoint()
    copy, key = shutil.copy(chain.checkpoints, tmp_path / "copy.jsonl"), shutil.copy(chain.public_key, tmp_path / "copy.pem")
    edit(chain, lambda lines: lines.__delitem__(slice(9, None)))
    verdict = chain.verify(checkpoints=copy, public_key=key)
    assert (verdict.ok, verdict.first_bad_seq) == (False, 10)
    assert "cut off" in verdict.reason
    shutil.rmtree(chain.folder)
    forged = AuditChain(chain.folder)
    for _ in range(12):
        forged.append("label.entered", actor="eve")
    forged.checkpoint()
    assert forged.verify().ok  # whoever has the key beside it can make a chain that agrees with itself
    assert "rewritten" in forged.verify(checkpoints=copy, public_key=key).reason
    assert "not signed" in forged.verify(public_key=key).reason


@pytest.mark.requirement("R10")
@pytest.mark.row(50)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_verify__finds_any_changed_byte(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    chain = AuditChain(tmp_path_factory.mktemp("audit"))
    for number in range(3):
        chain.append("label.entered", actor="ann", details={"number": number})
    content = bytearray(chain.path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))  # not the last line break: see test_append__removes_an_unfinished_line
    content[at] = data.draw(st.integers(0, 255).filter(lambda b: b != content[at]))
    chain.path.write_bytes(bytes(content))
    assert not chain.verify().ok


def test_append__removes_an_unfinished_line_which_was_never_acknowledged(chain: AuditChain) -> None:
    with chain.path.open("a") as stream:
        stream.write('{"seq": 13, "time')
    assert chain.append("label.entered", actor="bob") == 13
    assert chain.verify().entries == 13


def test_append__signs_the_head_every_100_entries(tmp_path: Path) -> None:
    chain = AuditChain(tmp_path)
    for _ in range(205):
        chain.append("label.entered", actor="ann")
    assert [json.loads(line)["seq"] for line in chain.checkpoints.read_text().splitlines()] == [100, 200]
    assert chain.verify().checkpoints == 2
    assert chain.folder.joinpath("signing_key.pem").stat().st_mode & 0o777 == 0o600


def test_append__that_cannot_be_written_leaves_the_chain_unchanged(chain: AuditChain, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    before = chain.path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left.*refused"):
        chain.append("label.entered", actor="ann")
    assert chain.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_audit_chain__with_a_damaged_signing_key_is_refused(chain: AuditChain, content: bytes) -> None:
    (chain.folder / "signing_key.pem").write_bytes(content)
    with pytest.raises(StoreError, match="not an Ed25519 key"):
        AuditChain(chain.folder)


def test_an_unfinished_checkpoint_of_a_power_loss_is_no_manipulation(chain: AuditChain) -> None:
    chain.checkpoint()
    with chain.checkpoints.open("a") as stream:
        stream.write('{"hash":"abc')
    assert chain.verify().ok
    chain.checkpoint()
    verdict = chain.verify()
    assert (verdict.ok, verdict.checkpoints) == (True, 2)


def test_a_copy_of_the_checkpoints_without_its_last_line_break_counts(chain: AuditChain, tmp_path: Path) -> None:
    chain.checkpoint()
    copy = tmp_path / "copy.jsonl"
    copy.write_text(chain.checkpoints.read_text().rstrip("\n"))
    chain.path.write_text("".join(chain.path.read_text().splitlines(keepends=True)[:5]))
    assert "its end was cut off" in chain.verify(checkpoints=copy).reason
    copy.write_text("")
    with pytest.raises(InputError, match="holds no checkpoint"):
        chain.verify(checkpoints=copy)


def test_a_whole_checkpoint_without_its_line_break_stays(chain: AuditChain) -> None:
    chain.checkpoint()
    chain.checkpoints.write_text(chain.checkpoints.read_text().rstrip("\n"))
    chain.append("label.entered", actor="ann", image_id="x", details={})
    chain.checkpoint()
    verdict = chain.verify()
    assert (verdict.ok, verdict.checkpoints) == (True, 2)


def test_verify__beside_a_writer_that_signs_meanwhile(chain: AuditChain, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = chain._lines

    def sign_after_the_chain_was_read() -> object:
        yield from lines()
        chain.append("label.entered", actor="bob", image_id="x", details={})
        chain.checkpoint()

    monkeypatch.setattr(chain, "_lines", sign_after_the_chain_was_read)
    assert chain.verify().ok
