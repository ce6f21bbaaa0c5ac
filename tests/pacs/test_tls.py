"""DICOM over TLS: who has no certificate of the authority neither sends nor receives, and delays nobody."""

from __future__ import annotations

import gc
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from dicom.test_series import ORIENTATIONS, volume_of

from minivess.dicom import write_series
from minivess.errors import InputError, RemoteError
from minivess.pacs import Peer, SeriesSpool, TlsFiles
from minivess.pacs.receive import receive
from minivess.pacs.send import send
from minivess.pacs.tls import calling_context, check_certificate, listening_context
from minivess.server.serve import free_port
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
    received: tuple[SeriesSpool, int], ours: TlsFiles, series: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
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
    said = [record.message for record in caplog.records if record.name == "minivess.pacs.tls"]
    for reason in ("unable to get local issuer certificate", "peer did not return a certificate", "wrong version number"):
        assert any("A caller" in line and line.endswith(f"was turned away: TLS, {reason}.") for line in said), said
    assert len(said) == 3, said  # and nothing of those who say nothing


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("in the clear", "TLS: wrong version number"),
        ("another authority", "TLS: .*certificate"),
        ("another host", "TLS: IP address mismatch.*SubjectAltName"),
        ("does not trust us", "TLS: .*unknown ca"),
    ],
)
def test_results_go_only_to_whom_we_trust(
    ours: TlsFiles, authority: trustme.CA, series: list[Path], tmp_path: Path, other: str, why: str
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
        with pytest.raises(RemoteError, match=why):
            send(series, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS", tls=calling_context(ours))
    finally:
        pacs.stop()
    assert pacs.objects == {}


def test_a_pacs_that_turns_us_away_says_so(ours: TlsFiles, series: list[Path]) -> None:
    pacs = Pacs(allowed=["OTHER"])
    try:
        with pytest.raises(RemoteError, match="turns our call away: let MINIVESS send there"):
            send(series, Peer("127.0.0.1", pacs.port, "PACS"), title="MINIVESS")
    finally:
        pacs.stop()
    with pytest.raises(RemoteError, match="cannot be reached: is it running"):
        send(series, Peer("127.0.0.1", free_port(), "PACS"), title="MINIVESS", tls=calling_context(ours))


def test_a_certificate_that_others_would_not_take_is_refused_at_the_start(
    ours: TlsFiles, authority: trustme.CA, tmp_path: Path
) -> None:
    check_certificate(ours)
    expired = tls_files(authority, tmp_path / "expired", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    for files, reason in (
        (expired, "certificate has expired"),
        (TlsFiles(ours.certificate, ours.key, tls_files(trustme.CA(), tmp_path / "other").authority), "local issuer"),
    ):
        with pytest.raises(InputError, match=f"would not be taken by others.*{reason}"):
            check_certificate(files)


def test_unusable_files_are_named(ours: TlsFiles, authority: trustme.CA, tmp_path: Path) -> None:
    other = tls_files(authority, tmp_path / "other")
    locked, text, missing = tmp_path / "locked.key", tmp_path / "text.pem", tmp_path / "missing.pem"
    key = serialization.load_pem_private_key(ours.key.read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"secret")))
    text.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    for files, said in (
        (TlsFiles(ours.certificate, other.key, ours.authority), "other/private.key cannot be used.*key values mismatch"),
        (TlsFiles(ours.certificate, locked, ours.authority), "locked.key cannot be used.*it has a password"),
        (TlsFiles(missing, ours.key, ours.authority), "missing.pem cannot be read: No such file"),
        (TlsFiles(ours.key, ours.certificate, ours.authority), "private.key is not what it should be.*exchanged"),
        (TlsFiles(ours.certificate, ours.key, text), "certificates in .*text.pem cannot be read"),
        (TlsFiles(ours.certificate, ours.key, missing), "missing.pem cannot be read: No such file"),
    ):
        for context in (listening_context, calling_context):
            with pytest.raises(InputError, match=said):
                context(files)
