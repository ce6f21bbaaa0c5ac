"""Studies on a real DICOM server: listed, fetched, segmented, and the accepted label is there as SEG, voxel by voxel."""

from __future__ import annotations

import json
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from conformance.orthanc import Orthanc
from dicom.test_seg import MODEL, dciodvfy
from dicom.test_series import ORIENTATIONS, edit, volume_of
from dicomweb_client.api import DICOMwebClient
from fastapi import HTTPException
from geometries import resample_like
from review.example import make_region
from scipy.spatial import cKDTree
from viewers.readers import bundle_ohif_reader, by_ohif, image_points

from minivess.dicom import read_seg, read_series, write_seg, write_series
from minivess.dicom.web import DicomWeb
from minivess.models import weights_path
from minivess.review.mask_codec import pack_mask
from minivess.server import LabelServer, prepare_server
from minivess.server.serve import free_port
from minivess.store import LabelStore
from minivess.train import copy_bundle, publish
from minivess.volume import Box, Volume, read_volume, write_volume


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    running = Orthanc(tmp_path / "orthanc")
    running.start()
    yield running
    running.stop()


class Site:
    """A label server whose studies are on Orthanc."""

    def __init__(self, server: LabelServer) -> None:
        self.server = server

    def ask(self, method: str, path: str, **keywords: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.server.launch.token}"}
        return requests.request(method, f"{self.server.url}{path}", headers=headers, timeout=200, **keywords)

    def image(self, uid: str, folder: Path) -> Volume:
        answer = self.ask("GET", "/datastore/image", params={"image": uid})
        assert answer.status_code == 200, answer.text
        (folder / "got.nii.gz").write_bytes(answer.content)
        return read_volume(folder / "got.nii.gz")

    def submit(self, uid: str, mask: Volume, folder: Path) -> dict:
        file = write_volume(mask, folder / "mask.nrrd")
        with file.open("rb") as stream:
            answer = self.ask("PUT", "/datastore/label", params={"image": uid}, files={"label": ("mask.nrrd", stream)})
        assert answer.status_code == 200, answer.text
        return answer.json()["minivess"]


def serve(orthanc: Orthanc, folder: Path, bundle: Path) -> LabelServer:
    publish(weights_path(bundle), copy_bundle(bundle, folder / "model" / "segresnet"))
    launch = prepare_server(orthanc.url, workspace=folder, port=free_port(), conf={"preset": "tiny", "skip_scoring": "true"})
    return LabelServer(launch, log=folder / "server.log")


def a_mask(image: Volume) -> Volume:
    return image.with_array((image.array > np.percentile(image.array, 80)).astype(np.uint8))


def on_series(seg: pydicom.Dataset, source: Path, folder: Path) -> np.ndarray:
    path = folder / f"{seg.SOPInstanceUID}.dcm"
    seg.save_as(path, enforce_file_format=True)
    assert dciodvfy(path) == []
    return resample_like(read_seg(path), read_series(source).volume).array


def test_list_fetch_infer_and_the_accepted_label_comes_back_as_seg(orthanc: Orthanc, bundle: Path, tmp_path: Path) -> None:
    sources = {}
    for name in ("oblique", "sagittal"):
        folder = write_series(volume_of(ORIENTATIONS[name], (40, 36, 9)), tmp_path / name, name=name, patient_id="SECRET-1")
        sources[orthanc.add(folder)] = folder
    first, second = sources
    with serve(orthanc, tmp_path / "work", bundle) as server:
        site = Site(server)
        listed = site.ask("GET", "/datastore/", params={"output": "all"})
        assert set(listed.json()["objects"]) == set(sources)
        subjects = {row["image"]["info"]["subject"] for row in listed.json()["objects"].values()}
        assert len(subjects) == 1  # one patient, so never in training and test at once
        assert "SECRET" not in listed.text
        assert not list((tmp_path / "work" / "studies").glob("*.nii.gz"))  # nothing is fetched before somebody needs it
        assert site.ask("POST", "/activelearning/random", json={}).json()["id"] in sources

        image = site.image(first, tmp_path)
        assert image.same_grid(read_series(sources[first]).volume)
        np.testing.assert_array_equal(image.array, read_series(sources[first]).volume.array)

        inferred = site.ask("POST", "/infer/segresnet", params={"image": second, "output": "image"})
        assert inferred.status_code == 200, inferred.text
        as_seg = site.ask("POST", "/infer/segresnet", params={"image": second, "output": "dicom_seg"})
        assert as_seg.headers["content-type"] == "application/dicom"
        (tmp_path / "answer.dcm").write_bytes(as_seg.content)
        assert dciodvfy(tmp_path / "answer.dcm") == []

        mask = a_mask(image)
        told = site.submit(first, mask, tmp_path)
        [seg] = orthanc.segs()
        assert told["dicom_seg"] == {"revision": told["revision"], "SOPInstanceUID": str(seg.SOPInstanceUID)}
        assert (str(seg.PatientID), seg.SegmentSequence[0].SegmentAlgorithmType) == ("SECRET-1", "MANUAL")
        np.testing.assert_array_equal(on_series(seg, sources[first], tmp_path), mask.array)

        orthanc.stop()  # the label is kept, and sent when the server is there again
        other = a_mask(site.image(second, tmp_path))
        assert "saved here; it is sent" in site.submit(second, other, tmp_path)["dicom_seg"]
        orthanc.start()
        changed = mask.with_array(np.roll(mask.array, 1, axis=0))
        assert "SOPInstanceUID" in site.submit(first, changed, tmp_path)["dicom_seg"]
        segs = {str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID): seg for seg in orthanc.segs()}
        assert len(orthanc.segs()) == 3
        np.testing.assert_array_equal(on_series(segs[second], sources[second], tmp_path), other.array)
        log = server.log.read_text()
        assert log.count("did not respond as expected") == 1
        assert "SECRET" not in log + json.dumps(list(site.server.launch.command))


