"""The listener beside a real Orthanc: studies pushed to it at once, results back there, although Orthanc is restarted in between."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trustme
from conformance.orthanc import Orthanc
from dicom.test_seg import dciodvfy
from dicom.test_series import ORIENTATIONS, volume_of
from pacs.certificates import tls_files
from pacs.test_listener import Listening, wait_for

from minivess.dicom import write_series
from minivess.server.serve import free_port


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    running = Orthanc(tmp_path / "orthanc", dicom_port=free_port())
    running.start()
    yield running
    running.stop()


def push_everything(orthanc: Orthanc, listening: Listening, *, tls: bool = False) -> None:
    """Have Orthanc send all its series to the listener."""
    rest = f"http://127.0.0.1:{orthanc.port}"
    peer = {"AET": "MINIVESS", "Host": "127.0.0.1", "Port": listening.port, "UseDicomTls": tls}
    requests.put(f"{rest}/modalities/minivess", json=peer, timeout=120).raise_for_status()
    series = requests.get(f"{rest}/series", timeout=120).json()
    requests.post(f"{rest}/modalities/minivess/store", json=series, timeout=120).raise_for_status()


@pytest.mark.parametrize("studies", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_studies_that_orthanc_pushes_come_back_segmented(orthanc: Orthanc, bundle: Path, tmp_path: Path, studies: int) -> None:
    sent = [
        orthanc.add(write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), tmp_path / f"s{n}", name=f"p{n}"))
        for n in range(studies)
    ]
    listening = Listening(tmp_path, bundle, orthanc.dicom_port)
    try:
        push_everything(orthanc, listening)
        wait_for(lambda: listening.files("results"), listening)
        orthanc.stop()
        wait_for(lambda: "cannot be reached" in listening.log.read_text(), listening)
        orthanc.start()
        wait_for(lambda: len(listening.files("sent")) == studies, listening, timeout_s=900)
    finally:
        listening.kill()
    segs = orthanc.segs()
    assert sorted(str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID) for seg in segs) == sorted(sent)
    segs[0].save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert dciodvfy(tmp_path / "seg.dcm") == []


def test_orthanc_sends_and_receives_by_tls(bundle: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    ours, theirs = tls_files(authority, tmp_path / "ours"), tls_files(authority, tmp_path / "theirs")
    orthanc = Orthanc(tmp_path / "orthanc", dicom_port=free_port(), tls=theirs)
    options = ["--tls-cert", str(ours.certificate), "--tls-key", str(ours.key), "--tls-ca", str(ours.authority)]
    with contextlib.ExitStack() as running:
        running.callback(orthanc.stop)
        orthanc.start()
        listening = Listening(tmp_path, bundle, orthanc.dicom_port, *options)
        running.callback(listening.kill)
        sent = orthanc.add(write_series(volume_of(ORIENTATIONS["oblique"], (40, 36, 9)), tmp_path / "s", name="x"))
        push_everything(orthanc, listening, tls=True)
        wait_for(lambda: listening.files("sent"), listening)
        (seg,) = orthanc.segs()
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == sent
