"""Images kept on a DICOMweb server: which series are there, fetch one, and put a result beside it."""

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

from minivess.dicom.series import NO_IMAGES
from minivess.errors import InputError, RemoteError
from minivess.paths import atomic_folder

_PAGE = 500  # rows asked for at once
_TIMEOUT_S = (5.0, 120.0)  # to connect; between two packets
_FIELDS = ["PatientID", "Modality", "NumberOfSeriesRelatedInstances", "StudyInstanceUID"]
_REMOTE_FAULTS = (requests.RequestException, ValueError, KeyError)
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
                "That is no address of a DICOMweb server. Allowed: http(s)://HOST[:PORT]/PATH, without a user and password: "
                "these come from MONAI_LABEL_DICOMWEB_USERNAME and MONAI_LABEL_DICOMWEB_PASSWORD."
            )
        self.url = url.rstrip("/")
        session = requests.Session()
        if user:
            session.auth = (user, password)
        self._client = DICOMwebClient(self.url, session=session, timeout=_TIMEOUT_S)
        self._client.set_http_retry_params(retry=False)  # it would try again after every kind of error, for half a minute

    def series(self) -> list[RemoteSeries]:
        """List the image series, of every modality that has volumes.

        Raises:
            RemoteError: When the server does not answer, or not as DICOMweb.
        """
        found: dict[str, RemoteSeries] = {}
        offset, new = 0, True
        while new:  # until a page brings nothing new: servers send fewer rows than asked for, or the same ones again
            rows = self._asked(partial(self._client.search_for_series, fields=_FIELDS, limit=_PAGE, offset=offset))
            page = {series.uid: series for series in map(_as_series, rows) if series is not None}
            new = not page.keys() <= found.keys()
            found |= page
            offset += len(rows)
        return [series for series in found.values() if series.modality not in NO_IMAGES]

    def count(self, series: RemoteSeries) -> int:
        """Ask how many instances a series has now.

        Raises:
            RemoteError: When the server does not answer, or does not know the series.
        """
        ask = partial(self._client.search_for_instances, series.study_uid, series.uid, get_remaining=True)
        return len(self._asked(ask))

    def fetch(self, series: RemoteSeries, folder: Path) -> Path:
        """Fetch the instances of a series into a new folder, all of them or none.

        Raises:
            RemoteError: When they cannot be had, or the series changes meanwhile.
        """
        shutil.rmtree(folder, ignore_errors=True)
        before = self.count(series)
        with atomic_folder(folder) as temporary:
            instances = self._asked(partial(self._client.retrieve_series, series.study_uid, series.uid))
            for number, dataset in enumerate(instances):
                dataset.save_as(temporary / f"{number:05d}.dcm", enforce_file_format=True)
            after = self.count(series)
            if not before == len(instances) == after or not instances:
                raise RemoteError(
                    f"The series changes while it is fetched: {before} instances, {len(instances)} came, {after} now. "
                    "Is it still being sent? Try again."
                )
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

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        try:
            return ask()
        except _REMOTE_FAULTS as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            said = f"status {status}" if status else type(error).__name__
            raise RemoteError(
                f"The DICOM server at {self.url} did not answer as it should ({said}). Does it run? Is that its DICOMweb path?"
            ) from error


def _as_series(row: dict[str, Any]) -> RemoteSeries | None:
    """Read a row; one without UIDs, which also become names of files here, is left out."""
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
