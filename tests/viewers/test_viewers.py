"""What radiologists see: our objects, read by OHIF's reader, 3D Slicer's (dcmqi), highdicom, and pydicom alone."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom.enhanced import make_enhanced
from dicom.test_hospital_series import rounded
from dicom.test_seg import MODEL
from dicom.test_series import ORIENTATIONS, edit, volume_of
from scipy.spatial import cKDTree

from minivess.dicom import read_series, write_seg, write_series
from minivess.dicom.derived import Derivation
from minivess.dicom.measurements import write_measurements
from minivess.dicom.series import Series
from minivess.dicom.uncertainty_map import write_uncertainty_map
from minivess.metrics.morphology import measure_vessels
from viewers.readers import BIN, bundle_ohif_reader, by_dcmqi, by_highdicom, by_ohif, by_pydicom, image_points

#: OHIF's reader (adapters 5.14) refuses the padding byte that PS3.5, 8.1.1 asks for after an odd number of bytes: these frames have none.
SHAPE = (16, 12, 7)
#: Largest distance of a voxel as drawn from where it is, as a share of the shortest edge of a voxel.
APART = 0.05


@pytest.fixture(scope="session")
def ohif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_ohif_reader(tmp_path_factory.mktemp("ohif") / "read_seg.cjs")


def mask_of(series: Series) -> np.ndarray:
    """Every tenth voxel at random, with an empty slice in the middle and one at the end."""
    mask = np.random.default_rng(0).random(series.volume.shape) < 0.1
    mask[..., mask.shape[2] // 2] = mask[..., -1] = False
    return mask


def assert_all_see_the_mask(folder: Path, ohif: Path, tmp_path: Path, kind: Literal["BINARY", "LABELMAP"] = "BINARY") -> None:
    series = read_series(folder)
    mask = mask_of(series)
    seg = write_seg(
        series.volume.with_array(mask.astype(np.uint8)), series, MODEL, tmp_path / "seg.dcm", threshold=0.5, kind=kind
    )
    truth = np.concatenate([image_points(i, np.argwhere(mask[..., z].T)) for z, i in enumerate(series.in_volume_order())])
    for reader in (by_pydicom, by_highdicom, by_dcmqi, lambda *paths: by_ohif(*paths, ohif)):
        seen = reader(folder, seg)
        assert len(seen) == len(truth), reader
        distance, nearest = cKDTree(seen).query(truth)
        assert distance.max() <= APART * min(series.volume.spacing), reader
        assert len(np.unique(nearest)) == len(truth), reader


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_all_viewers_see_a_label_map(tmp_path: Path, ohif: Path, name: str) -> None:
    folder = write_series(
        volume_of(ORIENTATIONS[name], (15, 11, 7)), tmp_path / "s", name=name
    )  # odd: LABELMAP has no such limit
    assert_all_see_the_mask(folder, ohif, tmp_path, "LABELMAP")


def stated(spacing: str) -> Callable[[int, pydicom.Dataset], object]:
    return lambda _, dataset: setattr(dataset, "SpacingBetweenSlices", spacing)


def named(charset: str | list[str], name: str) -> Callable[[int, pydicom.Dataset], None]:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SpecificCharacterSet, dataset.PatientName = charset, name

    return change


@pytest.mark.requirement("R04")
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_all_viewers_see_the_same_voxels(tmp_path: Path, ohif: Path, name: str) -> None:
    assert_all_see_the_mask(write_series(volume_of(ORIENTATIONS[name], SHAPE), tmp_path / "s", name=name), ohif, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        rounded(2),
        rounded(3),
        stated("9"),
        stated("-2.5"),
        named("ISO_IR 144", "Толстой^Лев"),
        named(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        named(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
    ids=["positions of two decimals", "of three", "spacing tag 9 mm", "negative", "Cyrillic", "kanji", "hangul"],
)
def test_all_viewers_see_an_odd_series(tmp_path: Path, ohif: Path, change: Callable[[int, pydicom.Dataset], object]) -> None:
    folder = write_series(volume_of(np.diag([-0.5, -0.5, 0.625]), (16, 12, 12)), tmp_path / "s", name="odd")
    edit(folder, change)
    assert_all_see_the_mask(folder, ohif, tmp_path)


@pytest.mark.parametrize("name", ["oblique", "sagittal"])
@pytest.mark.parametrize("shared", [True, False])
def test_all_viewers_see_an_enhanced_image(tmp_path: Path, ohif: Path, name: str, shared: bool) -> None:
    single = write_series(volume_of(ORIENTATIONS[name], SHAPE), tmp_path / "single", name=name)
    assert_all_see_the_mask(make_enhanced(single, tmp_path / "enhanced", shared=shared), ohif, tmp_path)


@pytest.mark.parametrize("name", ["lidc_idri_0314_ct_48", "vs_seg_001_mr_t1gd_44"])
def test_all_viewers_see_a_real_series(tmp_path: Path, ohif: Path, shared_data: Path, name: str) -> None:
    with zipfile.ZipFile(shared_data / "dicom" / f"{name}.zip") as archive:
        archive.extractall(tmp_path / "zip")
    (tmp_path / "s").mkdir()  # OHIF's reader takes one folder of images
    for number, file in enumerate(f for f in (tmp_path / "zip").rglob("*") if f.is_file() and pydicom.misc.is_dicom(f)):
        file.rename(tmp_path / "s" / f"{number}.dcm")
    assert_all_see_the_mask(tmp_path / "s", ohif, tmp_path)


@pytest.fixture(params=["axial", "oblique", "sagittal"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> Series:
    return read_series(write_series(volume_of(ORIENTATIONS[request.param], SHAPE), tmp_path / "series", name=request.param))


def test_3d_slicer_reads_the_uncertainty_where_it_is(series: Series, tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0, np.log(2), series.volume.shape).astype(np.float32)
    derivation = Derivation.of(values > 0.5, series, MODEL, 0.5)
    path = write_uncertainty_map(series.volume.with_array(values), derivation, tmp_path / "map.dcm")
    command = [BIN / "paramap2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    image = SimpleITK.ReadImage(str(tmp_path / "pmap.nrrd"))
    indices = np.argwhere(np.ones(image.GetSize(), bool))
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    points_ras = (np.array(image.GetOrigin()) + indices @ axes.T) * (-1, -1, 1)
    inverse = np.linalg.inv(series.volume.affine)
    at = np.rint(points_ras @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
    np.testing.assert_allclose(SimpleITK.GetArrayFromImage(image).T[tuple(indices.T)], values[tuple(at.T)], atol=1e-6)


def test_dcmqi_reads_the_measurements(series: Series, tmp_path: Path) -> None:
    mask = mask_of(series).astype(np.uint8)
    derivation = Derivation.of(mask, series, MODEL, 0.5)
    seg = write_seg(series.volume.with_array(mask), series, MODEL, tmp_path / "seg.dcm", threshold=0.5)
    measured = measure_vessels(mask, series.volume.spacing_um)
    path = write_measurements(measured, seg, derivation, tmp_path / "sr.dcm")
    command = [BIN / "tid1500reader", "--inputDICOM", path, "--outputMetadata", tmp_path / "sr.json"]
    subprocess.run(command, check=True, capture_output=True)
    (group,) = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    values = {item["quantity"]["CodeMeaning"]: float(item["value"]) for item in group["measurementItems"]}
    assert values["Volume"] == pytest.approx(measured.volume_mm3, rel=1e-4)
    assert group["segmentationSOPInstanceUID"] == str(pydicom.dcmread(seg).SOPInstanceUID)
