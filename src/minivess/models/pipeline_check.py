"""Compare what a bundle states about its pipeline with what prediction runs.

:class:`minivess.models.bundle.BundleSegmenter` builds ``network_def``, ``inferer``, ``modality``, ``threshold`` and
``min_piece_mass`` of ``configs/inference.yaml``. It does not build ``preprocessing`` and ``postprocessing``: it normalises,
applies the sigmoid, lowers small pieces and applies the threshold itself, slab by slab, so that a volume of any size fits in
memory. Both keys are there for stock ``monai.bundle``, which must compute the same. A bundle that states other steps is refused,
since they would be ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minivess.errors import BundleError
from minivess.models.normalise import MODALITIES
from minivess.models.resample import check_spacing
from minivess.models.small_pieces import check_min_mass
from minivess.models.threshold import check_threshold

#: A parameter that may have any value.
ANY = object()
COMPOSE = "monai.transforms.Compose"
INFERER = "monai.inferers.SlidingWindowInferer"
#: The steps that prediction runs, in this order, with all their parameters. References are resolved before the comparison.
PIPELINE: dict[str, list[dict[str, Any]]] = {
    "preprocessing": [
        {"_target_": "minivess.models.transforms.LoadVolumed", "keys": ["image"]},
        {"_target_": "minivess.models.transforms.NormaliseIntensityd", "keys": ["image"], "modality": "@modality"},
        {"_target_": "minivess.models.transforms.ToSpacingd", "keys": ["image"], "spacing_um": "@spacing_um"},
    ],
    "postprocessing": [
        {"_target_": "monai.transforms.Activationsd", "keys": ["pred"], "sigmoid": True},
        {"_target_": "minivess.models.transforms.BackToGridd", "keys": ["pred"], "spacing_um": "@spacing_um"},
        {"_target_": "minivess.models.transforms.SuppressSmallPiecesd", "keys": ["pred"], "min_mass": "@min_piece_mass"},
        {"_target_": "monai.transforms.CopyItemsd", "keys": ["pred"], "names": ["probability"]},
        {"_target_": "minivess.models.transforms.AsMaskd", "keys": ["pred"], "threshold": "@threshold"},
        {"_target_": "minivess.models.transforms.SaveVolumed", "keys": ["pred", "probability"], "output_dir": ANY},
    ],
}
#: The one output channel. The second form lists the values of the mask, as bundles that were made before this check do.
CHANNEL_DEFS: tuple[dict[str, str], ...] = ({"0": "vessel"}, {"0": "background", "1": "vessel"})

_REFERENCE = re.compile(r"^@\w+(?:(?:::|#)\w+)*$")
_MAX_REFERENCES = 20
_MAX_DEPTH, _MAX_PARTS = 12, 10_000
#: What a model is trained with, and predicts with.
_SHARED = ("network_def", "modality", "spacing_um")
_ADVICE = (
    "Write the steps of bundles/segresnet/configs/inference.yaml; move other arithmetic into the network (network_def), "
    "or ask the maintainers to support the step."
)


def check_pipeline(inference: Mapping[str, Any]) -> list[str]:
    """List where ``inference.yaml`` states another pipeline than prediction runs.

    Keys that are missing are not reported here.

    Args:
        inference: Content of ``configs/inference.yaml``, parsed but not evaluated by MONAI.

    Returns:
        One sentence for each finding; empty when prediction does what the bundle states.
    """
    findings = []
    modality = resolve(inference, "@modality")
    if "modality" in inference and (not isinstance(modality, str) or modality not in MODALITIES):
        findings.append(f"modality is {modality!r}. Allowed: {', '.join(MODALITIES)}.")
    for key, check in (("threshold", check_threshold), ("min_piece_mass", check_min_mass), ("spacing_um", check_spacing)):
        if key in inference:
            try:
                check(resolve(inference, f"@{key}"))
            except BundleError as error:
                findings.append(str(error))
    # A bundle without these keys keeps all pieces, and each volume's own voxels: it has no such steps.
    absent = {f"@{key}" for key in ("min_piece_mass", "spacing_um") if key not in inference}
    for key, steps in PIPELINE.items():
        expected = [step for step in steps if not any(value in absent for value in step.values() if isinstance(value, str))]
        if key in inference:
            findings += _compare(inference, key, expected)
    if "inferer" in inference:
        inferer = resolve(inference, "@inferer")
        target = inferer.get("_target_") if isinstance(inferer, Mapping) else inferer
        if target != INFERER:
            findings.append(f"inferer is {target!r}. Prediction runs a sliding window: write {INFERER}.")
        elif isinstance(inferer, Mapping):
            findings += _check_window(inference, inferer)
    return findings


def _check_window(inference: Mapping[str, Any], inferer: Mapping[str, Any]) -> list[str]:
    """List what is wrong with the size and the overlap of the sliding window."""
    size, overlap = _resolved(inference, inferer.get("roi_size")), _resolved(inference, inferer.get("overlap", 0.25))
    findings = []
    if not (isinstance(size, list) and len(size) == 3 and all(type(n) is int and n > 0 for n in size)):
        findings.append(
            f"the roi_size of the inferer is {size!r}. Allowed: three numbers of voxels from 1, such as [128, 128, 8]."
        )
    each = overlap if isinstance(overlap, list) else [overlap]
    if not all(isinstance(share, int | float) and 0 <= share < 1 for share in each):
        findings.append(f"the overlap of the inferer is {overlap!r}. Allowed: a share from 0 up to but not including 1.")
    return findings


def check_training(train: Mapping[str, Any], inference: Mapping[str, Any]) -> list[str]:
    """List where ``train.yaml`` trains another network, or on other input, than ``inference.yaml`` predicts with.

    Args:
        train: Content of ``configs/train.yaml``, parsed but not evaluated by MONAI.
        inference: Content of ``configs/inference.yaml``, likewise.

    Returns:
        One sentence for each finding; empty when both agree.
    """
    findings = []
    for key in _SHARED:
        mine, other = _resolved(train, train.get(key)), _resolved(inference, inference.get(key))
        if mine != other:
            got = "" if key == "network_def" else f": {_shown(mine)} against {_shown(other)}"
            findings.append(f"{key} is not that of inference.yaml{got}. A model predicts with what it was trained with.")
    needed = ["NormaliseIntensityd", *(["ToSpacingd"] if "spacing_um" in inference else [])]
    for section in ("train", "validate"):
        compose = resolve(train, f"@{section}#preprocessing")
        steps = resolve(train, compose.get("transforms")) if isinstance(compose, Mapping) else None
        known = [str(resolve(train, step).get("_target_")).rsplit(".", 1)[-1] for step in steps or () if _is_step(train, step)]
        missing = [name for name in needed if known and name not in known]
        findings += [f"{section}#preprocessing has no {name}, which prediction runs" for name in missing]
    return findings


def _is_step(content: Mapping[str, Any], step: Any) -> bool:
    return isinstance(resolve(content, step), Mapping)


def check_overlay(overlay: Mapping[str, Any], train: Mapping[str, Any], inference: Mapping[str, Any]) -> list[str]:
    """List where a preset makes ``train.yaml`` train another network, or on other input, than ``inference.yaml`` predicts with.

    Args:
        overlay: Content of the preset's file.
        train: Content of ``configs/train.yaml``, which is right by itself.
        inference: Content of ``configs/inference.yaml``.
    """
    keys = [str(key) for key in overlay if re.split(r"#|::", str(key).lstrip("+~"))[0] in _SHARED]
    paths = [key for key in keys if key not in _SHARED]
    findings = [f"{key} would change what inference.yaml states, too. Change both files instead." for key in paths]
    return findings or (check_training({**train, **overlay}, inference) if keys else [])


def _resolved(content: Mapping[str, Any], value: Any) -> Any:
    """Follow the references at any depth of a value; what is deeper, or has more parts, than any network stays as it is."""
    left = _MAX_PARTS

    def follow(part: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if depth > _MAX_DEPTH or left < 0:
            return part
        part = resolve(content, part)
        if isinstance(part, Mapping):
            return {key: follow(inner, depth + 1) for key, inner in part.items() if key != "_desc_"}
        return [follow(inner, depth + 1) for inner in part] if isinstance(part, list) else part

    return follow(value, 0)


def check_channels(metadata: Mapping[str, Any]) -> list[str]:
    """List where ``metadata.json`` states other channels than one image in and one vessel logit out.

    Args:
        metadata: Content of ``configs/metadata.json``.

    Returns:
        One sentence for each finding; empty when the channels are supported.
    """
    findings = []
    for side, name, meaning in (("inputs", "image", "the normalised image"), ("outputs", "pred", "the logit of vessel")):
        path = f"network_data_format.{side}.{name}"
        channels = _get(metadata, f"{path}.num_channels")
        if type(channels) is not int or channels != 1:
            findings.append(f"{path}.num_channels is {_shown(channels)}. Allowed: 1, {meaning}.{_channel_advice(side)}")
    path = "network_data_format.outputs.pred.channel_def"
    channel_def = _get(metadata, path)
    if not isinstance(channel_def, Mapping) or {str(k): str(v).lower() for k, v in channel_def.items()} not in CHANNEL_DEFS:
        findings.append(f'{path} is {_shown(channel_def)}. Allowed: {{"0": "vessel"}}, one channel that takes a sigmoid.')
    return findings


def resolve(content: Mapping[str, Any], value: Any) -> Any:
    """Follow references such as ``@modality`` or ``@network_def#network`` to the value that they name.

    Args:
        content: The configuration that the references point into.
        value: Any value of it.

    Returns:
        The value; a reference that leads nowhere, or in a circle, is returned as it is.
    """
    for _ in range(_MAX_REFERENCES):
        if not (isinstance(value, str) and _REFERENCE.match(value)):
            return value
        target: Any = content
        for part in re.split(r"::|#", value[1:]):
            if isinstance(target, Mapping) and part in target:
                target = target[part]
            elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
                target = target[int(part)]
            else:
                return value
        value = target
    return value


def _compare(inference: Mapping[str, Any], key: str, expected: list[dict[str, Any]]) -> list[str]:
    """Report the first step that differs; the ones after it would only repeat the finding."""
    compose = resolve(inference, f"@{key}")
    steps = resolve(inference, compose.get("transforms")) if isinstance(compose, Mapping) else None
    if not isinstance(steps, list) or set(compose) - {"_desc_"} != {"_target_", "transforms"} or compose["_target_"] != COMPOSE:
        return [f"{key} is not {COMPOSE} with a list of transforms and no other parameter. {_ADVICE}"]
    for number in range(max(len(steps), len(expected))):
        step = resolve(inference, steps[number]) if number < len(steps) else None
        wanted = expected[number] if number < len(expected) else None
        if wanted is None or not _same(inference, step, wanted):
            runs = _step_text(wanted) if wanted else "no further step"
            got = _step_text(step) if number < len(steps) else "missing"
            return [f"{key}#transforms#{number} is {got}. Prediction runs {runs} there, whatever the bundle states. {_ADVICE}"]
    return []


def _same(inference: Mapping[str, Any], step: Any, expected: dict[str, Any]) -> bool:
    if not isinstance(step, Mapping) or set(step) - {"_desc_"} != set(expected):
        return False
    return all(value is ANY or _plain(inference, k, step[k]) == _plain(inference, k, value) for k, value in expected.items())


def _plain(inference: Mapping[str, Any], key: str, value: Any) -> Any:
    """Resolve a parameter; MONAI takes one key or a list of keys, in any order."""
    value = resolve(inference, value)
    if key not in ("keys", "names"):
        return value
    return sorted(str(resolve(inference, item)) for item in (value if isinstance(value, list) else [value]))


def _step_text(step: Any) -> str:
    """Write a step as one call, for messages."""
    if not isinstance(step, Mapping) or "_target_" not in step:
        return repr(step)
    parameters = (f"{k}={'...' if v is ANY else repr(v)}" for k, v in step.items() if k not in ("_target_", "_desc_"))
    return f"{step['_target_']}({', '.join(parameters)})"


def _get(content: Any, path: str) -> Any:
    """Return the value at a path of keys; None when a key is missing."""
    for part in path.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)


def _channel_advice(side: str) -> str:
    if side == "inputs":
        return " Give the network in_channels: 1."
    return " A softmax over background and vessel is not supported: give the network out_channels: 1 and train it again."
