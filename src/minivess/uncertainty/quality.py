"""The quality class of a case without a label: usable, needs review, or retrain; as a set that holds the true one.

For one model, a forest learns clDice from :func:`minivess.uncertainty.case_features.case_features` on labelled cases. The share
of its trees that expect a case in a class is the score of that class; how small the true class's share was on subjects that the
forest had not seen says which classes cannot be excluded (cross-conformal prediction, Vovk 2015; score of Sadinle et al.,
JASA 2019). It holds for cases like those it was fitted on, and for the weights it was fitted for: for others there is no class.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import BundleError, InputError
from minivess.metrics.morphology import Morphology
from minivess.models import Prediction
from minivess.paths import write_json
from minivess.uncertainty.case_features import case_features

if TYPE_CHECKING:  # a second of import, which only bundles with a quality model need
    from sklearn.ensemble import RandomForestRegressor

FILE_NAME = "quality.json"
CLASSES = ("retrain", "needs review", "usable")
#: With fewer subjects no class is stated: an interval of 90 % needs at least 9 errors.
MIN_SUBJECTS = 10
_FOLDS = 10


@dataclass(frozen=True)
class Quality:
    """What is said of a case.

    Attributes:
        classes: The classes that cannot be excluded, the worst first.
        cldice: Expected clDice.
    """

    classes: tuple[str, ...]
    cldice: float

    def __str__(self) -> str:
        """Return the classes in words."""
        return " or ".join(self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"classes": list(self.classes), "expected_cldice": self.cldice}


@dataclass(frozen=True)
class QualityModel:
    """Labelled cases of one model, from which the quality of other cases is estimated.

    The cases are stored, not the forest: it is grown again in a moment, and no file has to be unpickled.

    Attributes:
        features: Name -> value of each case.
        cldice: clDice of each case.
        subjects: Subject of each case.
        usable_from: From this clDice on a case is usable.
        retrain_below: Below this clDice a case needs a better model.
        coverage: Share of cases whose true class is to be in the set, on average over subjects.
    """

    features: Mapping[str, Sequence[float]]
    cldice: Sequence[float]
    subjects: Sequence[str]
    usable_from: float = 0.8
    retrain_below: float = 0.6
    coverage: float = 0.9

    def __post_init__(self) -> None:
        """Check the cases.

        Raises:
            InputError: When there are too few subjects, or the limits are not in order.
        """
        if (found := len(set(self.subjects))) < MIN_SUBJECTS:
            raise InputError(
                f"A quality class needs {MIN_SUBJECTS} labelled subjects that the model has not learned. Got {found}."
            )
        if not 0 < self.retrain_below < self.usable_from < 1:
            raise InputError(f"0 < retrain below < usable from < 1. Got {self.retrain_below} and {self.usable_from}.")
        if {len(values) for values in self.features.values()} != {len(self.cldice)} or len(self.subjects) != len(self.cldice):
            raise InputError("There must be one value of each feature, one clDice and one subject for each case.")

    @cached_property
    def unseen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected clDice (n,) and shares of the classes (n, 3), by a forest that has seen no case of the same subject."""
        from sklearn.model_selection import GroupKFold

        rows, target = self._rows, np.asarray(self.cldice)
        expected, shares = np.zeros(len(target)), np.zeros((len(target), len(CLASSES)))
        folds = GroupKFold(min(_FOLDS, len(set(self.subjects))))
        for learned, left_out in folds.split(rows, target, list(self.subjects)):
            forest = _forest().fit(rows[learned], target[learned])
            expected[left_out], shares[left_out] = forest.predict(rows[left_out]), self._shares(forest, rows[left_out])
        return expected, shares

    @cached_property
    def least_share(self) -> float:
        """Share of trees from which on a class is not excluded.

        A conformal quantile in which every subject counts the same, however many cases it has: what is promised is about a case
        of a new subject.
        """
        true = [CLASSES.index(self.class_of(score)) for score in self.cldice]
        shares, cases = self.unseen[1][np.arange(len(true)), true], Counter(self.subjects)
        order = np.argsort(-shares, kind="stable")
        kept = np.cumsum([1.0 / cases[self.subjects[index]] for index in order])  # in subjects
        enough = np.flatnonzero(kept >= (len(cases) + 1) * self.coverage - 1e-9)
        return float(shares[order[enough[0]]]) if len(enough) else 0.0

    @property
    def mean_error(self) -> float:
        """Mean error of the expected clDice on unseen subjects."""
        return float(np.abs(self.unseen[0] - np.asarray(self.cldice)).mean())

    def estimate(self, features: Mapping[str, float]) -> Quality:
        """Estimate the quality of a case.

        Args:
            features: Of :func:`minivess.uncertainty.case_features.case_features`.

        Raises:
            BundleError: When the model was fitted on a feature that is not computed here.
        """
        if missing := set(self.features) - set(features):
            raise BundleError(
                f"The quality model needs {', '.join(sorted(missing))}. Calibrate again: minivess calibrate --help."
            )
        row = np.array([[features[name] for name in self.features]])
        shares = self._shares(self._fitted, row)[0]
        kept = shares >= min(self.least_share, shares.max())
        classes = tuple(name for name, keep in zip(CLASSES, kept, strict=True) if keep)
        return Quality(classes, float(self._fitted.predict(row)[0]))

    def class_of(self, cldice: float) -> str:
        """Return the class of a known clDice."""
        return CLASSES[int(cldice >= self.retrain_below) + int(cldice >= self.usable_from)]

    def _shares(self, forest: RandomForestRegressor, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of trees that expect each class, (n, 3)."""
        trees = np.array([tree.predict(rows) for tree in forest.estimators_])
        classes = (trees >= self.retrain_below).astype(int) + (trees >= self.usable_from)
        return np.stack([(classes == index).mean(0) for index in range(len(CLASSES))], axis=1)

    @property
    def _rows(self) -> NDArray[np.float64]:
        return np.array([list(values) for values in self.features.values()]).T

    @cached_property
    def _fitted(self) -> RandomForestRegressor:
        return _forest().fit(self._rows, self.cldice)


def write_quality(bundle: Path, model: QualityModel, weights_sha256: str) -> Path:
    """Write a quality model into a bundle, with the hash of the weights that it was fitted for.

    Args:
        bundle: The bundle's folder.
        model: The quality model.
        weights_sha256: SHA-256 of the weights.

    Returns:
        Path of the written file.
    """
    path = bundle / "models" / FILE_NAME
    write_json(path, {"weights_sha256": weights_sha256, **asdict(model)})
    return path


def remove_quality(bundle: Path) -> None:
    """Remove the quality model of a bundle: it could not be fitted for its weights as they are calibrated now."""
    (bundle / "models" / FILE_NAME).unlink(missing_ok=True)


def read_quality(bundle: Path, weights_sha256: str) -> QualityModel | None:
    """Read the quality model of a bundle.

    Args:
        bundle: The bundle's folder.
        weights_sha256: SHA-256 of the weights in use.

    Returns:
        The model; None when there is none for these weights.

    Raises:
        BundleError: When the file is damaged.
    """
    path = bundle / "models" / FILE_NAME
    return _read(path, path.stat().st_mtime_ns, weights_sha256) if path.is_file() else None


@lru_cache(maxsize=4)  # a forest is grown once, not for each case
def _read(path: Path, _mtime_ns: int, weights_sha256: str) -> QualityModel | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("weights_sha256") != weights_sha256:
            return None
        return QualityModel(**content)
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} holds no quality model ({error!r}). Calibrate again: minivess calibrate --help.") from error


def quality_of(bundle: Path, prediction: Prediction, measured: Morphology | None = None) -> Quality | None:
    """Estimate the quality of a prediction; None when nothing was fitted for its weights.

    Args:
        bundle: The bundle's folder.
        prediction: Of a whole volume.
        measured: What was measured of its mask, where it was.

    Raises:
        BundleError: When the file of the quality model is damaged.
    """
    model = read_quality(bundle, prediction.model.weights_sha256)
    return model.estimate(case_features(prediction, measured)) if model else None


def _forest() -> RandomForestRegressor:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=200, min_samples_leaf=2, random_state=0, n_jobs=1)
