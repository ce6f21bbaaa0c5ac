"""The server over HTTPS, and what is said when only half of what it needs is there."""

from __future__ import annotations

import datetime
import os
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from store.conftest import image_volume
from waiting import listens, wait_until

from minivess.cli.main import run
from minivess.errors import InputError
from minivess.server import prepare_server
from minivess.server.serve import free_port
from minivess.volume import write_volume


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_the_server_speaks_https_with_a_certificate(tmp_path: Path) -> None:
    write_volume(image_volume(), tmp_path / "studies" / "a.nii.gz")
    files = self_signed(tmp_path)
    port = free_port()
    launch = prepare_server(tmp_path / "studies", workspace=tmp_path / "w", port=port, tls=files)
    assert launch.url.startswith("https://")

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(launch.command, stdout=log, stderr=log, env={**os.environ, **launch.environment})
    try:
        wait_until(lambda: listens(port), (tmp_path / "log").read_text)
        headers = {"Authorization": f"Bearer {launch.token}"}
        answer = requests.get(f"{launch.url}/info/", headers=headers, verify=str(files[0]), timeout=120)
        assert answer.json()["datastore"]["total"] == 1
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{launch.url}/healthz", timeout=120)  # a stranger's certificate is not trusted by itself
    finally:
        process.terminate()
        process.wait(60)  # a TLS connection that was refused is waited for


def test_half_of_it_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "studies").mkdir()
    assert run(["serve", str(tmp_path / "studies"), "--certificate", "x.pem"]) == 2
    assert "HTTPS needs both" in capsys.readouterr().err
    with pytest.raises(InputError, match="both as PEM files"):
        prepare_server(tmp_path / "studies", workspace=tmp_path / "w", port=free_port(), tls=(tmp_path / "a", tmp_path / "b"))
