"""Images kept on a DICOMweb server: which series are there, fetch one, and put a result beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from minivess.dicom.series import NO_IMAGES
from minivess.errors import InputError, RemoteError
from minivess.paths import atomic_folder

_PAGE = 500  # rows asked for at once
_TIMEOUT_S = (5.0, 120.0)  # to connect; between two packets
_REMOTE_FAULTS = (requests.RequestException, ValueError, KeyError, OSError)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RemoteSeries:
    """A series as a server lists it.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        modality: Modality.
        patient_id: PatientID; for keyed hashes only, never shown or logged.
        instances: How many instances it has; 0 where the server does not say.
    """

    uid: str
    study_uid: str
    modality: str
    patient_id: str
    instances: int


class DicomWeb:
    """A DICOMweb server: QIDO-RS, WADO-RS and STOW-RS under one address."""

    def __init__(self, url: str, *, user: str = "", password: str = "") -> None:
        """Name the server.

        Args:
            url: For example ``http://127.0.0.1:8042/dicom-web``.
            user: User name, where it asks for one.
            password: Their password.

        Raises:
            InputError: When that is no HTTP address.
        """
        parts = urlparse(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise InputError(
                f"{url} is no address of a DICOMweb server. Allowed: http(s)://HOST[:PORT]/PATH, without a password."
            )
        self.url = url.rstrip("/")
        session = requests.Session()
        session.request = _with_timeout(session.request)  # type: ignore[method-assign]
        if user:
            session.auth = (user, password)
        self._client = DICOMwebClient(self.url, session=session)

    def series(self) -> list[RemoteSeries]:
        """List the image series, of every modality that has volumes.

        Raises:
            RemoteError: When the server does not answer, or not as DICOMweb.
        """

        def page(offset: int) -> list[Any]:
            fields = ["PatientID", "Modality", "NumberOfSeriesRelatedInstances", "StudyInstanceUID"]
            return self._client.search_for_series(fields=fields, limit=_PAGE, offset=offset)

        found: dict[str, RemoteSeries] = {}
        rows = self._asked(lambda: page(0))
        while rows:
            new = [series for series in map(_as_series, rows) if series.uid not in found]
            found |= {series.uid: series for series in new}
            offset = len(found)
            rows = self._asked(lambda offset=offset: page(offset)) if new and len(rows) >= _PAGE else []  # type: ignore[misc]
        return [series for series in found.values() if series.modality not in NO_IMAGES]

    def fetch(self, series: RemoteSeries, folder: Path) -> Path:
        """Fetch the instances of a series into a new folder, all of them or none.

        Raises:
            RemoteError: When they cannot be had, or there are fewer than the server says.
        """
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as temporary:
            count = self._asked(lambda: self._save(series, temporary))
            if count < max(1, series.instances):
                raise RemoteError(f"The DICOM server sent {count} of {series.instances} instances. Try again.")
        return folder

    def store(self, file: Path) -> str:
        """Put an instance on the server; the same one again is no fault.

        Returns:
            Its SOPInstanceUID.

        Raises:
            RemoteError: When it is not taken.
        """
        dataset = pydicom.dcmread(file)
        answer = self._asked(lambda: self._client.store_instances([dataset]))
        if answer.get("FailedSOPSequence"):
            raise RemoteError(f"The DICOM server at {self.url} did not take the instance. Its log tells why.")
        return str(dataset.SOPInstanceUID)

    def _save(self, series: RemoteSeries, folder: Path) -> int:
        count = 0
        for dataset in self._client.iter_series(series.study_uid, series.uid):
            dataset.save_as(folder / f"{count:05d}.dcm", enforce_file_format=True)
            count += 1
        return count

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        try:
            return ask()
        except _REMOTE_FAULTS as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            said = f"status {status}" if status else type(error).__name__
            raise RemoteError(
                f"The DICOM server at {self.url} did not answer as it should ({said}). Does it run? Is that its DICOMweb path?"
            ) from error


def _as_series(row: dict[str, Any]) -> RemoteSeries:
    dataset = Dataset.from_json(row)
    return RemoteSeries(
        uid=str(dataset.SeriesInstanceUID),
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        modality=str(dataset.get("Modality", "")),
        patient_id=str(dataset.get("PatientID", "") or ""),
        instances=int(dataset.get("NumberOfSeriesRelatedInstances", 0) or 0),
    )


def _with_timeout(request: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
    """A session has no timeout of its own."""

    def call(*arguments: Any, **keywords: Any) -> requests.Response:
        return request(*arguments, **{"timeout": _TIMEOUT_S, **keywords})

    return call
