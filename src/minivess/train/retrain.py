"""Train published weights further, without forgetting: rehearsal, interpolation with the old weights, and the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from minivess.datasets import TrainingCase, load_pair, load_reviewed
from minivess.evaluate import Anchor, Promotion, ReviewedCase, choose_model, synthetic_anchors
from minivess.models import Segmenter, load_bundle, weights_path
from minivess.models.interpolate import interpolate_weights
from minivess.train.publishing import publish, published_digest
from minivess.train.rehearsal import balanced, known_cases, rehearsal_cases, write_training_data
from minivess.train.run import TrainingResult, read_training_config, train_bundle

#: Shares of the new weights that are tried; the gate's cases choose. 1 is what was trained, without the old weights.
SHARES = (1.0, 0.5, 0.25)


def train_and_judge(
    bundle: Path,
    *,
    new: Sequence[TrainingCase],
    judged: Sequence[TrainingCase],
    parts: Sequence[TrainingCase] = (),
    earlier: Sequence[TrainingCase] = (),
    output: Path,
    preset: str = "full",
    published: bool = True,
    pretrained: bool = True,
    init_weights: Path | None = None,
    overrides: dict[str, Any] | None = None,
    sealed: Path | None = None,
    background_below: float | None = None,
) -> tuple[TrainingResult, Promotion]:
    """Train a bundle on new cases beside earlier ones, and publish the best weights that are better and forget nothing.

    Args:
        bundle: The bundle's folder.
        new: Cases to learn; at least one.
        judged: Cases that are held out, on whose reviewed voxels the new model must be better; the new cases when empty.
        parts: The new cases, some of them in parts that are learned equally often; the new cases when empty.
        earlier: Held-out cases of earlier subjects: an anchor.
        output: Folder of the run; an interrupted run is resumed.
        preset: One of :func:`minivess.train.presets`.
        published: Whether the bundle has weights that the new ones must beat.
        pretrained: Whether to start from these weights.
        init_weights: Other weights to start from, where there are no published ones.
        overrides: Further values for keys of the configuration.
        sealed: Folder of a sealed test set; none of its cases may be among the cases.
        background_below: Upper limit of the published model's background zone; its promise is an anchor.

    Returns:
        The training, and the decision of the gate.

    Raises:
        ConflictError: When other weights were published meanwhile: the new ones were compared with those before. They are kept.
    """
    digest = published_digest(bundle)
    before = load_bundle(bundle) if published else None
    rehearsed: list[TrainingCase] = []
    if before is not None:
        modality = before.capabilities.modality
        rehearsed = rehearsal_cases(bundle, new, modality=modality, folder=output / "rehearsal", held_out=[*judged, *earlier])
    continued, training = published and pretrained, balanced(parts or new, rehearsed)
    result = train_bundle(
        bundle,
        training=training,
        validation=[*judged, *earlier] or new,
        output=output,
        preset=preset,
        init_weights=weights_path(bundle) if continued else init_weights,
        overrides={**(continued_settings(bundle, preset) if continued else {}), **(overrides or {})},
        sealed=sealed,
    )
    candidates = {
        f"{share:g} of the new weights": _mixed(bundle, result.weights, share) for share in SHARES if continued or share == 1
    }
    promotion = choose_model(
        {name: _loader(bundle, weights) for name, weights in candidates.items()},
        before,
        lambda: read_cases(judged or new),
        _anchors(before, earlier),
        background_below=background_below,
    )
    chosen = candidates[promotion.candidate]
    if promotion.promoted:
        _publish(chosen, bundle, new, instead_of=digest)
    return replace(result, weights=chosen, held_out=bool(judged)), promotion


def _publish(weights: Path, bundle: Path, new: Sequence[TrainingCase], *, instead_of: str) -> None:
    """Publish weights with all that they have learned, unless others were published since they were compared."""
    images = {case.image.resolve() for case in new}
    learned = [*new, *(case for case in known_cases(bundle) if case.image.resolve() not in images)]
    publish(weights, bundle, instead_of=instead_of)
    write_training_data(bundle, learned)


def continued_settings(bundle: Path, preset: str) -> dict[str, Any]:
    """Return what the bundle states for a training from published weights: epochs, learning rate, weight of soft targets.

    Args:
        bundle: The bundle's folder.
        preset: One of :func:`minivess.train.presets`.
    """
    content = read_training_config(bundle, preset)
    return {
        key: content[f"continued_{key}"] for key in ("epochs", "learning_rate", "soft_weight") if f"continued_{key}" in content
    }


def _anchors(before: Segmenter | None, earlier: Sequence[TrainingCase]) -> list[Anchor]:
    subjects = [Anchor("earlier held-out subjects", lambda: read_cases(earlier))] if earlier else []
    return subjects + (synthetic_anchors(before.capabilities.modality) if before is not None else [])


def read_cases(cases: Iterable[TrainingCase]) -> Iterable[ReviewedCase]:
    """Read cases one at a time, with the voxels that were reviewed."""
    for case in cases:
        image, label = load_pair(case.to_item())
        yield ReviewedCase(image, label, load_reviewed(case.to_item(), image))


def _mixed(bundle: Path, trained: Path, share: float) -> Path:
    if share == 1.0:
        return trained
    return interpolate_weights(weights_path(bundle), trained, share, trained.parent / "interpolated" / f"{share:g}.safetensors")


def _loader(bundle: Path, weights: Path) -> Callable[[], Segmenter]:
    return lambda: load_bundle(bundle, weights=weights)