def test_a_series_that_is_no_volume_is_refused_with_the_numbers_and_not_offered_again(
    orthanc: Orthanc, bundle: Path, tmp_path: Path
) -> None:
    folder = write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 6)), tmp_path / "gap", name="gap")

    def shift(index: int, dataset: pydicom.Dataset) -> None:
        if index == 3:
            dataset.ImagePositionPatient = [float(v) + 0.4 for v in dataset.ImagePositionPatient]

    edit(folder, shift)
    uid = orthanc.add(folder)
    with serve(orthanc, tmp_path / "work", bundle) as server:
        site = Site(server)
        answer = site.ask("POST", "/infer/segresnet", params={"image": uid, "output": "json"})
        assert answer.status_code == 422
        assert "mm" in answer.json()["detail"]
        assert site.ask("POST", "/activelearning/random", json={}).json() == {}


def test_without_its_dicom_server_the_label_server_starts_and_says_so(bundle: Path, tmp_path: Path) -> None:
    nobody = type("Nobody", (), {"url": f"http://127.0.0.1:{free_port()}/dicom-web"})()
    with serve(nobody, tmp_path / "work", bundle) as server:
        assert Site(server).ask("GET", "/datastore/").json()["total"] == 0
    assert "did not respond as expected" in (tmp_path / "work" / "server.log").read_text()


def datastore_of(url: str, folder: Path) -> Any:
    from minivess.label_app.dicomweb_datastore import DicomWebDatastore

    folder.mkdir()
    return DicomWebDatastore(LabelStore(folder, labels={"vessel": 1}), DicomWeb(url))


def test_a_series_that_grows_is_fetched_again_unless_it_has_a_label(orthanc: Orthanc, tmp_path: Path) -> None:
    folder = write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 9)), tmp_path / "s", name="grows")
    uid = orthanc.add(folder, slice(0, 6))
    store = datastore_of(orthanc.url, tmp_path / "work")
    assert read_volume(Path(store.get_image_uri(uid))).shape == (24, 20, 6)
    orthanc.add(folder, slice(7, None))  # one is still missing
    store.sync.update_list()
    assert not store.is_local(uid)
    with pytest.raises(HTTPException, match="GeometryError"):
        store.get_image_uri(uid)
    assert store.get_unlabeled_images() == []
    orthanc.add(folder, slice(6, 7))
    store.sync.update_list()
    assert store.get_unlabeled_images() == [uid]
    image = read_volume(Path(store.get_image_uri(uid)))
    assert image.shape == (24, 20, 9)
    store.save_label(uid, str(write_volume(a_mask(image), tmp_path / "m.nii.gz")), "final", {})
    store.sync.send_labels()
    assert len(orthanc.segs()) == 1
    store.sync.send_labels()
    assert len(orthanc.segs()) == 1  # once
    more = write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 10)), tmp_path / "t", name="grows")
    orthanc.add(more, slice(9, None))
    store.sync.update_list()
    assert store.is_local(uid)  # the label keeps the image that it was made on
    assert store.get_image_info(uid)["changed"] is True


