"""The model card: what a model is for, what it learned, how good it was found, and where not to trust it (Mitchell 2019)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from minivess.evaluate.report import count_in_words, interval_text
from minivess.evaluate.summary import SCORES
from minivess.release.documents import markdown_table

_LIMITS = """## Limits

- Nothing is known of other tissues, stains, microscopes or scanners than those of the evaluation.
- An interval over fewer than three subjects is not stated, a subgroup of fewer than ten cases of three subjects not judged.
- Each result is to be reviewed by a person; a region that the model is sure of may still be wrong."""


def model_card(metadata: Mapping[str, Any], training: Mapping[str, str], report: Mapping[str, Any], weights_sha256: str) -> str:
    """Return the card as Markdown.

    Args:
        metadata: ``configs/metadata.json`` of the bundle.
        training: Metadata of the weights.
        report: ``report.json`` of the evaluation.
        weights_sha256: Hash of the weights.
    """
    method = next((name for name, about in report["models"].items() if about.get("weights_sha256") == weights_sha256), "")
    learned, held_out = (_subjects(training.get(key)) for key in ("training_subjects", "held_out_subjects"))
    subjects, cases = count_in_words(len(report["subjects"]), "subject"), count_in_words(report["cases"], "case")
    evaluated = " ".join([f"Section {report['section']}: {subjects}, {cases}.", *report.get("remarks", [])])
    sections = [
        f"# {metadata.get('name')} {metadata.get('version')}",
        f"{metadata.get('description', '')}. {metadata.get('task', '')}. Weights {weights_sha256}.",
        f"**Intended use.** {metadata.get('intended_use', 'Research; not a medical device.')}",
        f"**Images.** {metadata.get('image_classes', 'not stated')}.",
        f"**Learned from.** {learned}; held out: {held_out}. Data: {metadata.get('data_source', 'not stated')}.",
        f"## Evaluation\n\n{evaluated} {_scores(report, method)}",
        *_subgroups(report.get("subgroups", {}).get(method, [])),
        _LIMITS,
    ]
    if references := metadata.get("references"):
        sections.append("## References\n\n" + "\n".join(f"- {reference}" for reference in references))
    return "\n\n".join(sections) + "\n"


def _subjects(listed: str | None) -> str:
    return count_in_words(len(json.loads(listed)), "subject") if listed else "not recorded"


def _scores(report: Mapping[str, Any], method: str) -> str:
    if told := report.get("scores_told"):
        rows: list[list[object]] = [[SCORES[name], value] for name, value in told.items()]
        return f"{report.get('look', '')}\n\n" + markdown_table(["score", "told"], rows)
    means = report.get("means", {})
    head = ["score", *means]
    rows = [[label, *(interval_text(found[score]) for found in means.values())] for score, label in SCORES.items()]
    this = f"This model is `{method}`." if method else ""
    return f"Mean over subjects with its 95 % interval. {this}\n\n" + markdown_table(head, rows)


def _subgroups(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    lines = [[row["attribute"], ", ".join(map(_group, row["groups"].items())), row["conclusion"]] for row in rows]
    return ["## Subgroups, by clDice\n\n" + markdown_table(["attribute", "mean", "conclusion"], lines)]


def _group(item: tuple[str, Mapping[str, Any]]) -> str:
    name, found = item
    return f"{name} {found['mean']:.3f} (n {found['cases']})"
