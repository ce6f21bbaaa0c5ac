"""Patient, study and frame of reference are those of the images in all that is written: dcentvfy compares them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom.test_seg import MODEL
from dicom.test_series import ORIENTATIONS, edit, volume_of
from minivess.dicom import read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.measurements import write_measurements
from minivess.dicom.secondary_capture import write_pictures
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.metrics.morphology import measure_vessels

#: What a hospital's header holds of the patient and the study.
HEADER = {
    "PatientName": "Lastname^Firstname^^Dr",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "076Y",
    "PatientWeight": "61.5",
    "PatientSize": "1.7",
    "IssuerOfPatientID": "HOSPITAL",
    "StudyDate": "20260102",
    "StudyTime": "101112.5",
    "AccessionNumber": "77",
    "StudyID": "5",
    "StudyDescription": "Angiography",
    "ReferringPhysicianName": "Physician^Some",
    "PositionReferenceIndicator": "NA",
}

#: What dcentvfy says of right files: an SR names the AccessionNumber a second time, as that of a request; an empty value of type 2.
NO_FAULT = ("IE <Series> versus <Study>", "OK only If Type 2")


def write_all(folder: Path, out: Path) -> None:
    """Write every object that a MAP can write."""
    series = read_series(folder)
    values = np.random.default_rng(0).uniform(0, np.log(2), series.volume.shape).astype(np.float32)
    mask = series.volume.with_array(np.zeros(values.shape, np.uint8))
    mask.array[tuple(slice(n // 4, n // 2) for n in values.shape[:2])] = 1
    derivation = Derivation.of(mask.array, series, MODEL, 0.5)
    out.mkdir()
    seg = write_seg(mask, series, MODEL, out / "seg.dcm", threshold=0.5)
    write_uncertainty_map(mask.with_array(values), derivation, out / "map.dcm")
    write_measurements(measure_vessels(mask.array, series.volume.spacing_um), seg, derivation, out / "sr.dcm")
    write_pictures(mask, derivation, out)


def dcentvfy(*folders: Path) -> list[str]:
    files = [str(file) for folder in folders for file in sorted(folder.iterdir())]
    done = subprocess.run([Path(sys.executable).with_name("dcentvfy"), *files], capture_output=True, text=True, check=False)
    return [
        line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not any(map(line.__contains__, NO_FAULT))
    ]


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_all_objects_belong_to_the_patient_and_the_study(tmp_path: Path, name: str) -> None:
    folder = write_series(volume_of(ORIENTATIONS[name], (16, 12, 7)), tmp_path / "images", name=name)
    edit(folder, lambda _, dataset: [setattr(dataset, keyword, value) for keyword, value in HEADER.items()])
    write_all(folder, tmp_path / "out")
    assert dcentvfy(folder, tmp_path / "out") == []


def test_a_difference_is_found(tmp_path: Path) -> None:
    folder = write_series(volume_of(ORIENTATIONS["axial"], (16, 12, 7)), tmp_path / "images", name="axial")
    edit(folder, lambda _, dataset: setattr(dataset, "PatientSex", "F"))
    write_all(folder, tmp_path / "out")
    edit(folder, lambda _, dataset: setattr(dataset, "PatientSex", "M"))
    assert any("<PatientSex>" in line for line in dcentvfy(folder, tmp_path / "out"))


@pytest.mark.parametrize("name", ["lidc_idri_0314_ct_48", "vs_seg_001_mr_t1gd_44"])
def test_all_objects_of_a_real_series_belong_to_it(tmp_path: Path, shared_data: Path, name: str) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / f"{name}.zip") as archive:
        archive.extractall(tmp_path / "zip")
    folder = tmp_path / "images"
    folder.mkdir()
    for number, file in enumerate(f for f in (tmp_path / "zip").rglob("*") if f.is_file() and pydicom.misc.is_dicom(f)):
        file.rename(folder / f"{number}.dcm")
    known = dcentvfy(folder)
    write_all(folder, tmp_path / "out")
    left_out = ("AdmittingDiagnosesDescription", "LastMenstrualDate")
    said = [line for line in dcentvfy(folder, tmp_path / "out") if line not in known]
    assert [line for line in said if not any(f"<{keyword}>" in line for keyword in left_out)] == []
