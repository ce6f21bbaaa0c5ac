"""What a model has learned from before, so that a later training can rehearse it and forgets less.

Beside the weights of a bundle lies the list of its training cases, with the hashes of their files. Cases that are still there,
unchanged, are rehearsed. Where there are none, synthetic stacks take their place: they are made by seed, on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from minivess.datasets.dataset import TrainingCase, case_from_item
from minivess.models import weights_path
from minivess.paths import file_sha256, write_json
from minivess.synth import Kind, make_sample
from minivess.volume import write_volume

FILE_NAME = "training_data.json"
_FILES = ("image", "label", "reviewed")
#: At least so many cases are rehearsed, also beside a single new one: with eight, a model forgets what these eight do not show.
MIN_CASES = 32
_SYNTHETIC_SHAPE = (128, 128, 12)
_KINDS: dict[str, tuple[Kind, ...]] = {
    "two_photon": ("randomised",),
    "light_sheet": ("randomised",),
    "mr_angiography": ("tof",),
    "ct_angiography": ("cta",),
}


def write_training_data(bundle: Path, cases: Iterable[TrainingCase]) -> Path:
    """Write which cases the bundle's weights were trained on.

    Args:
        bundle: The bundle's folder, with weights.
        cases: The cases; those that are folders have no hash and are not rehearsed later.

    Returns:
        Path of the written file.
    """
    path = weights_path(bundle).parent / FILE_NAME
    rows = [{"case": case.to_item(), "sha256": hashes} for case in cases if (hashes := _hashes(case)) is not None]
    write_json(path, {"weights_sha256": file_sha256(weights_path(bundle)), "cases": rows})
    return path


def rehearsal_cases(
    bundle: Path, new: Sequence[TrainingCase], *, modality: str, folder: Path, held_out: Sequence[TrainingCase] = ()
) -> list[TrainingCase]:
    """Return as many earlier cases as there are new ones, at least 32; synthetic stacks where too few are left.

    Args:
        bundle: The bundle whose weights are trained further.
        new: The cases that are learned now; their images are not rehearsed.
        modality: Key of :data:`minivess.models.MODALITIES`; some have no synthesis, and then nothing replaces lost cases.
        folder: Where synthetic stacks are written.
        held_out: Cases that the result is judged on; they are not rehearsed, though the weights may know them.
    """
    wanted = max(MIN_CASES, len(new))
    learned = {case.image.resolve() for case in new}
    judged = [case for case in held_out if case.image.resolve() not in learned]  # not: held-out places of the same images
    excluded, subjects = learned | {case.image.resolve() for case in judged}, {case.subject for case in judged}
    earlier = [case for case in known_cases(bundle) if case.image.resolve() not in excluded and case.subject not in subjects]
    step = max(1, len(earlier) // wanted)
    chosen = earlier[::step][:wanted]
    kinds = _KINDS.get(modality, ())
    missing = wanted - len(chosen) if kinds else 0
    synthetic = [_synthetic(kinds[seed % len(kinds)], seed, folder) for seed in range(missing)]
    return [replace(case, rehearsed=True) for case in (*chosen, *synthetic)]


def balanced(new: Sequence[TrainingCase], rehearsed: Sequence[TrainingCase]) -> list[TrainingCase]:
    """List cases so often that about every second patch is drawn from a new one.

    Args:
        new: The cases that are learned now.
        rehearsed: Earlier cases.
    """
    if not rehearsed:
        return [*new]
    times = len(rehearsed) / len(new)
    return [*new] * max(1, round(times)) + [*rehearsed] * max(1, round(1 / times))


def known_cases(bundle: Path) -> list[TrainingCase]:
    """Return the cases that the bundle's weights were trained on, those whose files are still there and unchanged."""
    path = weights_path(bundle).parent / FILE_NAME
    if not path.is_file():
        return []
    content = json.loads(path.read_text())
    if content["weights_sha256"] != file_sha256(weights_path(bundle)):
        return []
    cases = ((case_from_item(row["case"], Path()), row["sha256"]) for row in content["cases"])
    return [case for case, hashes in cases if _hashes(case) == hashes]


def _hashes(case: TrainingCase) -> dict[str, str] | None:
    """Return the SHA-256 of the case's files by name; None when one is missing or a folder."""
    files = {name: path for name in _FILES if (path := getattr(case, name)) is not None}
    return {name: file_sha256(path) for name, path in files.items()} if all(f.is_file() for f in files.values()) else None


def _synthetic(kind: Kind, seed: int, folder: Path) -> TrainingCase:
    name = f"rehearsal_{kind}_{seed}"
    image, label = (folder / part / f"{name}.nii.gz" for part in ("images", "labels"))
    if not label.is_file():  # by an interrupted training
        sample = make_sample(kind, seed, shape=_SYNTHETIC_SHAPE)
        write_volume(sample.image, image)
        write_volume(sample.mask, label)
    return TrainingCase(image, label, name)
