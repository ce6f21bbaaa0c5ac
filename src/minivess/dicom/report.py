"""Write the JSON report of a MAP, next to its SEG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import minivess
from minivess.dicom.series import Series
from minivess.dicom.series_checks import DICOM_MODALITIES
from minivess.dicom.source_header import modality_of, shown
from minivess.metrics.morphology import Morphology
from minivess.models import Prediction
from minivess.paths import file_sha256, write_json


def write_report(
    path: Path,
    series: Series,
    prediction: Prediction,
    *,
    files: Sequence[Path],
    measured: Morphology,
    modality: str,
    quality: Mapping[str, Any] | None = None,
) -> None:
    """Write the result, the model and the source series as JSON, without patient data.

    Args:
        path: JSON file to write.
        series: Segmented series.
        prediction: Result of the segmentation, on the grid of the series.
        files: The files of the result; names and hashes are written. The first is the SEG.
        measured: Measurements of the mask.
        modality: Modality that the model was trained for; a note is added when the series has another one.
        quality: Expected quality of the prediction, as JSON; None where it was not fitted for the model.

    Raises:
        OutputError: When the file cannot be written.
    """
    voxels = int(prediction.mask.array.sum())
    notes = list(series.notes)
    kind = shown(modality_of(series.datasets))
    if kind not in DICOM_MODALITIES.get(modality, ()):
        notes.append(f"the model was trained for {modality}, the series is {kind or 'of unknown modality'}: check the result")
    content: dict[str, Any] = {
        "status": "done",
        "finding": voxels > 0,
        "vessel_voxels": voxels,
        "vessel_volume_mm3": measured.volume_mm3,
        "measurements": measured.to_json(),
        "vessel_share_percent": 100.0 * voxels / prediction.mask.array.size,
        "mean_uncertainty_nats": float(prediction.uncertainty.array.mean()),
        "quality": quality,
        "threshold": prediction.threshold,
        "source_series_instance_uid": series.uid,
        "slices": len(series.datasets),
        "seg": {"file": files[0].name, "sha256": file_sha256(files[0])},
        "files": {file.name: file_sha256(file) for file in files},
        "model": prediction.model.to_json(),
        "minivess": minivess.__version__,
        "notes": notes,
        "intended_use": "Research only; not a medical device.",
    }
    write_json(path, content)
