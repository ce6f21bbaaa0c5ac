"""The limits of a promotion, over simulated candidates: hardly ever a worse one, nearly always a better one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivess.errors import InputError
from minivess.track import Limits, judge

NEW, OLD = "a" * 64, "b" * 64


def report(new: np.ndarray, old: np.ndarray, subjects: list[str]) -> dict[str, Any]:
    rows = []
    for name, scores in (("new", new), ("old", old)):
        rows += [
            {"method": name, "subject": subject, "dsc": float(score), "cldice": float(score)}
            for subject, score in zip(subjects, scores, strict=True)
        ]
    means = {
        name: {"dsc": {"mean": float(s.mean())}, "cldice": {"mean": float(s.mean())}} for name, s in (("new", new), ("old", old))
    }
    return {"models": {"new": {"weights_sha256": NEW}, "old": {"weights_sha256": OLD}}, "scores": rows, "means": means}


def candidate(gain: float, seed: int, *, subjects: int = 20, spread: float = 0.01) -> list[str]:
    rng = np.random.default_rng(seed)
    old = rng.uniform(0.6, 0.9, subjects)
    new = old + gain + rng.normal(0, spread, subjects)
    return judge(report(new, old, [f"m{n}" for n in range(subjects)]), NEW, OLD, Limits())


def test_two_hundred_candidates() -> None:
    better = [candidate(0.01, seed) for seed in range(100)]
    worse = [candidate(gain, 1000 + seed) for seed, gain in enumerate(np.linspace(-0.05, 0.0, 100))]
    promoted_worse = sum(not reasons for reasons in worse)
    assert sum(not reasons for reasons in better) >= 90
    assert promoted_worse <= 1, promoted_worse


def test_what_is_not_known_is_not_promoted() -> None:
    assert candidate(0.1, 0, subjects=2) == [
        "subjects: 2, the limits demand 3",
        "dsc: nothing can be said beside the champion's",
        "cldice: nothing can be said beside the champion's",
        "gain: none is certain in dsc or cldice",
    ]


def test_a_first_model_must_reach_the_floor() -> None:
    scores = np.full(5, 0.6)
    content = report(scores, scores, list("abcde"))
    assert judge(content, NEW, None, Limits()) == []
    assert judge(content, NEW, None, Limits(at_least={"dsc": 0.7})) == ["dsc 0.6, the limit is 0.7"]


def test_a_subgroup_may_not_pay_for_the_gain_of_the_others() -> None:
    old = np.full(30, 0.7)
    content = report(old + 0.05, old, [f"m{n}" for n in range(30)])
    groups = {"thin": {"mean": 0.7, "cases": 12}, "thick": {"mean": 0.7, "cases": 18}}
    lost = {"thin": {"mean": 0.62, "cases": 12}, "thick": {"mean": 0.83, "cases": 18}}
    content["subgroups"] = {name: [{"attribute": "calibre", "groups": g}] for name, g in (("new", lost), ("old", groups))}
    assert judge(content, NEW, OLD, Limits()) == []
    assert judge(content, NEW, OLD, Limits(subgroup_margin=0.1)) == []
    assert judge(content, NEW, OLD, Limits(subgroup_margin=0.05)) == [
        "cldice of calibre thin is 0.080 lower than the champion's, allowed is 0.05"
    ]
    lost["thin"]["subjects"] = groups["thin"]["subjects"] = lost["thick"]["subjects"] = groups["thick"]["subjects"] = 2
    assert judge(content, NEW, OLD, Limits(subgroup_margin=0.05))[0].startswith("subgroups by calibre: none has 10 cases of 3")
    lost["thin"]["cases"] = groups["thin"]["cases"] = lost["thick"]["cases"] = groups["thick"]["cases"] = 9
    reasons = judge(content, NEW, OLD, Limits(subgroup_margin=0.05))
    assert reasons == ["subgroups by calibre: none has 10 cases of 3 subjects, so that none can be judged"]
    alike = {"all": {"mean": 0.7, "cases": 30}}
    for name, mine in (("new", lost), ("old", groups)):
        content["subgroups"][name] = [{"attribute": "voxel size", "groups": alike}, {"attribute": "calibre", "groups": mine}]
    assert judge(content, NEW, OLD, Limits(subgroup_margin=0.05)) == reasons, "one group of all cases is no subgroup"


def test_a_gain_of_few_subjects_is_certain_only_where_they_agree() -> None:
    old = np.full(3, 0.6)
    content = report(old + np.array([0.001, 0.002, 0.05]), old, list("abc"))
    assert "gain: none is certain in dsc or cldice" in judge(content, NEW, OLD, Limits())
    assert judge(report(old + np.array([0.040, 0.041, 0.042]), old, list("abc")), NEW, OLD, Limits()) == []


def test_chance_promotes_seldom_with_three_subjects() -> None:
    rng, promoted = np.random.default_rng(0), 0
    for _ in range(400):
        old = np.full(3, 0.6)
        promoted += not judge(report(old + rng.normal(0, 0.02, 3), old, list("abc")), NEW, OLD, Limits(margin={}))
    assert promoted / 400 < 0.05


def test_what_is_no_report_is_refused() -> None:
    for content in ([], {}, {"models": []}):
        with pytest.raises(InputError, match="no evaluation report"):
            judge(content, NEW, OLD, Limits())  # type: ignore[arg-type]


def test_a_report_on_others_is_refused() -> None:
    scores = np.full(5, 0.6)
    content = report(scores, scores, list("abcde"))
    with pytest.raises(InputError, match="not about the champion"):
        judge(content, NEW, "c" * 64, Limits())
    with pytest.raises(InputError, match="sealed"):
        judge({"models": content["models"]}, NEW, OLD, Limits())


def test_a_report_on_the_training_cases_is_refused_and_a_missing_score_is_no_fault() -> None:
    content = report(np.full(5, 0.9), np.full(5, 0.6), list("abcde"))
    content["scores"][0]["cldice"] = None
    assert judge(content, NEW, OLD, Limits()) == []
    with pytest.raises(InputError, match="training cases"):
        judge({**content, "section": "training"}, NEW, OLD, Limits())


@pytest.mark.parametrize("text", ["subject: 3", "margin: {dsc: -1}", "margin: {dsc: lots}", "[", "- 1"])
def test_limits_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.yaml").write_text(text)
    with pytest.raises(InputError, match=r"limits\.yaml"):
        Limits.read(tmp_path / "limits.yaml")


def test_limits_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("at_least: {cldice: 0.8}\nmargin: {dsc: 0.02}\ngain: []\nsubjects: 5\n")
    assert Limits.read(tmp_path / "limits.yaml") == Limits({"cldice": 0.8}, {"dsc": 0.02}, (), 5)


@pytest.mark.parametrize(
    "text",
    ["gain: [hd95_um]", "margin: {hd95_um: 1}", "at_least: {dice: 0.8}", "gain: [dice]", "gain: dsc", "margin: {b0_error: 2}"],
)
def test_limits_name_scores_of_which_more_is_better(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.yaml").write_text(text)
    with pytest.raises(InputError, match="Allowed: scores of dsc, cldice, nsd"):
        Limits.read(tmp_path / "limits.yaml")


def test_a_challenger_that_has_learned_what_judges_it_is_not_promoted() -> None:
    subjects = [f"s{n}" for n in range(6)]
    content = report(np.full(6, 0.9), np.full(6, 0.8), subjects)
    assert judge(content, NEW, OLD, Limits()) == []
    content["learned_subjects"] = {"new": ["s1", "s2"]}
    assert "has learned 2 of the subjects" in judge(content, NEW, OLD, Limits())[0]
