"""Four independent readers of a DICOM SEG. Each returns the vessel voxels as points (n, 3) in mm, LPS, where its viewer draws them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent


def plane_points(rows_columns: NDArray[np.int64], position: Iterable[float], cosines: Iterable[float], spacing: Iterable[float]):
    """Return pixels (row, column) of a plane in the space of the patient (PS3.3, C.7.6.2.1.1)."""
    along_row, down_column = np.reshape([float(v) for v in cosines], (2, 3))
    between_rows, between_columns = (float(v) for v in spacing)
    row, column = rows_columns[:, :1], rows_columns[:, 1:]
    return np.array([float(v) for v in position]) + column * between_columns * along_row + row * between_rows * down_column


def image_points(image: pydicom.Dataset, rows_columns: NDArray[np.int64]) -> NDArray[np.float64]:
    return plane_points(rows_columns, image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing)


def frames_of(image: pydicom.Dataset) -> Iterator[tuple[str, pydicom.Dataset]]:
    """List the image by its UID, or the frames of a multi-frame image as UID/FRAME, with the geometry of their groups."""
    per_frame = image.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        yield str(image.SOPInstanceUID), image
        return
    for number, groups in enumerate(per_frame, 1):
        frame = pydicom.Dataset()
        frame.Rows, frame.Columns = image.Rows, image.Columns
        for sequence in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            frame.update((groups.get(sequence) or image.SharedFunctionalGroupsSequence[0][sequence].value)[0])
        yield f"{image.SOPInstanceUID}/{number}", frame


def by_pydicom(series: Path, seg: Path) -> NDArray[np.float64]:
    """Every frame at its own position, by the attributes alone."""
    dataset = pydicom.dcmread(seg)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    points = [
        plane_points(
            np.argwhere(frame),
            groups.PlanePositionSequence[0].ImagePositionPatient,
            shared.PlaneOrientationSequence[0].ImageOrientationPatient,
            shared.PixelMeasuresSequence[0].PixelSpacing,
        )
        for frame, groups in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True)
    ]
    return np.concatenate(points)


def by_highdicom(series: Path, seg: Path) -> NDArray[np.float64]:
    """As one volume on the grid that the object states."""
    volume = hd.seg.segread(seg).get_volume(combine_segments=True, allow_missing_positions=True, rtol=0.05)
    return volume.map_indices_to_reference(np.argwhere(volume.array))


def by_dcmqi(series: Path, seg: Path) -> NDArray[np.float64]:
    """As 3D Slicer's reader converts it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [BIN / "segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", folder, "--outputType", "nrrd"]
        subprocess.run(command, check=True, capture_output=True)
        image = SimpleITK.ReadImage(str(Path(folder) / "1.nrrd"))
    indices = np.argwhere(SimpleITK.GetArrayFromImage(image))[:, ::-1]
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return np.asarray(np.array(image.GetOrigin()) + indices @ axes.T)


def by_ohif(series: Path, seg: Path, bundled: Path) -> NDArray[np.float64]:
    """As OHIF draws it over the images of the series, whose headers it takes from DICOMweb, in UTF-8."""
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(series.iterdir()):
            image = pydicom.dcmread(file)
            image.decode()
            image.SpecificCharacterSet = "ISO_IR 192"
            image.save_as(Path(folder) / f"{number}.dcm")
        done = subprocess.run([BIN / "node", bundled, folder, seg], check=True, capture_output=True, text=True)
    images = dict(image for file in series.iterdir() for image in frames_of(pydicom.dcmread(file)))
    points = []
    for uid, pixels in json.loads(done.stdout[done.stdout.index("{") :]).items():
        image = images[uid]
        points.append(image_points(image, np.stack(np.divmod(np.array(pixels, int), image.Columns), axis=1)))
    return np.concatenate(points)


def bundle_ohif_reader(out: Path) -> Path:
    """Join OHIF's reader and what it imports in one file that Node runs."""
    esbuild = HERE / "node_modules" / "@esbuild" / "linux-x64" / "bin" / "esbuild"
    options = ["--bundle", "--platform=node", "--format=cjs", "--log-level=error", f"--outfile={out}"]
    subprocess.run([esbuild, HERE / "read_seg.mjs", *options], check=True)
    return out
