"""Calibrate zones, and store them in the bundle with the hash of their weights; they are invalid for other weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError, InputError
from minivess.models import Prediction, weights_path
from minivess.paths import file_sha256, write_json
from minivess.uncertainty.conformal import Curve, Zones, control_risk, length_curve, voxel_curve

FILE_NAME = "zones.json"
LOSSES = ("voxels", "length")


def calibrate(cases: Iterable[tuple[Prediction, NDArray[np.bool_], str]], alpha: float, *, loss: str = "voxels") -> Zones:
    """Calibrate zones on cases that the model was not trained on.

    Args:
        cases: Prediction, true mask (x, y, z) bool on its grid, and subject; one case is in memory at a time.
        alpha: Share of vessel that may be lost in the background zone, in (0, 1).
        loss: ``"voxels"``, or ``"length"`` of the centre-line.

    Raises:
        InputError: When there are too few subjects for that share, a reference is empty, or the loss is unknown.
    """
    if loss not in LOSSES:
        raise InputError(f"Unknown loss {loss!r}. Allowed: one of {', '.join(LOSSES)}.")
    curves: list[Curve] = []
    thresholds: list[float] = []
    for prediction, reference, subject in cases:
        probability, thresholds = prediction.probability.array, [*thresholds, prediction.threshold]
        if loss == "voxels":
            curves.append(voxel_curve(probability, reference, subject))
        else:
            curves.append(length_curve(probability, reference, subject, spacing_um=prediction.probability.spacing_um))
    return control_risk(curves, alpha, upper=float(np.median(thresholds)) if thresholds else 0.5, loss=loss)


def write_zones(bundle: Path, zones: Zones, weights_sha256: str) -> Path:
    """Write zones into a bundle, with the hash of the weights that they were calibrated for.

    Args:
        bundle: The bundle's folder.
        zones: The calibrated zones.
        weights_sha256: SHA-256 of the weights, hexadecimal.

    Returns:
        Path of the written file.
    """
    path = bundle / "models" / FILE_NAME
    write_json(path, {"weights_sha256": weights_sha256, **asdict(zones)})
    return path


def read_zones(bundle: Path, weights_sha256: str) -> Zones | None:
    """Read the zones of a bundle.

    Args:
        bundle: The bundle's folder.
        weights_sha256: SHA-256 of the weights in use, hexadecimal.

    Returns:
        The zones; None when there are none for these weights.

    Raises:
        BundleError: When the file is damaged.
    """
    path = bundle / "models" / FILE_NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        if content.pop("weights_sha256") != weights_sha256:
            return None
        content["lower"] = min(float(content["lower"]), float(content["upper"]))  # of a version that did not order them
        return Zones(**content)
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} does not contain zones ({error!r}). Calibrate again: minivess calibrate --help.") from error


def background_limit(bundle: Path) -> float | None:
    """Return the upper limit of the background zone of a bundle's weights; None when they have no zones."""
    weights = weights_path(bundle)
    zones = read_zones(bundle, file_sha256(weights)) if weights.is_file() else None
    return zones.lower if zones else None
