"""A real Orthanc with its DICOMweb plugin, on loopback, with an empty store of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from waiting import wait_until

from minivess.pacs import TlsFiles
from minivess.server.serve import free_port

_PLUGINS = (Path("/usr/share/orthanc/plugins"), Path("/usr/lib/orthanc"))


class Orthanc:
    """The server as a child process; stopped and started again it keeps what it has."""

    def __init__(self, folder: Path, *, dicom_port: int = 0, tls: TlsFiles | None = None) -> None:
        program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
        plugin = next((file for place in _PLUGINS for file in place.glob("libOrthancDicomWeb.so*")), None)
        if program is None or plugin is None:
            pytest.skip("no Orthanc here: apt-get install orthanc orthanc-dicomweb")
        self.port, self.dicom_port = free_port(), dicom_port
        self.url = f"http://127.0.0.1:{self.port}/dicom-web"
        folder.mkdir(parents=True)
        config = {
            "Name": "test", "HttpPort": self.port, "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomServerEnabled": bool(dicom_port),
            "DicomPort": dicom_port, "DicomAet": "PACS", "DicomCheckCalledAet": True, "DicomAlwaysAllowStore": True,
            "OverwriteInstances": False, "Plugins": [str(plugin)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        if tls is not None:
            config |= {
                "DicomTlsEnabled": True, "DicomTlsCertificate": str(tls.certificate), "DicomTlsPrivateKey": str(tls.key),
                "DicomTlsTrustedCertificates": str(tls.authority), "DicomTlsRemoteCertificateRequired": True,
            }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(config))
        self._command, self._log = [program, str(folder / "orthanc.json")], folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until(lambda: self._answers() or self._process.poll() is not None, self._log.read_text)
        assert self._process.poll() is None, self._log.read_text()[-2000:]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/studies", timeout=60).ok
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)
            self._process = None

    def add(self, folder: Path, which: slice = slice(None)) -> str:
        """Send the files of a series there, or some of them, and give its UID."""
        datasets = [pydicom.dcmread(file) for file in sorted(folder.rglob("*.dcm"))[which]]
        DICOMwebClient(self.url).store_instances(datasets)
        return str(datasets[0].SeriesInstanceUID)

    def segs(self) -> list[pydicom.Dataset]:
        client = DICOMwebClient(self.url)
        found = client.search_for_instances(search_filters={"Modality": "SEG"}, fields=["StudyInstanceUID", "SeriesInstanceUID"])
        keys = [[row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")] for row in found]
        return [client.retrieve_instance(*key) for key in keys]
