"""The evaluation report: intervals and comparisons that are right, and a page that shows what the numbers are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minivess.cli.main import run
from minivess.datasets import read_dataset
from minivess.evaluate import report
from minivess.evaluate.case_results import case_facts, evaluate_cases
from minivess.evaluate.intervals import Comparison, _with_holm, compare_methods, interval_over_subjects
from minivess.evaluate.probability_calibration import NEAR_SURFACE_UM, calibration_errors, expected_calibration_error
from minivess.evaluate.subgroups import audit_subgroups, terciles
from minivess.html_page import html_table
from minivess.metrics.calibre import length_by_calibre
from minivess.models import load_bundle
from minivess.volume import Volume


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
    subjects = [f"m{index // 3}" for index in range(27)]
    (row,) = audit_subgroups(values, {"scanner": ["a"] * 12 + ["b"] * 12 + ["c"] * 3}, subjects)
    assert row["conclusion"] == "none: fewer than 10 cases of 3 subjects in c"
    groups = {"scanner": ["a"] * 12 + ["b"] * 12}
    (row,) = audit_subgroups(values[:24], groups, subjects[:24])
    assert row["conclusion"] == "worst in b, 0.400 below the best"
    assert (row["groups"]["a"]["cases"], row["groups"]["a"]["subjects"]) == (12, 4)
    (row,) = audit_subgroups(values[:24], groups, ["m1"] * 12 + ["m2"] * 12)  # the difference may be that of the two animals
    assert row["conclusion"] == "none: fewer than 10 cases of 3 subjects in a, b"
    unequal = [0.9, 0.3, 0.9, 0.9] * 3 + [0.5, 0.9, 0.5, 0.8] * 3
    (row,) = audit_subgroups(unequal, groups, [f"m{index % 4}{index // 12}" for index in range(24)])
    assert row["conclusion"].endswith("their intervals over subjects overlap")


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
    monkeypatch.setattr("minivess.evaluate.summary.missing_modules", lambda _: ["fairlearn"])
    command = ["evaluate", str(dataset), "--bundle", str(bundle), "--section", "validation", "--report", str(tmp_path / "r")]
    assert run(command) == 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Install the extra evidence" in page
    assert "Every case" in page


@pytest.mark.parametrize("axis", range(3))
def test_near_the_surface_is_measured_in_um(axis: int) -> None:
    spacing_um = [0.5, 0.5, 0.5]
    spacing_um[axis] = 2.0
    truth = np.zeros((40, 40, 40), bool)
    truth[tuple(slice(20, None) if a == axis else slice(None) for a in range(3))] = True
    probability = truth.astype(np.float32)
    probability[tuple(slice(22, 24) if a == axis else slice(None) for a in range(3))] = 0.5  # 4 to 8 um inside
    x, y, z = spacing_um
    near = calibration_errors(probability, truth, (x, y, z)).ece_near_surface
    assert near == pytest.approx(0.0 if NEAR_SURFACE_UM < 6 else 0.5 * 2 / 8, abs=0.05)


def test_holm__a_larger_p_value_is_never_adjusted_to_a_smaller_one() -> None:
    interval = interval_over_subjects([0.1, 0.2, 0.3], ["a", "b", "c"])
    comparisons = [Comparison("dsc", name, "b", interval, p) for name, p in (("x", 0.02), ("y", 0.01), ("z", 0.011), ("n", None))]
    assert [c.p_adjusted for c in _with_holm(comparisons)] == [
        pytest.approx(0.03),
        pytest.approx(0.03),
        pytest.approx(0.03),
        None,
    ]


@pytest.mark.parametrize("count", [3, 5, 9])
def test_the_interval_of_few_subjects_covers_the_mean_too(count: int) -> None:
    rng = np.random.default_rng(0)
    subjects = [str(n) for n in range(count)]
    found = [interval_over_subjects(rng.normal(0.8, 0.1, count), subjects) for _ in range(400)]
    covered = [i.low <= 0.8 <= i.high for i in found if i.low is not None and i.high is not None]
    assert len(covered) == 400
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_equal_subjects_have_an_interval_of_no_width() -> None:
    interval = interval_over_subjects([0.5] * 4, list("abcd"))
    assert (interval.low, interval.high) == (0.5, 0.5)


def test_bright_vessels_have_the_higher_brightness() -> None:
    reference = np.zeros((8, 8, 4), bool)
    reference[2:4] = True
    noise = np.random.default_rng(0).normal(0, 1, reference.shape)
    dim, bright = (Volume(noise + reference * light, np.diag([1.0, 1.0, 5.0, 1.0]), "um") for light in (2, 8))
    assert 0 < case_facts(dim, reference).brightness < case_facts(bright, reference).brightness


def test_the_failures_are_the_worst_cases_the_worst_first(
    dataset: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "WORST_CASES", 2)
    cases = [case for section in ("training", "validation") for case in read_dataset(dataset)[section]]
    results = [r for r in evaluate_cases(cases, {"model": load_bundle(bundle)}) if r.method == "model"]
    changed = [
        replace(result, case=f"case{number}", scores={**result.scores, "cldice": cldice})
        for number, (result, cldice) in enumerate(zip((results * 2)[:3], (0.9, 0.1, 0.5), strict=True))
    ]
    _, *figures = report._gallery(changed)
    assert ["case1" in figures[0], "case2" in figures[1], len(figures)] == [True, True, 2]


def test_the_interval_of_a_score_ends_where_the_score_does() -> None:
    interval = interval_over_subjects([0.99, 0.98, 0.8], ["a", "b", "c"], bounds=(0.0, 1.0))
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.658, abs=0.001)


def test_a_column_of_scores_stands_right_also_where_some_subjects_have_none() -> None:
    shown = html_table(["a", "b"], [["-, 0 of 4 subjects", "Otsu"], ["0.51 (0.39\u00a0to\u00a0-0.64), 3 of 4 subjects", "-"]])
    assert shown.count("class=number") == 3  # the head and two rows of the first column
