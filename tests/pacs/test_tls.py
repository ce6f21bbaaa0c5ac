"""DICOM over TLS: who has no certificate of the authority neither sends nor receives, and delays nobody."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from dicom.test_series import ORIENTATIONS, volume_of

from minivess.dicom import write_series
from minivess.errors import InputError, RemoteError
from minivess.pacs import Peer, SeriesSpool, TlsFiles
from minivess.pacs.tls import calling_context, listening_context
from minivess.pacs.transfer import receive, send
from pacs.certificates import tls_files
from pacs.peer import Pacs, send_files

#: pynetdicom leaves the socket of a refused connection to Python's garbage collection.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def no_socket_is_left_to_the_next_test() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ours(authority: trustme.CA, tmp_path: Path) -> TlsFiles:
    return tls_files(authority, tmp_path / "ours")


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return sorted(write_series(volume_of(ORIENTATIONS["axial"], (40, 36, 9)), tmp_path / "series", name="x").iterdir())


@pytest.fixture
def received(tmp_path: Path, ours: TlsFiles) -> Iterator[tuple[SeriesSpool, int]]:
    spool = SeriesSpool(tmp_path / "spool")
    server = receive(spool, host="127.0.0.1", port=0, title="MINIVESS", allowed=[], tls=listening_context(ours))
    yield spool, int(server.server_address[1])
    server.shutdown()


def test_images_come_and_results_go_by_tls(received: tuple[SeriesSpool, int], ours: TlsFiles, series: list[Path]) -> None:
    spool, port = received
    assert set(send_files(series, port, tls=calling_context(ours))) == {0}
    assert spool.count()["incoming"] == 1
    pacs = Pacs(tls=listening_context(ours))
    try:
        assert send(series, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS", tls=calling_context(ours)) == []
    finally:
        pacs.stop()
    assert len(pacs.objects) == len(series)


def test_strangers_are_refused(
    received: tuple[SeriesSpool, int], ours: TlsFiles, authority: trustme.CA, series: list[Path], tmp_path: Path
) -> None:
    spool, port = received
    stranger = tls_files(trustme.CA(), tmp_path / "stranger")
    anonymous = ssl.create_default_context(cafile=ours.authority)
    unsigned = calling_context(TlsFiles(stranger.certificate, stranger.key, ours.authority))
    for context in (None, anonymous, unsigned):
        assert send_files(series, port, tls=context) == []
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):  # they say nothing
        assert set(send_files(series, port, tls=calling_context(ours))) == {0}
    assert spool.count()["incoming"] == 1


@pytest.mark.parametrize("other", ["in the clear", "another authority", "another host", "does not trust us"])
def test_results_go_only_to_whom_we_trust(
    ours: TlsFiles, authority: trustme.CA, series: list[Path], tmp_path: Path, other: str
) -> None:
    stranger = tls_files(trustme.CA(), tmp_path / "stranger")
    theirs = {
        "in the clear": None,
        "another authority": listening_context(stranger),
        "another host": listening_context(tls_files(authority, tmp_path / "elsewhere", host="10.0.0.9")),
        "does not trust us": listening_context(TlsFiles(ours.certificate, ours.key, stranger.authority)),
    }[other]
    pacs = Pacs(tls=theirs)
    try:
        with pytest.raises(RemoteError, match=r"trust the other's certificate, which must be of 127\.0\.0\.1"):
            send(series, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS", tls=calling_context(ours))
    finally:
        pacs.stop()
    assert pacs.objects == {}


def test_unusable_files_are_named(ours: TlsFiles, authority: trustme.CA, tmp_path: Path) -> None:
    other = tls_files(authority, tmp_path / "other")
    locked, text, missing = tmp_path / "locked.key", tmp_path / "text.pem", tmp_path / "missing.pem"
    key = serialization.load_pem_private_key(ours.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))
    text.write_text("no certificate")
    for certificate, key_file, authority_file, said in (
        (ours.certificate, other.key, ours.authority, "key values mismatch"),
        (ours.certificate, locked, ours.authority, "the key has a password"),
        (missing, ours.key, ours.authority, "No such file"),
        (text, ours.key, ours.authority, "text.pem"),
        (ours.certificate, ours.key, text, "no certificates of an authority"),
        (ours.certificate, ours.key, missing, "No such file"),
    ):
        for context in (listening_context, calling_context):
            with pytest.raises(InputError, match=said):
                context(TlsFiles(certificate, key_file, authority_file))
