"""What a MAP says beside its SEG: a small JSON file for a machine or a person to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minivess
from minivess.dicom.series import Series
from minivess.models import Prediction
from minivess.paths import sha256_of, write_json


def write_report(path: Path, series: Series, prediction: Prediction, *, seg: Path, modality: str) -> None:
    """Write what was found, by which model, in which series; nothing about the patient.

    Args:
        path: JSON file to write.
        series: What was segmented.
        prediction: What was found.
        seg: The SEG beside it.
        modality: What the model was made for, named where the series is something else.
    """
    voxels = int(prediction.mask.array.sum())
    x, y, z = series.volume.spacing
    notes = list(series.notes)
    kind = str(series.datasets[0].get("Modality", ""))
    if not modality.startswith(kind.lower() or "-"):
        notes.append(
            f"the model was made for {modality}, the series is {kind or 'of unknown modality'}: judge the result yourself"
        )
    content: dict[str, Any] = {
        "status": "done",
        "finding": voxels > 0,
        "vessel_voxels": voxels,
        "vessel_volume_mm3": voxels * x * y * z,
        "vessel_share_percent": 100.0 * voxels / prediction.mask.array.size,
        "mean_uncertainty_nats": float(prediction.uncertainty.array.mean()),
        "threshold": prediction.threshold,
        "source_series_instance_uid": series.uid,
        "slices": len(series.datasets),
        "seg": {"file": seg.name, "sha256": sha256_of(seg)},
        "model": prediction.model.to_json(),
        "minivess": minivess.__version__,
        "notes": notes,
        "intended_use": "Research only; not a medical device.",
    }
    write_json(path, content)
