"""Check that a bundle is only data, and that prediction does what it states, before MONAI evaluates anything.

A MONAI configuration is a program: strings that begin with ``$`` are evaluated, ``_target_`` names anything importable.
Only a small grammar is allowed: references, attributes, constants and a few calls; and targets from a list of packages.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from minivess.errors import BundleError
from minivess.models.output_paths import check_output_paths
from minivess.models.pipeline_check import check_channels, check_overlay, check_pipeline, check_training
from minivess.models.target_check import problem_of_target, unstated_downloads

#: Parameters that would read pickles or download.
REFUSED_PARAMETERS = ("allow_pickle", "pickle_module", "pretrained", "pretrained_path", "pretrained_url")
#: Keys of ``inference.yaml`` for stock ``monai.bundle``; prediction takes the same steps by itself.
_OF_A_WORKFLOW = frozenset(
    {"preprocessing", "postprocessing", "dataset", "dataloader", "handlers", "evaluator", "initialize", "run", "finalize"}
)
#: MONAI's own keys, and what they may be.
OWN_KEYS = frozenset({"_target_", "_requires_", "_disabled_", "_desc_", "_mode_"})
ALLOWED_METHODS = frozenset({"to", "parameters", "state_dict", "eval", "train", "items", "keys", "values", "get"})
ALLOWED_FUNCTIONS = frozenset({"len", "int", "float", "str", "min", "max", "list", "tuple", "dict", "sum", "range"})
ALLOWED_RUNS = re.compile(r"^\$@[\w#:]+\.run\(\)$")
REQUIRED_METADATA = ("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "name", "network_data_format")
#: Of a bundle that builds its segmenter itself, such as an ensemble.
REQUIRED_SEGMENTER = ("bundle_root", "modality", "threshold", "segmenter")
REQUIRED_INFERENCE = ("bundle_root", "modality", "threshold", "network_def", "preprocessing", "inferer", "postprocessing")

_WORKFLOWS = ("metadata.json", "inference.yaml", "train.yaml", "evaluate.yaml")
_MOST_VALUES = 100_000
_SEPARATOR = re.compile(r"#|::")
_REFERENCE = re.compile(r"@[A-Za-z_][\w]*(?:(?:::|#)[\w]+)*")
_ALLOWED_NODES = (
    ast.Expression, ast.Name, ast.Load, ast.Attribute, ast.Constant, ast.Call, ast.keyword, ast.List, ast.Tuple, ast.Dict,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.UnaryOp, ast.USub, ast.Not, ast.Compare,
    ast.Eq, ast.NotEq, ast.Lt, ast.Gt, ast.LtE, ast.GtE, ast.BoolOp, ast.And, ast.Or, ast.IfExp, ast.Subscript, ast.Slice,
)  # fmt: skip


def check_bundle(root: Path, *, only_prediction: bool = False) -> list[str]:
    """Check a bundle's files and every configuration in it.

    Args:
        root: The bundle's folder.
        only_prediction: Import, to look at them, the classes alone that prediction builds: those of a training, and of stock
            ``monai.bundle``, take a second.

    Returns:
        Names of the files that were checked.

    Raises:
        BundleError: When a file or key is missing, a configuration contains more than is allowed, or it states a modality, a
            threshold, a pipeline or channels that prediction does not support. The message lists all findings.
    """
    if not (root / "configs").is_dir():
        raise BundleError(f"{root} is no bundle: it has no folder configs/. Name a folder such as bundles/segresnet.")
    findings = [f"{name} is missing" for name in ("LICENSE", "docs/README.md") if not (root / name).is_file()]
    findings += [
        f"{name} is not allowed: a bundle is data" for name in ("scripts", "configs/logging.conf") if (root / name).exists()
    ]
    files = sorted(f for f in (root / "configs").iterdir() if f.suffix in (".json", ".yaml", ".yml"))
    contents = {f.name: read_config(f) for f in files}
    metadata, inference = contents.get("metadata.json"), contents.get("inference.yaml")
    findings += _missing(metadata, "configs/metadata.json", REQUIRED_METADATA)
    own = isinstance(inference, dict) and "segmenter" in inference
    findings += _missing(inference, "configs/inference.yaml", REQUIRED_SEGMENTER if own else REQUIRED_INFERENCE)
    if isinstance(metadata, dict):
        findings += [f"configs/metadata.json: {finding}" for finding in check_channels(metadata)]
    if isinstance(inference, dict):
        findings += [f"configs/inference.yaml: the key {key!r} is a path: write nested keys" for key in _path_keys(inference)]
        findings += [f"configs/inference.yaml: {finding}" for finding in check_pipeline(inference)]
        train = contents.get("train.yaml")
        if isinstance(train, dict) and not own:
            findings += [f"configs/train.yaml: {finding}" for finding in check_training(train, inference)]
            overlays = {n: c for n, c in contents.items() if n not in _WORKFLOWS and isinstance(c, dict)}
            findings += [f"configs/{n}: {f}" for n, c in overlays.items() for f in check_overlay(c, train, inference)]
    for name, content in contents.items():  # of metadata.json, too: MONAI builds what a reference to `_meta_` finds there
        unbuilt = _unbuilt(name, content) if only_prediction else frozenset()
        findings += [f"configs/{name}: {finding}" for finding in check_config(content, unbuilt=unbuilt)]
        if name != "metadata.json":
            written = check_output_paths(_leaves(content, "", ""), [c for c in contents.values() if isinstance(c, dict)])
            findings += [f"configs/{name}: {finding}" for finding in written]
    if own:
        findings += [finding for member in members_of(root) for finding in _member_findings(member)]
    if findings:
        raise BundleError(f"The bundle {root.name} is refused:\n  " + "\n  ".join(findings))
    return [f"configs/{f.name}" for f in files]


def members_of(root: Path) -> list[Path]:
    """List the folders of the bundles that a bundle combines; none for most bundles."""
    folder = root / "members"
    return sorted(member for member in folder.iterdir() if member.is_dir()) if folder.is_dir() else []


def _member_findings(member: Path) -> list[str]:
    try:
        check_bundle(member)
    except BundleError as error:
        return [f"members/{member.name}: {error}"]
    return []


def read_config(path: Path) -> Any:
    """Read a JSON or YAML file as plain data.

    Raises:
        BundleError: When it cannot be parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else _read_yaml(text)
    except RecursionError as error:
        raise BundleError(f"{path.name} cannot be read: it is nested too deep.") from error
    except (ValueError, yaml.YAMLError, OSError) as error:
        raise BundleError(f"{path.name} cannot be read: {error}") from error


