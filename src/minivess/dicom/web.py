"""List, fetch and store DICOM objects on a DICOMweb server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from minivess.dicom.series_files import NO_IMAGES
from minivess.errors import InputError, RemoteError
from minivess.paths import atomic_folder

_PAGE = 500  # rows per request
_TIMEOUT_S = (5.0, 120.0)  # for the connection; between two packets
_FIELDS = ["PatientID", "Modality", "NumberOfSeriesRelatedInstances", "StudyInstanceUID"]
_REMOTE_ERRORS = (requests.RequestException, ValueError, KeyError)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RemoteSeries:
    """A series in the list of a server.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        modality: Modality.
        patient_id: PatientID; used only for keyed hashes, never displayed or logged.
        instances: Number of instances; 0 when the server does not state it.
    """

    uid: str
    study_uid: str
    modality: str
    patient_id: str
    instances: int


class DicomWeb:
    """A DICOMweb server with QIDO-RS, WADO-RS and STOW-RS under one URL."""

    def __init__(self, url: str, *, user: str = "", password: str = "") -> None:
        """Create the client; no request is sent yet.

        Args:
            url: URL of the server, for example ``http://127.0.0.1:8042/dicom-web``.
            user: User name for HTTP Basic authentication; empty without authentication.
            password: Password of the user.

        Raises:
            InputError: When the URL is not an HTTP URL, or contains a user name.
        """
        parts = urlparse(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise InputError(
                "This is not the URL of a DICOMweb server. Allowed: http(s)://HOST[:PORT]/PATH without user name and password. "
                "Set MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD for these."
            )
        self.url = url.rstrip("/")
        session = requests.Session()
        if user:
            session.auth = (user, password)
        self._client = DICOMwebClient(self.url, session=session, timeout=_TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # the default repeats a failed request for half a minute

    def series(self) -> list[RemoteSeries]:
        """Return all image series on the server.

        Raises:
            RemoteError: When the server does not respond, or not according to DICOMweb.
        """
        result: dict[str, RemoteSeries] = {}
        offset, new = 0, True
        while new:  # until a page has nothing new: servers may send fewer rows than requested, or the same rows again
            rows = self._call(partial(self._client.search_for_series, fields=_FIELDS, limit=_PAGE, offset=offset))
            page = {series.uid: series for series in map(_as_series, rows) if series is not None}
            new = not page.keys() <= result.keys()
            result |= page
            offset += len(rows)
        return [series for series in result.values() if series.modality not in NO_IMAGES]

    def count(self, series: RemoteSeries) -> int:
        """Return the number of instances that a series has now.

        Raises:
            RemoteError: When the server does not respond, or the series does not exist.
        """
        request = partial(self._client.search_for_instances, series.study_uid, series.uid, get_remaining=True)
        return len(self._call(request))

    def fetch(self, series: RemoteSeries, folder: Path) -> Path:
        """Download all instances of a series into a folder; all files are written or none.

        Args:
            series: Series to download.
            folder: Folder for the files; its former content is deleted.

        Returns:
            The folder.

        Raises:
            RemoteError: When the download fails, or the series changes during the download.
            OutputError: When the folder cannot be written.
        """
        shutil.rmtree(folder, ignore_errors=True)
        before = self.count(series)
        with atomic_folder(folder) as temporary:
            instances = self._call(partial(self._client.retrieve_series, series.study_uid, series.uid))
            for number, dataset in enumerate(instances):
                dataset.save_as(temporary / f"{number:05d}.dcm", enforce_file_format=True)
            after = self.count(series)
            if not before == len(instances) == after or not instances:
                raise RemoteError(
                    f"The series changed during the download: {before} instances before, {len(instances)} downloaded, {after} "
                    "after it. Wait until it is complete on the server and try again."
                )
        return folder

    def store(self, file: Path) -> str:
        """Store an instance on the server; storing the same instance again is not an error.

        Returns:
            SOPInstanceUID of the instance.

        Raises:
            RemoteError: When the server does not accept the instance.
        """
        dataset = pydicom.dcmread(file)
        response = self._call(lambda: self._client.store_instances([dataset]))
        if response.get("FailedSOPSequence"):
            raise RemoteError(f"The DICOM server at {self.url} did not accept the instance. See the log of that server.")
        return str(dataset.SOPInstanceUID)

    def _call(self, request: Callable[[], _Result]) -> _Result:
        try:
            return request()
        except _REMOTE_ERRORS as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            reason = f"status {status}" if status else type(error).__name__
            raise RemoteError(
                f"The DICOM server at {self.url} did not respond as expected ({reason}). Check that it runs and that the URL has "
                "its DICOMweb path."
            ) from error


def _as_series(row: dict[str, Any]) -> RemoteSeries | None:
    """Return the series of a row; None when a UID, which also becomes a file name, is missing or not valid."""
    try:
        dataset = Dataset.from_json(row)
        uids = str(dataset.get("SeriesInstanceUID", "")), str(dataset.get("StudyInstanceUID", ""))
        if not all(re.fullmatch(r"[0-9][0-9.]{0,63}", uid) and ".." not in uid for uid in uids):
            return None
        return RemoteSeries(
            uid=uids[0],
            study_uid=uids[1],
            modality=str(dataset.get("Modality", "")),
            patient_id=str(dataset.get("PatientID", "") or ""),
            instances=int(dataset.get("NumberOfSeriesRelatedInstances", 0) or 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