def test_a_series_that_changes_keeps_the_image_of_its_answers(orthanc: Orthanc, tmp_path: Path) -> None:
    folder = write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 9)), tmp_path / "s", name="answered")
    uid = orthanc.add(folder, slice(0, 6))
    store = datastore_of(orthanc.url, tmp_path / "work")
    store.get_image_uri(uid)
    number = store.store.queue.propose(uid, [make_region(Box(2, 6, 2, 6, 1, 3))], model="one", actor="server")
    store.store.queue.answer(f"{uid}:{number}.0", "accepted", actor="ann", mask=pack_mask(np.ones((4, 4, 2), bool)))
    orthanc.add(folder, slice(6, None))
    store.sync.update_list()
    assert store.is_local(uid)
    assert read_volume(Path(store.get_image_uri(uid))).shape == (24, 20, 6)
    assert store.get_image_info(uid)["changed"] is True


def test_a_dicom_server_that_is_silent_keeps_nobody_waiting(orthanc: Orthanc, tmp_path: Path) -> None:
    uid = orthanc.add(write_series(volume_of(ORIENTATIONS["oblique"], (24, 20, 9)), tmp_path / "s", name="silent"))
    store = datastore_of(orthanc.url, tmp_path / "work")
    image = read_volume(Path(store.get_image_uri(uid)))
    orthanc.stop()
    with socket.create_server(("127.0.0.1", orthanc.port)):  # takes connections, says nothing
        store.start()
        begun = time.monotonic()
        store.save_label(uid, str(write_volume(a_mask(image), tmp_path / "m.nii.gz")), "final", {})
        assert time.monotonic() - begun < 20
        assert store.store.head(uid) is not None
        assert "saved here; it is sent" in store.remarks(store.store.head(uid))["dicom_seg"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lidc_idri_0314_ct_48", "vs_seg_001_mr_t1gd_44"])
def test_the_round_trip_with_real_series(orthanc: Orthanc, bundle: Path, shared_data: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / f"{name}.zip") as archive:
        archive.extractall(tmp_path / "real")
    uid = orthanc.add(tmp_path / "real")
    with serve(orthanc, tmp_path / "work", bundle) as server:
        site = Site(server)
        mask = a_mask(site.image(uid, tmp_path))
        assert "SOPInstanceUID" in site.submit(uid, mask, tmp_path)["dicom_seg"]
    [seg] = orthanc.segs()
    np.testing.assert_array_equal(on_series(seg, tmp_path / "real", tmp_path), mask.array)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_ohif_draws_what_the_pacs_returns(orthanc: Orthanc, tmp_path: Path, kind: str) -> None:
    """OHIF's way: the headers of the images as JSON, the SEG as a file, both by WADO-RS."""
    folder = write_series(volume_of(ORIENTATIONS["oblique"], (16, 12, 7)), tmp_path / "sent", name="oblique")
    edit(
        folder,
        lambda _, dataset: [setattr(dataset, "SpecificCharacterSet", "ISO_IR 144"), setattr(dataset, "PatientName", "Лев")],
    )
    series = read_series(folder)
    mask = np.random.default_rng(0).random(series.volume.shape) < 0.1
    seg = write_seg(
        series.volume.with_array(mask.astype(np.uint8)), series, MODEL, tmp_path / "seg.dcm", threshold=0.5, kind=kind
    )
    orthanc.add(folder)
    DicomWeb(orthanc.url).store(seg)
    client, (returned,) = DICOMwebClient(orthanc.url), orthanc.segs()
    returned.save_as(tmp_path / "returned.dcm", enforce_file_format=True)
    (tmp_path / "images").mkdir()
    study, uid = str(series.datasets[0].StudyInstanceUID), series.uid
    for number, row in enumerate(client.retrieve_series_metadata(study, uid)):
        header = pydicom.Dataset.from_json({tag: value for tag, value in row.items() if "BulkDataURI" not in value})
        header.file_meta = series.datasets[0].file_meta
        header.save_as(tmp_path / "images" / f"{number}.dcm", enforce_file_format=True)
    seen = by_ohif(tmp_path / "images", tmp_path / "returned.dcm", bundle_ohif_reader(tmp_path / "read_seg.cjs"))
    truth = np.concatenate([image_points(i, np.argwhere(mask[..., z].T)) for z, i in enumerate(series.in_volume_order())])
    assert len(seen) == len(truth)
    distance, nearest = cKDTree(seen).query(truth)
    assert distance.max() <= 0.05 * min(series.volume.spacing)
    assert len(np.unique(nearest)) == len(truth)
