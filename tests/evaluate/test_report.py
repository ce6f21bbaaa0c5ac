"""The evaluation report: intervals and comparisons that are right, and a page that shows what the numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minivess.cli.main import run
from minivess.evaluate.intervals import compare_methods, interval_over_subjects
from minivess.evaluate.probability_calibration import calibration_errors, expected_calibration_error
from minivess.evaluate.subgroups import audit_subgroups, terciles
from minivess.metrics.calibre import length_by_calibre


def test_cases_of_one_subject_count_once() -> None:
    interval = interval_over_subjects([0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"])
    assert interval.mean == 0.5
    assert interval.low is None  # of two subjects
    assert interval.subjects == 2


def test_the_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    subjects = [str(n) for n in range(20)]
    covered = 0
    for seed in range(200):
        interval = interval_over_subjects(rng.normal(0.8, 0.1, 20), subjects, seed=seed)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 0.8 <= interval.high
    assert covered / 200 == pytest.approx(0.93, abs=0.05)  # the percentile bootstrap of 20 is a little short


def test_a_real_difference_is_found_and_holm_is_monotone() -> None:
    rng = np.random.default_rng(1)
    base = rng.uniform(0.5, 0.9, 12)
    values = {
        "dsc": {"a": base + 0.05 + rng.normal(0, 0.01, 12), "b": base, "c": base + rng.normal(0, 0.01, 12)},
    }
    subjects = [str(n) for n in range(12)]
    first, second = compare_methods(values, subjects, [("a", "b"), ("c", "b")])
    assert first.p_adjusted is not None
    assert first.p_value is not None
    assert second.p_adjusted is not None
    assert first.p_adjusted < 0.01 < second.p_adjusted
    assert first.p_adjusted == pytest.approx(2 * first.p_value)


def test_missing_values_are_left_out() -> None:
    assert interval_over_subjects([np.nan, 0.4], ["a", "b"]).mean == 0.4
    assert interval_over_subjects([np.nan], ["a"]).subjects == 0


def test_calibration_near_the_surface_is_not_hidden_by_the_background() -> None:
    truth = np.zeros((40, 40, 10), bool)
    truth[15:25, 15:25] = True
    probability = np.where(truth, 0.6, 0.0).astype(np.float32)
    errors = calibration_errors(probability, truth, (1.0, 1.0, 1.0))
    assert errors.ece == pytest.approx(0.4 * truth.mean(), rel=1e-5)
    assert errors.ece_near_surface > 4 * errors.ece
    rng = np.random.default_rng(0)
    stated = rng.uniform(0, 1, 100_000).astype(np.float32)
    assert expected_calibration_error(stated, rng.uniform(0, 1, 100_000) < stated) < 0.01


def test_small_groups_allow_no_conclusion() -> None:
    values = [0.9] * 12 + [0.5] * 12 + [0.1] * 3
    (row,) = audit_subgroups(values, {"scanner": ["a"] * 12 + ["b"] * 12 + ["c"] * 3})
    assert row["conclusion"].startswith("none: fewer than 10 cases in c")
    (row,) = audit_subgroups(values[:24], {"scanner": ["a"] * 12 + ["b"] * 12})
    assert row["conclusion"] == "worst in b, 0.400 below the best"
    assert row["groups"]["a"]["cases"] == 12


def test_terciles_are_even() -> None:
    groups = terciles(list(np.random.default_rng(0).uniform(size=30)))
    assert {name: groups.count(name) for name in set(groups)} == {"low": 10, "middle": 10, "high": 10}


def test_each_calibre_has_its_own_recall() -> None:
    thin, thick = np.zeros((60, 60, 30), bool), np.zeros((60, 60, 30), bool)
    thin[:, 9:12, 9:12] = True
    y, z = np.mgrid[:60, :30]
    thick[:, (y - 38) ** 2 + (z - 15) ** 2 <= 49] = True
    found = length_by_calibre(thin | thick, thick, (1.0, 1.0, 1.0))
    recall = {row.calibre: row.recall for row in found}
    assert recall["capillary"] == pytest.approx(0.0, abs=0.1)
    assert recall["small"] == 1.0
    assert [row.precision for row in found if row.predicted_um] == [1.0] * sum(row.predicted_um > 0 for row in found)
    assert length_by_calibre(thin, thin, (1.0, 1.0, 1.0))[0].reference_um == pytest.approx(60, abs=3)


def test_the_report_of_two_bundles(dataset: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    command = ["evaluate", str(dataset), "--bundle", str(bundle), "--section", "training", "--report", str(folder), "--json"]
    assert run(command) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((folder / "report.json").read_text())
    model = next(name for name in content["means"] if not name.startswith("Otsu"))
    rows = [row for row in content["scores"] if row["method"] == model]
    assert len(rows) == content["cases"]
    by_subject = {}
    for row in rows:
        by_subject.setdefault(row["subject"], []).append(row["dsc"])
    expected = np.mean([np.mean(scores) for scores in by_subject.values()])
    assert content["means"][model]["dsc"]["mean"] == pytest.approx(expected)
    page = (folder / "report.html").read_text()
    assert page.count("<img") == min(4, content["cases"])
    for heading in ("Paired comparison", "Length by calibre", "Subgroups", "Failures", "Every case", "Why these scores"):
        assert f"{heading}" in page


def test_without_fairlearn_the_rest_of_the_report_is_there(
    dataset: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivess.evaluate.report.missing_modules", lambda _: ["fairlearn"])
    command = ["evaluate", str(dataset), "--bundle", str(bundle), "--section", "validation", "--report", str(tmp_path / "r")]
    assert run(command) == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Install the extra evidence" in page
    assert "Every case" in page
