"""Gather a release: bundle, evaluation, documents, what it was built from, looks at the test set; signed as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import minivess
from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet, count_looks
from minivess.map_package.folder import copy_for_delivery
from minivess.map_package.packages import required_packages
from minivess.map_package.sbom import write_sbom
from minivess.models import INFERENCE_HASH, RELEASE_MARK, model_reference, weights_path
from minivess.models.bundle import inference_sha256
from minivess.models.bundle_check import check_bundle, read_config
from minivess.models.weights import read_metadata
from minivess.paths import atomic_folder, file_sha256, write_json
from minivess.release.advisories import Advisory, audit_packages, snapshot_date
from minivess.release.documents import write_documents
from minivess.release.model_card import model_card
from minivess.release.requirements import read_test_results
from minivess.release.signature import sign_folder

_REPORT = "report.json"


def make_release(
    bundle: Path,
    folder: Path,
    *,
    private_key: Path,
    report: Path,
    sealed: Path | None = None,
    tests: Path | None = None,
    accept_advisories: bool = False,
) -> dict[str, Any]:
    """Write a release into a new folder, and sign it.

    Args:
        bundle: Trained bundle; it is checked.
        folder: New or empty folder.
        private_key: See :func:`minivess.release.signature.create_keys`.
        report: Folder that ``minivess evaluate --report`` wrote, on this model.
        sealed: Sealed test set; the head of its audit chain and the number of looks are recorded.
        tests: Results of the software's tests by requirement, see :func:`minivess.release.requirements.read_test_results`.
        accept_advisories: Whether to release although an advisory affects an installed package; they are listed.

    Returns:
        Content of ``release.json``.

    Raises:
        BundleError: When the bundle is refused.
        InputError: When the report is missing, or of another model.
        LockoutError: When an advisory affects an installed package, a requirement has no passing test,
            or the test set was modified.
    """
    check_bundle(bundle)
    weights_sha256 = file_sha256(weights_path(bundle))
    inference = inference_sha256(bundle)
    evaluation = _read_report(report, weights_sha256, inference)
    results = read_test_results(tests) if tests else None
    packages = required_packages()
    advisories = _advisories(packages, accept=accept_advisories)
    metadata = read_config(bundle / "configs" / "metadata.json")
    training = dict(read_metadata(weights_path(bundle)))
    model = model_reference(bundle, weights_sha256)
    release = sha256("\0".join((model.bundle, model.version, weights_sha256, inference, file_sha256(report / _REPORT))).encode())
    content: dict[str, Any] = {
        "id": release.hexdigest()[:16],
        "name": model.bundle,
        "version": model.version,
        "weights_sha256": weights_sha256,
        "training": training,
        "evaluation": {key: evaluation.get(key) for key in ("section", "cases", "subjects", "look", "remarks")},
        "test_set": _test_set(sealed),
        "tests": {"commit": results.commit, "finished_utc": results.finished_utc} if results else None,
        "advisories": {"read": snapshot_date(), "affecting": [advisory.to_json() for advisory in advisories]},
        "minivess": minivess.__version__,
        "intended_use": "Research only; not a medical device.",
    }
    with atomic_folder(folder) as partial:
        copy_for_delivery(bundle, partial / "bundle")
        mark = {"id": content["id"], "weights_sha256": weights_sha256, INFERENCE_HASH: inference}
        write_json(partial / "bundle" / RELEASE_MARK, mark)
        shutil.copytree(report, partial / "report")
        write_sbom(partial / "sbom.cdx.json", packages, component=(model.bundle, model.version))
        write_json(partial / "licences.json", _licences(packages))
        about = {key: str(content[key]) for key in ("name", "version", "minivess", "weights_sha256")}
        write_documents(partial / "documents", packages, results, about)
        card = model_card(metadata, training, evaluation, weights_sha256)
        (partial / "model_card.md").write_text(card, encoding="utf-8")
        write_json(partial / "release.json", content)
        sign_folder(partial, private_key)
    return content


def _advisories(packages: Sequence[Distribution], *, accept: bool) -> list[Advisory]:
    """Return the advisories that affect packages; raise where there are any and they are not accepted."""
    found = audit_packages({package.metadata["Name"].lower(): package.version for package in packages})
    if found and not accept:
        named = ", ".join(f"{a.package} {a.version} ({', '.join(a.ids)}; fixed in {a.fixed_in})" for a in found)
        raise LockoutError(f"Advisories affect installed packages: {named}. Update them, or release with --accept-advisories.")
    return found


def _read_report(report: Path, weights_sha256: str, inference: str) -> dict[str, Any]:
    file = report / _REPORT
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        models = content["models"].values()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{file} is no evaluation report. Write one: minivess evaluate --help") from error
    own = [model for model in models if model.get("weights_sha256") == weights_sha256]
    stated = {model["inference_sha256"] for model in own if "inference_sha256" in model}  # reports of before state none
    if stated and inference not in stated:
        raise InputError(f"The report {file} is of another configs/inference.yaml than that of the bundle. Evaluate this one.")
    if not own:
        raise InputError(f"The report {file} is of another model: its weights are not those of the bundle. Evaluate this one.")
    if content.get("section") == "training":
        raise InputError(
            f"The report {file} is of the training cases, which the model has seen. Evaluate others: --section test."
        )
    return content


def _test_set(sealed: Path | None) -> dict[str, Any] | None:
    if sealed is None:
        return None
    test_set = SealedTestSet(sealed)
    last = list(test_set.chain.entries())[-1]
    return {
        "looks": count_looks(test_set),
        "looks_allowed": test_set.budget,
        "audit_head": {"seq": last["seq"], "hash": last["hash"]},
    }


def _licences(packages: Sequence[Distribution]) -> dict[str, str]:
    """Return name and version -> licence, as the packages state it."""
    found = {}
    for package in packages:
        metadata = package.metadata
        classifiers = [c.rsplit(" :: ", 1)[-1] for c in metadata.get_all("Classifier") or () if c.startswith("License ::")]
        stated = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
        found[f"{metadata['Name']} {package.version}"] = (stated.splitlines() or classifiers or ["not stated"])[0]
    return found
