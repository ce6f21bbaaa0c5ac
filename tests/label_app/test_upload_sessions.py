"""Sessions end when their time is over, also those of a server that was started before, and whatever lies beside them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("monailabel")
from minivess.label_app.upload_sessions import UploadSessions


def upload(sessions: UploadSessions, tmp_path: Path) -> str:
    (tmp_path / "image.nii.gz").write_bytes(b"x")
    session_id, _ = sessions.add_session(str(tmp_path / "image.nii.gz"))
    return str(session_id)


def age(folder: Path, session_id: str, seconds: float) -> None:
    meta = folder / session_id / "meta.info"
    content = json.loads(meta.read_text())
    meta.write_text(json.dumps({**content, "last_access_ts": int(time.time() - seconds)}))


def test_after_a_restart_only_what_is_over_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    before = UploadSessions(str(folder), 3600)
    old, young = (upload(before, tmp_path) for _ in range(2))
    age(folder, old, 4000)
    again = UploadSessions(str(folder), 3600)
    assert bool(again), "MONAI Label asks this before it cleans"
    assert again.remove_expired() == 1
    assert [path.name for path in folder.iterdir()] == [young]
    assert again.get_session(old) is None
    assert again.get_session(young) is not None


def test_what_interrupted_uploads_left_does_not_stop_the_cleaning(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    sessions = UploadSessions(str(folder), 3600)
    for name, seconds in (("a-being-copied", 0), ("b-left", 4000), ("c-damaged", 4000)):
        (folder / name).mkdir(parents=True)
        (folder / name / ("meta.info" if "damaged" in name else "image.nii.gz")).write_text("{")
        os.utime(folder / name, (time.time() - seconds,) * 2)
    last = upload(sessions, tmp_path)
    age(folder, last, 4000)
    assert sessions.remove_expired() == 3
    assert [path.name for path in folder.iterdir()] == ["a-being-copied"]


def test_who_is_refused_does_not_prolong_a_session(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    (tmp_path / "image.nii.gz").write_bytes(b"x")
    session_id, _ = UploadSessions(str(folder), 3600).add_of("ann", tmp_path / "image.nii.gz", 0)
    age(folder, session_id, 1000)
    before = (folder / session_id / "meta.info").read_text()
    again = UploadSessions(str(folder), 3600)
    assert not again.is_open_to(session_id, "bob")
    assert again.is_open_to(session_id, "ann")
    assert (folder / session_id / "meta.info").read_text() == before
