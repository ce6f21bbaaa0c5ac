"""The listener as its command: series in by C-STORE, results back; nothing is lost by a kill or an absent PACS."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import trustme
from dicom.enhanced import make_enhanced
from dicom.test_seg import dciodvfy
from dicom.test_series import ORIENTATIONS, volume_of
from geometries import resample_like
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ParametricMapStorage,
    SegmentationStorage,
)
from waiting import wait_until

from minivess.dicom import Series, read_seg, read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.secondary_capture import write_pictures
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.errors import InputError, RemoteError
from minivess.models import load_bundle
from minivess.pacs import Listener, Peer, SeriesSpool, Settings
from minivess.pacs.listener import ATTEMPTS
from minivess.pacs.receive import receive
from minivess.pacs.send import send
from minivess.pacs.tls import calling_context, listening_context
from minivess.server.serve import free_port
from minivess.volume import Volume
from pacs.certificates import tls_files
from pacs.peer import Pacs, send_files


def wait_for(condition: Callable[[], object], listening: Listening, timeout_s: float = 400) -> None:
    def reached() -> bool:
        assert listening.process.poll() is None, listening.log.read_text()
        return bool(condition())

    wait_until(reached, listening.log.read_text, timeout_s)


class Listening:
    """`minivess map listen` as a process."""

    def __init__(self, folder: Path, bundle: Path, pacs_port: int, *options: str) -> None:
        self.spool, self.log = folder / "spool", folder / "listener.log"
        command = [sys.executable, "-m", "minivess", "map", "listen", "--model", bundle, "--any-modality", "--port", "0"]
        command += ["--spool", self.spool, "--send-to", f"PACS@127.0.0.1:{pacs_port}", "--quiet-s", "0.5", *options]
        with self.log.open("w") as log:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_for(lambda: re.search(r"127.0.0.1:(\d+);", self.log.read_text()), self)
        self.port = int(re.search(r"127.0.0.1:(\d+);", self.log.read_text())[1])  # type: ignore[index]

    def files(self, state: str) -> list[Path]:
        return sorted((self.spool / state).iterdir())

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    running = Pacs()
    yield running
    running.stop()


@pytest.fixture
def listening(tmp_path: Path, bundle: Path, pacs: Pacs) -> Iterator[Listening]:
    running = Listening(tmp_path, bundle, pacs.port, "--allow", "PACS")
    yield running
    if running.process.poll() is None:
        running.kill()


def make(folder: Path, name: str = "x") -> Path:
    return write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), folder, name=name)


def test_a_series_is_segmented_and_the_results_are_sent_back(
    listening: Listening, pacs: Pacs, bundle: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "s", "Geheim^Name")
    assert send_files(sorted(folder.iterdir()), listening.port, calling="OTHER") == []
    enhanced = make_enhanced(make(tmp_path / "t", "other"), tmp_path / "enhanced")
    (tmp_path / "gap").mkdir()
    gap = make(tmp_path / "u", "gap")
    (gap / "0004.dcm").unlink()
    for source in (gap, folder, enhanced):
        assert set(send_files(sorted(source.iterdir()), listening.port)) == {0}
    wait_for(lambda: len(pacs.objects) == 6 and listening.files("refused"), listening)

    series = read_series(folder)
    expected = load_bundle(bundle, device="cpu").predict(series.volume).mask
    assert {len(pacs.of(modality)) for modality in ("SEG", "SR", "OT")} == {2}
    (seg,) = (d for d in pacs.of("SEG") if d.StudyInstanceUID == series.datasets[0].StudyInstanceUID)
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dciodvfy(tmp_path / "seg.dcm") == []
    assert np.array_equal(resample_like(read_seg(tmp_path / "seg.dcm"), expected).array, expected.array)

    reason = json.loads((listening.files("refused")[0] / "reason.json").read_text())["reason"]
    assert "distances between slices" in reason
    wait_for(lambda: len(listening.files("sent")) == 2, listening)
    assert listening.files("incoming") == listening.files("running") == listening.files("results") == []
    listening.process.terminate()
    assert listening.process.wait(120) == 0
    log = listening.log.read_text()
    assert "Stopped" in log
    assert "Geheim" not in log


def test_nothing_is_lost_by_kills_and_an_absent_pacs(tmp_path: Path, bundle: Path) -> None:
    port = free_port()
    sources = [make(tmp_path / f"s{n}", f"p{n}") for n in range(2)]
    first = Listening(tmp_path, bundle, port)
    try:
        for source in sources:
            assert set(send_files(sorted(source.iterdir()), first.port)) == {0}
        wait_for(lambda: first.files("running"), first)
    finally:
        first.kill()  # while it segments
    assert sum(len(first.files(state)) for state in ("incoming", "running")) == 2
    second = Listening(tmp_path, bundle, port)
    try:
        wait_for(lambda: len(second.files("results")) == 2, second)
        wait_for(lambda: "cannot be reached" in second.log.read_text(), second)
    finally:
        second.kill()
    pacs = Pacs(port)
    third = Listening(tmp_path, bundle, port)
    try:
        wait_for(lambda: len(third.files("sent")) == 2, third)
    finally:
        third.kill()
        pacs.stop()
    assert {len(pacs.of(modality)) for modality in ("SEG", "SR", "OT")} == {2}


def spool_with(tmp_path: Path, *uids: str, images: int = 3) -> SeriesSpool:
    spool = SeriesSpool(tmp_path / "spool")
    for uid in uids:
        for number in range(images):
            spool.add(uid, f"{uid}.{number}", b"image")
    return spool


def a_result(spool: SeriesSpool, running: Path) -> Path:
    result = spool.new_result(running)
    result.mkdir()
    (result / "result.json").write_text("{}")
    return result


def test_a_series_is_not_complete_while_its_sender_is_connected(tmp_path: Path) -> None:
    spool = spool_with(tmp_path)
    spool.add("1.2.3", "1.2.3.0", b"image", sender="A")
    assert spool.take_complete(0) is None
    spool.end_sender("A")
    assert spool.take_complete(0) == spool.folder / "running" / "1.2.3"


def test_a_series_is_quiet_only_since_the_spool_was_opened(tmp_path: Path) -> None:
    """Who was sending when the listener went down has not had the time to come back."""
    spool = spool_with(tmp_path, "1.2.3")
    os.utime(spool.folder / "incoming" / "1.2.3", (time.time() - 3600,) * 2)
    assert spool.take_complete(600) is None
    spool.close()
    again = SeriesSpool(tmp_path / "spool")
    assert again.take_complete(600) is None
    assert again.take_complete(0)


def test_a_sender_that_stays_connected_and_silent_does_not_hold_its_series_up_for_ever(tmp_path: Path) -> None:
    spool = spool_with(tmp_path)
    spool.add("1.2.3", "1.2.3.0", b"image", sender="A")
    os.utime(spool.folder / "incoming" / "1.2.3", (time.time() - 7200,) * 2)
    spool._started -= 7200
    assert spool.take_complete(1)


def test_a_series_that_was_sent_again_is_not_lost_by_a_kill(tmp_path: Path) -> None:
    """The same images with other pixels, after a result was sent: they were acknowledged."""
    spool = spool_with(tmp_path, "1.2.3")
    running = spool.take_complete(0) or tmp_path
    spool.finish(running, a_result(spool, running))
    spool.mark_sent(spool.results()[0])
    for number in range(3):
        spool.add("1.2.3", f"1.2.3.{number}", b"corrected")
    assert spool.take_complete(0)
    spool.close()
    again = SeriesSpool(tmp_path / "spool")
    assert again.count()["running"] == 1
    assert (again.folder / "running" / "1.2.3" / "1.2.3.0.dcm").read_bytes() == b"corrected"


def test_the_user_of_a_container_reads_the_images_whatever_the_umask_of_the_service(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        running = spool_with(tmp_path, "1.2.3").take_complete(0) or tmp_path
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (running.parent, running)}
    assert modes == {0o755}
    assert {file.stat().st_mode & 0o777 for file in running.glob("*.dcm")} == {0o644}


def test_a_refused_series_that_was_sent_again_and_is_done_is_refused_no_more(tmp_path: Path) -> None:
    spool = spool_with(tmp_path, "1.2.3")
    spool.refuse(spool.take_complete(0) or tmp_path, "half of it")
    for number in range(4):
        spool.add("1.2.3", f"1.2.3.{number}", b"image")
    running = spool.take_complete(0) or tmp_path
    spool.finish(running, a_result(spool, running))
    assert spool.count()["refused"] == 0


def test_images_that_come_after_the_others_were_segmented_are_no_series_of_their_own(tmp_path: Path) -> None:
    spool = spool_with(tmp_path, "1.2.3")
    running = spool.take_complete(0)
    assert running
    assert not spool.comes_late(running)
    spool.finish(running, a_result(spool, running))
    spool.add("1.2.3", "1.2.3.9", b"late")
    late = spool.take_complete(0)
    assert late
    assert spool.comes_late(late)
    spool.refuse(late, "late")
    for result in spool.results():
        spool.mark_sent(result)
    for number in (0, 1, 2, 9):  # all of them, again
        spool.add("1.2.3", f"1.2.3.{number}", b"image")
    whole = spool.take_complete(0)
    assert whole
    assert not spool.comes_late(whole)


def test_refused_images_stay_beside_those_that_are_refused_later(tmp_path: Path) -> None:
    spool = spool_with(tmp_path, "1.2.3")
    spool.refuse(spool.take_complete(0) or tmp_path, "first")
    spool.add("1.2.3", "1.2.3.9", b"late")
    spool.refuse(spool.take_complete(0) or tmp_path, "second")
    assert len(list((spool.folder / "refused" / "1.2.3").glob("*.dcm"))) == 4


@pytest.mark.parametrize(("days", "left"), [("3", ["1.2.3", "1.2.4"]), ("1", ["1.2.4"])])
def test_old_refused_series_are_deleted_and_nothing_else(bundle: Path, tmp_path: Path, days: str, left: list[str]) -> None:
    spool = spool_with(tmp_path, "1.2.2", "1.2.3", "1.2.4", "1.2.5")
    for _ in range(3):
        spool.refuse(spool.take_complete(0) or tmp_path, "tilted")
    for series, age in (("refused/1.2.2/reason.json", 9), ("refused/1.2.3/reason.json", 2), ("incoming/1.2.5", 9)):
        os.utime(spool.folder / series, (time.time() - age * 86400,) * 2)
    spool.close()
    listening = Listening(tmp_path, bundle, 9, "--keep-refused-days", days, "--quiet-s", "1e9")
    try:
        wait_for(lambda: f"1.2.2: refused {days} days ago, its images are deleted" in listening.log.read_text(), listening)
        wait_for(lambda: [folder.name for folder in listening.files("refused")] == left, listening)
        assert [folder.name for folder in listening.files("incoming")] == ["1.2.5"]
    finally:
        listening.kill()


def test_a_series_whose_result_is_queued_is_not_segmented_again_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_with(tmp_path, "1.2.3", "1.2.4")
    running = spool.take_complete(0)
    assert running
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # killed after the result was moved
        patch.setattr(spool, "_delete", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        spool.finish(running, a_result(spool, running))
    assert spool.count() == {"incoming": 1, "running": 1, "results": 1, "sent": 0, "refused": 0}
    spool.close()
    assert SeriesSpool(tmp_path / "spool").count() == {"incoming": 1, "running": 0, "results": 1, "sent": 0, "refused": 0}


def test_foreign_files_in_a_spool_do_no_harm_and_nobody_else_looks_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir(mode=0o755)
    spool = spool_with(tmp_path, "1.2.3")
    for state in ("incoming", "running", "results", "sent", "refused"):
        (folder / state / ".DS_Store").write_text("x")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert spool.take_complete(0) == folder / "running" / "1.2.3"
    assert spool.results() == []


def test_a_pacs_that_takes_no_reports_gets_the_rest_and_a_refusal_holds_nothing_up(bundle: Path, tmp_path: Path) -> None:
    pacs = Pacs(without=(Comprehensive3DSRStorage,))
    pacs.refuses.add("1.2.9")
    listening = Listening(tmp_path, bundle, pacs.port)
    try:
        made = tmp_path / "made"  # whole results, as the listener itself puts them there: it looks at once
        for name in ("1.2.9_1", "1.2.8_1", "1.2.7_1"):  # the second one stays empty
            (made / name).mkdir(parents=True)
        dataset = pydicom.dcmread(next(make(tmp_path / "s").iterdir()))
        dataset.SeriesInstanceUID = "1.2.9"
        dataset.save_as(made / "1.2.9_1" / "a.dcm")
        (made / "1.2.7_1" / "b.dcm").write_text("damaged")
        for result in made.iterdir():
            result.rename(listening.spool / "results" / result.name)
        assert set(send_files(sorted(make(tmp_path / "t").iterdir()), listening.port)) == {0}
        wait_for(lambda: pacs.of("SEG"), listening)
        wait_for(lambda: "does not take objects of the kind Comprehensive 3D SR" in listening.log.read_text(), listening)
        wait_for(lambda: "status 0xA700" in listening.log.read_text(), listening)
        assert {folder.name for folder in listening.files("results")} == {"1.2.9_1", "1.2.7_1"}
    finally:
        listening.kill()
        pacs.stop()


def segmented(tmp_path: Path, bundle: Path) -> tuple[Series, Volume, Derivation]:
    series = read_series(make(tmp_path / "series"))
    mask = series.volume.with_array((series.volume.array > series.volume.array.mean()).astype(np.uint8))
    return series, mask, Derivation.of(mask.array, series, load_bundle(bundle).model, 0.5)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_pacs_that_takes_no_compressed_objects_gets_them_uncompressed(bundle: Path, tmp_path: Path, syntax: UID) -> None:
    """Also one that takes the default transfer syntax alone (PS3.5, section 10.1)."""
    series, mask, derivation = segmented(tmp_path, bundle)
    write_seg(mask, series, load_bundle(bundle).model, tmp_path / "vessels.dcm", threshold=0.5)
    files = [tmp_path / "vessels.dcm", *write_pictures(mask, derivation, tmp_path)]
    assert any(pydicom.dcmread(file).file_meta.TransferSyntaxUID.is_compressed for file in files)
    pacs = Pacs(syntaxes=[syntax])
    try:
        assert send(files, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS") == []
        assert {str(d.file_meta.TransferSyntaxUID) for d in pacs.objects.values()} == {str(syntax)}
        assert set(pacs.objects) == {str(pydicom.dcmread(file).SOPInstanceUID) for file in files}
    finally:
        pacs.stop()


def test_an_object_that_is_refused_for_good_holds_the_others_up_only_where_it_must_arrive(bundle: Path, tmp_path: Path) -> None:
    series, mask, derivation = segmented(tmp_path, bundle)
    write_seg(mask, series, load_bundle(bundle).model, tmp_path / "vessels.dcm", threshold=0.5)
    write_uncertainty_map(mask.with_array(mask.array.astype(np.float32)), derivation, tmp_path / "map.dcm")
    files, pacs = [tmp_path / "vessels.dcm", tmp_path / "map.dcm"], Pacs()
    try:
        pacs.never.add(str(ParametricMapStorage))
        assert send(files, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS") == ["Parametric Map Storage"]
        pacs.never = {str(SegmentationStorage)}
        with pytest.raises(RemoteError, match="did not store 1 of 2 objects, the first: Segmentation Storage, status 0xA900"):
            send(files, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS")
    finally:
        pacs.stop()


def test_a_pacs_that_takes_no_segmentation_loses_none(tmp_path: Path) -> None:
    pacs = Pacs(without=(SegmentationStorage,))
    series = read_series(make(tmp_path / "s"))
    mask = series.volume.with_array((series.volume.array > 2000).astype(np.uint8))
    seg = write_seg(mask, series, None, tmp_path / "seg.dcm")
    values = series.volume.with_array(np.zeros(series.volume.shape, np.float32))
    uncertainty = write_uncertainty_map(values, Derivation.of(mask.array, series, None), tmp_path / "map.dcm")
    image = next((tmp_path / "s").iterdir())
    try:
        with pytest.raises(RemoteError, match="does not take Segmentation Storage"):
            send([seg, uncertainty], Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS")
        assert send([seg, image], Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS") == ["Segmentation Storage"]
    finally:
        pacs.stop()


@pytest.mark.parametrize("said", ["OutputError: no space", "EngineError: There is no container engine"])
def test_an_application_that_fails_is_tried_again_and_the_series_stays(tmp_path: Path, said: str) -> None:
    spool = spool_with(tmp_path, "1.2.3", "1.2.4")
    say = "import sys; sys.stderr.buffer.write(b'\\xff\\xfe\\n' + sys.argv[1].encode()); sys.exit(1)"
    listener = Listener(spool, Settings([sys.executable, "-c", say, said], None, port=0, quiet_s=0))
    thread = threading.Thread(target=listener.run)
    thread.start()
    wait_until(lambda: len(list((spool.folder / "running").iterdir())) == 2)  # the second one goes on beside the first
    listener.request_stop()
    thread.join()
    assert spool.count()["refused"] == 0


def test_a_place_that_is_out_of_order_never_costs_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivess.pacs.listener._FIRST_WAIT_S", 0.0)
    spool, counter = spool_with(tmp_path, "1.2.3"), tmp_path / "tries"
    script = (
        "import pathlib, sys; at = pathlib.Path(sys.argv[1]); tries = int(at.read_text() or 0) if at.exists() else 0; "
        "at.write_text(str(tries + 1)); print('EngineError: down' if tries < 10 else 'WrongError: x', file=sys.stderr); sys.exit(1)"
    )
    listener = Listener(spool, Settings([sys.executable, "-c", script, str(counter)], None, port=0, quiet_s=0))
    thread = threading.Thread(target=listener.run)
    thread.start()
    wait_until(lambda: spool.count()["refused"] == 1)
    listener.request_stop()
    thread.join()
    assert int(counter.read_text()) == 10 + ATTEMPTS


def test_the_rest_of_a_series_whose_beginning_was_refused_is_segmented_with_it(tmp_path: Path) -> None:
    spool = SeriesSpool(tmp_path / "spool")

    def take(*numbers: int) -> Path:
        for number in numbers:
            spool.add("1.2.3", f"1.2.3.{number}", b"image")
        return spool.take_complete(0) or tmp_path

    spool.refuse(take(1), "only one slice")
    rest = take(2, 3)
    spool.complete_from_refused(rest)
    assert len(list(rest.glob("*.dcm"))) == 3
    assert spool.count()["refused"] == 0
    spool.refuse(rest, "one of them is of another patient")
    again = take(1, 2)  # sent again without it
    spool.complete_from_refused(again)
    assert len(list(again.glob("*.dcm"))) == 2


@pytest.mark.parametrize("secured", [False, True])
def test_callers_that_stop_in_the_middle_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secured: bool
) -> None:
    monkeypatch.setattr("minivess.pacs.receive._SILENCE_S", 0.5)
    monkeypatch.setattr("minivess.pacs.receive._MOST_CALLERS", 3)
    ours = tls_files(trustme.CA(), tmp_path / "ours")
    spool = SeriesSpool(tmp_path / "spool")
    tls = listening_context(ours) if secured else None
    server = receive(spool, host="127.0.0.1", port=0, title="MINIVESS", allowed=[], tls=tls)
    port = server.server_address[1]
    files = sorted(make(tmp_path / "s").iterdir())[:1]
    callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    try:
        for caller in callers:
            caller.sendall(b"\x16\x03\x01" if secured else b"\x01\x00\x00")
        wait_until(lambda: send_files(files, port, tls=calling_context(ours) if secured else None) == [0])
        if not secured:
            assert "was turned away: its AE title" not in caplog.text
    finally:
        for caller in callers:
            caller.close()
        server.shutdown()


def test_deflated_images_are_not_taken(tmp_path: Path) -> None:
    spool = SeriesSpool(tmp_path / "spool")
    server = receive(spool, host="127.0.0.1", port=0, title="MINIVESS", allowed=[])
    file = sorted(make(tmp_path / "s").iterdir())[0]
    dataset = pydicom.dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file, enforce_file_format=True)
    try:
        assert send_files([file], server.server_address[1]) == []
    finally:
        server.shutdown()


def test_what_cannot_be_kept_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = SeriesSpool(tmp_path / "spool")
    server = receive(spool, host="127.0.0.1", port=0, title="MINIVESS", allowed=[])
    files = sorted(make(tmp_path / "s").iterdir())[:1]
    try:
        port = server.server_address[1]
        full = shutil.disk_usage(tmp_path)._replace(free=1000)
        with monkeypatch.context() as patch:  # a full disk
            patch.setattr("minivess.pacs.receive.shutil.disk_usage", lambda _: full)
            assert send_files(files, port) == [0xA700]
        assert spool.count()["incoming"] == 0
        assert send_files(files, port) == [0]
        assert send_files(files, port, called="WRONG") == []
        assert "A caller at 127.0.0.1 was turned away: its AE title is not allowed, or it called another one." in caplog.messages
        assert spool.take_complete(100) is None
        assert spool.take_complete(0) is not None
    finally:
        server.shutdown()


def test_one_spool_has_one_listener(tmp_path: Path, bundle: Path) -> None:
    spool = SeriesSpool(tmp_path / "spool")
    command = [sys.executable, "-m", "minivess", "map", "listen", "--model", bundle, "--spool", spool.folder, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "Another listener has the spool" in done.stderr
    spool.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--send-to", "nowhere"], "AET@HOST:PORT"),
        (["--host", "0.0.0.0"], "--allow"),
        (["--model", "missing"], "No such model"),
        ([], "--image"),
        (["--title", "LONGER THAN SIXTEEN"], "1 to 16 ASCII characters"),
        (["--allow", "Ü"], "1 to 16 ASCII characters"),
        (["--memory", "8Gi"], "--image"),
        (["--tls-cert", "our.pem"], "--tls-ca"),
    ],
)
def test_wrong_usage_says_what_is_right(tmp_path: Path, bundle: Path, options: list[str], message: str) -> None:
    given = options if not options or "--model" in options else ["--model", str(bundle), *options]
    command = [sys.executable, "-m", "minivess", "map", "listen", "--spool", tmp_path / "spool", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "none"], "must contain one bundle"),
        (["--image", "none"], "is no MAP"),
        (["--image", "none", "--memory", "8GiBs"], "Not a size of memory"),
    ],
)
def test_an_application_that_cannot_run_is_said_before_a_series_comes(tmp_path: Path, options: list[str], message: str) -> None:
    (tmp_path / "none").mkdir()
    command = [sys.executable, "-m", "minivess", "map", "listen", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "spool").exists()


def test_a_folder_of_others_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "data" / "partial" / "scan1").mkdir(parents=True)
    (tmp_path / "data" / "partial" / "scan1" / "x.dcm").write_text("x")
    mode = (tmp_path / "data").stat().st_mode
    with pytest.raises(InputError, match="no spool of a listener"):
        SeriesSpool(tmp_path / "data")
    assert (tmp_path / "data" / "partial" / "scan1" / "x.dcm").is_file()
    assert (tmp_path / "data").stat().st_mode == mode


def test_a_result_that_cannot_be_filed_is_sent_once_and_holds_no_other_up(
    tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivess.pacs.listener._FIRST_WAIT_S", 0.05)
    spool = spool_with(tmp_path)
    for number in (1, 2):
        file = next(make(tmp_path / f"s{number}", f"x{number}").iterdir())
        (spool.folder / "results" / f"1.2.{number}_1").mkdir()
        shutil.copy(file, spool.folder / "results" / f"1.2.{number}_1" / "a.dcm")
    tries, mark_sent = [], spool.mark_sent

    def fail_twice(result: Path) -> None:
        tries.append(result.name)
        if tries.count("1.2.1_1") <= 2 and result.name == "1.2.1_1":
            raise OSError(errno.ENOSPC, "No space left on device")
        mark_sent(result)

    sent: list[Path] = []
    monkeypatch.setattr(spool, "mark_sent", fail_twice)
    monkeypatch.setattr("minivess.pacs.listener.send", lambda files, *a, **k: (sent.extend(files), send(files, *a, **k))[1])
    listener = Listener(spool, Settings(["false"], Peer("127.0.0.1", pacs.port, "PACS"), port=0, quiet_s=0))
    thread = threading.Thread(target=listener.run)
    thread.start()
    wait_until(lambda: spool.count()["sent"] == 2)
    listener.request_stop()
    thread.join()
    assert len(pacs.of("MR")) == len(sent) == 2, "each image was sent once"
    assert tries.count("1.2.1_1") == 3


def listen_until(condition: Callable[[], object], spool: SeriesSpool, command: Sequence[str], pacs: Pacs) -> None:
    """Run a listener with an application of others, until something holds."""
    listener = Listener(spool, Settings(command, Peer("127.0.0.1", pacs.port, "PACS"), port=0, quiet_s=0))
    thread = threading.Thread(target=listener.run)
    thread.start()
    wait_until(condition)
    listener.request_stop()
    thread.join()


@pytest.mark.parametrize("name", ["a.dcm", "seg/a.dcm", "seg/object"])
def test_a_result_of_an_application_that_writes_no_index_is_sent(tmp_path: Path, pacs: Pacs, name: str) -> None:
    spool = spool_with(tmp_path, "1.2.3")
    image = next(make(tmp_path / "s").iterdir())
    program = f"import os, shutil, sys; os.makedirs(sys.argv[2] + '/seg'); shutil.copy(sys.argv[1], sys.argv[2] + '/{name}')"
    command = [sys.executable, "-c", program, str(image), "{out}"]
    listen_until(lambda: spool.count()["sent"] == 1, spool, command, pacs)
    assert len(pacs.of("MR")) == 1


def test_a_result_without_a_dicom_object_is_no_result(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivess.pacs.listener._FIRST_WAIT_S", 0.01)
    spool = spool_with(tmp_path, "1.2.3")
    program = "import os, sys; os.mkdir(sys.argv[1]); open(sys.argv[1] + '/report.txt', 'w').write('x')"
    command = [sys.executable, "-c", program, "{out}"]
    listen_until(lambda: spool.count()["refused"] == 1, spool, command, pacs)
    assert spool.count()["sent"] == 0
    reasons = [file.read_text() for file in (spool.folder / "refused").rglob("*") if file.is_file() and file.suffix != ".dcm"]
    assert any("no DICOM object" in reason for reason in reasons)