def _read_yaml(text: str) -> Any:
    """Read YAML whose aliases do not multiply: a few lines of them can be a content without end."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases (*) multiply to more than {_MOST_VALUES} values.")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Count the values of a node, were its aliases written out; more than is allowed where it contains itself."""
    if node not in known:
        known[node] = _MOST_VALUES + 1  # while it is counted
        pairs = [inner for pair in node.value for inner in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = pairs if isinstance(node, yaml.CollectionNode) else ()
        known[node] = 1 + sum(_written_out(inner, known) for inner in inside)
    return known[node]


def check_config(content: Any, *, unbuilt: frozenset[str] = frozenset()) -> list[str]:
    """List what a configuration contains beyond the allowed grammar, each finding with its path; empty when nothing.

    Args:
        content: The configuration.
        unbuilt: Keys whose components are not built here: their classes are not imported to be looked at.
    """
    findings = [
        f"{path}: {finding}"
        for path, key, value in _leaves(content, "", "")
        if not (key == "_target_" and path.partition("#")[0] in unbuilt)
        for finding in _check_leaf(key, value)
    ]
    built = content
    if isinstance(content, dict):
        built = {key: value for key, value in content.items() if str(key).partition("#")[0] not in unbuilt}
    return findings + [finding for component in _components(built) for finding in _check_defaults(component)]


def prediction_config(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``inference.yaml`` without what stock ``monai.bundle`` alone builds, unless something else refers to it.

    Its classes are not looked at before a prediction, so that it must not be there: whatever MONAI takes for a reference to it,
    relative ones among them, leads nowhere.

    Args:
        content: The configuration.
    """
    rest = {key: value for key, value in content.items() if key not in _OF_A_WORKFLOW}
    texts = [value for _, _, value in _leaves(rest, "", "") if isinstance(value, str)]
    refers = any(re.search(rf"@{key}\b", text) for text in texts for key in _OF_A_WORKFLOW)
    return content if refers else rest


def _unbuilt(name: str, content: Any) -> frozenset[str]:
    """Return the keys that prediction does not build: those of other files, and of a stock workflow."""
    if not isinstance(content, dict):
        return frozenset()
    if name != "inference.yaml":
        return frozenset(str(key).partition("#")[0] for key in content)
    return frozenset(content) - frozenset(prediction_config(content))


def _components(content: Any) -> Iterator[dict[str, Any]]:
    """Return what MONAI would build, at any depth."""
    if isinstance(content, dict) and isinstance(content.get("_target_"), str):
        yield content
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _components(inner)


def _check_defaults(component: dict[str, Any]) -> Iterator[str]:
    if problem_of_target(component["_target_"]):
        return  # it is refused for itself
    for name in unstated_downloads(component["_target_"], component, REFUSED_PARAMETERS):
        yield f"{component['_target_']} downloads unless it is told not to: write {name}: false"


def check_overrides(overrides: dict[str, Any]) -> None:
    """Refuse values from a request or a command line that MONAI would evaluate.

    Args:
        overrides: Keys of a configuration, and their new values.

    Raises:
        BundleError: When a string, at any depth, begins with ``$``, ``@`` or ``%``, or a key is one of MONAI's own.
    """
    for path, key, value in _leaves(overrides, "", ""):
        if re.fullmatch(r"_\w+_", key):
            raise BundleError(f"{path}: the key {key} is MONAI's own. Overrides change plain values only.")
        if isinstance(value, str) and value.lstrip()[:1] in ("$", "@", "%"):
            raise BundleError(f"{path}: a value must not begin with $, @ or %, which MONAI would evaluate. Got {value[:40]!r}.")


def _missing(content: Any, name: str, keys: tuple[str, ...]) -> list[str]:
    if not isinstance(content, dict):
        return [f"{name} is missing"]
    return [f"{name}: the key {key} is missing" for key in keys if key not in content]


def _leaves(content: Any, path: str, key: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(content, dict):
        for k, v in content.items():
            last = _SEPARATOR.split(str(k).lstrip("+~"))[-1]  # MONAI goes down the path that a key is: "loss#_target_"
            place = f"{path}#{k}" if path else str(k)
            yield from [(place, last, v)] if last == "_target_" else _leaves(v, place, last)
    elif isinstance(content, list):
        for i, v in enumerate(content):
            yield from _leaves(v, f"{path}#{i}", key)
    else:
        yield path, key, content


def _path_keys(content: Any) -> Iterator[str]:
    """Return the keys, at any depth, that MONAI takes for a path or for an instruction to merge."""
    if isinstance(content, dict):
        yield from (str(k) for k in content if _SEPARATOR.search(str(k)) or str(k).startswith(("+", "~")))
    for inner in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from _path_keys(inner)


def _check_leaf(key: str, value: Any) -> Iterator[str]:
    yield from _check_key(key, value)
    if not isinstance(value, str) or key == "reader":
        return
    if key == "_target_":
        if problem := problem_of_target(value):
            yield problem
    elif value.startswith("%"):
        yield f"the macro {value!r} is not allowed: write the value, or refer to it with @"
    elif value.startswith("$") and not ALLOWED_RUNS.match(value):
        yield from _check_expression(value[1:])


def _check_key(key: str, value: Any) -> Iterator[str]:
    if key == "_mode_" and value not in ("default", "callable"):
        yield f"_mode_ {value!r} would start a debugger; allowed: default, callable"
    if key == "_target_" and not isinstance(value, str):
        yield f"a target is a text. Got {value!r}"
    if re.fullmatch(r"_\w+_", key) and key not in OWN_KEYS:
        yield f"the key {key} is not allowed; allowed: {', '.join(sorted(OWN_KEYS))}"
    if key == "weights_only" and value is not True:
        yield "weights_only is always true: anything else would read a pickle"
    if key == "reader" and value is not None:
        yield "a reader is not allowed: volumes are read by minivess.models.transforms.LoadVolumed"
    if key in REFUSED_PARAMETERS and value not in (False, None):
        yield f"the parameter {key} is not allowed: it would read a pickle or download. Weights are models/model.safetensors"


def _check_expression(text: str) -> Iterator[str]:
    names = set()

    def as_name(match: re.Match[str]) -> str:
        name = "ref_" + re.sub(r"\W", "_", match.group()[1:])
        names.add(name)
        return name

    try:
        tree = ast.parse(_REFERENCE.sub(as_name, text), mode="eval")
    except (SyntaxError, ValueError):
        yield f"the expression {text!r} is not one Python expression"
        return
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED_NODES):
            yield f"the expression {text!r} uses {type(node).__name__}, which is not allowed"
        elif isinstance(node, ast.Name) and node.id not in names | ALLOWED_FUNCTIONS:
            allowed = ", ".join(sorted(ALLOWED_FUNCTIONS))
            yield f"the expression {text!r} names {node.id!r}; allowed: references (@...) and {allowed}"
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            yield f"the expression {text!r} uses the private attribute {node.attr!r}"
        elif isinstance(node, ast.Call) and not _is_allowed_call(node.func):
            yield f"the expression {text!r} calls {ast.unparse(node.func)}; allowed methods: {', '.join(sorted(ALLOWED_METHODS))}"


def _is_allowed_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in ALLOWED_FUNCTIONS
    return isinstance(function, ast.Attribute) and function.attr in ALLOWED_METHODS
