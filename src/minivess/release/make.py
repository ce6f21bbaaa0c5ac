"""Gather a release: the bundle, its evaluation, what it was built from, and who looked at the test set; signed as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import minivess
from minivess.errors import InputError, LockoutError
from minivess.evaluate import SealedTestSet, count_looks
from minivess.map_package.folder import copy_for_delivery
from minivess.map_package.packages import required_packages
from minivess.map_package.sbom import write_sbom
from minivess.models import weights_path
from minivess.models.bundle_check import check_bundle
from minivess.models.weights import read_metadata
from minivess.paths import atomic_folder, file_sha256, write_json
from minivess.release.advisories import audit_packages, snapshot_date
from minivess.release.signature import sign_folder


def make_release(
    bundle: Path, folder: Path, *, private_key: Path, report: Path, sealed: Path | None = None, accept_advisories: bool = False
) -> dict[str, Any]:
    """Write a release into a new folder, and sign it.

    Args:
        bundle: Trained bundle; it is checked.
        folder: New or empty folder.
        private_key: See :func:`minivess.release.signature.create_keys`.
        report: Folder that ``minivess evaluate --report`` wrote, on this model.
        sealed: Sealed test set; the head of its audit chain and the number of looks are recorded.
        accept_advisories: Whether to release although an advisory affects an installed package; they are listed.

    Returns:
        Content of ``release.json``.

    Raises:
        BundleError: When the bundle is refused.
        InputError: When the report is missing, or of another model.
        LockoutError: When an advisory affects an installed package, or the test set was modified.
    """
    check_bundle(bundle)
    weights = weights_path(bundle)
    evaluation = _read_report(report, file_sha256(weights))
    packages = required_packages()
    advisories = audit_packages({p.metadata["Name"].lower(): p.version for p in packages})
    if advisories and not accept_advisories:
        named = ", ".join(f"{a.package} {a.version} ({', '.join(a.ids)}; fixed in {a.fixed_in})" for a in advisories)
        raise LockoutError(f"Advisories affect installed packages: {named}. Update them, or release with --accept-advisories.")
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    name, version = str(metadata.get("name", bundle.name)), str(metadata.get("version"))
    content: dict[str, Any] = {
        "name": name,
        "version": version,
        "weights_sha256": file_sha256(weights),
        "training": dict(read_metadata(weights)),
        "evaluation": {key: evaluation.get(key) for key in ("section", "cases", "subjects", "look")},
        "test_set": _test_set(sealed),
        "advisories": {"read": snapshot_date(), "affecting": [advisory.to_json() for advisory in advisories]},
        "minivess": minivess.__version__,
        "intended_use": "Research only; not a medical device.",
    }
    with atomic_folder(folder) as partial:
        copy_for_delivery(bundle, partial / "bundle")
        shutil.copytree(report, partial / "report")
        write_sbom(partial / "sbom.cdx.json", packages, component=(name, version))
        write_json(partial / "licences.json", _licences(packages))
        write_json(partial / "release.json", content)
        sign_folder(partial, private_key)
    return content


def _read_report(report: Path, weights_sha256: str) -> dict[str, Any]:
    file = report / "report.json"
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        models = content["models"].values()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{file} is no evaluation report. Write one: minivess evaluate --help") from error
    if weights_sha256 not in {model.get("weights_sha256") for model in models}:
        raise InputError(f"The report {file} is of another model: its weights are not those of the bundle. Evaluate this one.")
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
