"""Merge the weights of several trainings of one network into one file: the prediction then takes the time of one model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from minivess.errors import InputError, WeightsError
from minivess.extras import require_extra
from minivess.models.weights import read_weights, write_weights
from minivess.paths import file_sha256

#: ``mean``: uniform soup (Wortsman et al. 2022, arXiv 2203.05482). ``ties``: signs are elected, small changes left out (Yadav et
#: al. 2023, arXiv 2306.01708). ``dare``: changes are left out at random and the rest enlarged (Yu et al. 2023, arXiv 2311.03099).
METHODS = ("mean", "ties", "dare")
_ADAPTER = ".lora_"  # of which the change is the value itself


def merge_weights(
    files: Sequence[Path],
    target: Path,
    *,
    method: str = "mean",
    start: Path | None = None,
    weights: Sequence[float] | None = None,
    density: float = 0.5,
    seed: int = 0,
) -> Path:
    """Merge weights and write them with the metadata of the first file.

    Args:
        files: At least two safetensors files of one network.
        target: The file to write.
        method: One of :data:`METHODS`.
        start: Weights that all files were trained from; ``ties`` and ``dare`` merge the changes since. Adapters need none.
        weights: Positive weight of each file; equal ones by default.
        density: Share of the changes that ``ties`` and ``dare`` keep, in (0, 1].
        seed: Seed of what ``dare`` leaves out.

    Returns:
        The target.

    Raises:
        InputError: When a setting is not allowed, or the start is missing.
        WeightsError: When the files are of different networks.
    """
    stated = list(weights) if weights is not None else [1.0] * len(files)
    if method not in METHODS or not 0 < density <= 1 or len(files) < 2 or len(stated) != len(files):
        raise InputError(
            f"A merge takes at least two files, one weight for each, a density in (0, 1] and one of {', '.join(METHODS)}. "
            f"Got {len(files)} files, {len(stated)} weights, {density:g} and {method!r}."
        )
    if not all(math.isfinite(weight) and weight > 0 for weight in stated):
        raise InputError(f"Weights of a merge are positive numbers. Got {', '.join(f'{weight:g}' for weight in stated)}.")
    shares = [weight / sum(stated) for weight in stated]
    read = [read_weights(file) for file in files]
    tensors = [content for content, _ in read]
    before = read_weights(start)[0] if start is not None else {}
    bases = {metadata.get("base_sha256", "") for _, metadata in read}
    if len(bases) > 1:
        raise WeightsError(
            f"The files are of different bases ({', '.join(sorted(base[:12] for base in bases))}). Merge those of one."
        )
    _check_same_network(files, tensors, before if start is not None else tensors[0], start)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        merged = {name: _merged(name, [t[name] for t in tensors], before, shares, method, density) for name in tensors[0]}
    about = {"merged_by": method, "merged_from": json.dumps([file_sha256(file) for file in files])}
    write_weights(merged, target, {**read[0][1], **_subjects([metadata for _, metadata in read]), **about})
    return target


def _subjects(metadata: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the subjects that the ingredients state: a merge has learned what one of them has. What none states is not known."""
    learned, held_out = (
        [set(json.loads(one[key])) for one in metadata if key in one] for key in ("training_subjects", "held_out_subjects")
    )
    known = set[str]().union(*learned)
    apart = set[str]().union(*held_out) - known if len(held_out) == len(metadata) else set[str]()
    return {"training_subjects": json.dumps(sorted(known)), "held_out_subjects": json.dumps(sorted(apart))} if learned else {}


def _merged(
    name: str,
    values: list[torch.Tensor],
    before: Mapping[str, torch.Tensor],
    shares: list[float],
    method: str,
    density: float,
) -> torch.Tensor:
    first = values[0]
    if not first.is_floating_point():
        return first.contiguous()
    factors = torch.tensor(shares, dtype=torch.float64)
    if method == "mean":
        mean = sum(value.double() * factor for value, factor in zip(values, factors, strict=True))
        return torch.as_tensor(mean).to(first.dtype).contiguous()
    require_extra("sam3", "Merging by ties and dare")
    from peft.utils.merge_utils import dare_linear, ties

    if name not in before and _ADAPTER not in name:
        raise InputError(f"The changes of {name} are not known: name the weights that all files were trained from.")
    origin = torch.zeros_like(first) if _ADAPTER in name and name not in before else before[name]
    changes = [(value - origin).float() for value in values]
    if method == "ties":
        # It divides by the number of files that agree, so its weights are 1 for equal ones.
        change = ties(changes, (factors / factors.mean()).float(), density=density)
    else:
        change = dare_linear(changes, factors.float(), density=density)
    return (origin + change.to(first.dtype)).contiguous()


def _check_same_network(
    files: Sequence[Path], tensors: Sequence[Mapping[str, torch.Tensor]], before: Mapping[str, torch.Tensor], start: Path | None
) -> None:
    expected = {name: value.shape for name, value in tensors[0].items()}
    named = list(zip([*files, start or files[0]], [*tensors, before], strict=True))
    for file, content in named:
        if {name: value.shape for name, value in content.items()} != expected:
            raise WeightsError(f"{file} and {files[0]} belong to two networks: their names or shapes differ. Merge equal ones.")
