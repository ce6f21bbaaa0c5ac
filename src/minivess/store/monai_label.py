"""A MONAI Label studies folder: its labels are taken over on first start, and written back on request. Nothing is deleted."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, InputError, MinivessError
from minivess.paths import atomic_file, sha256_of, write_json
from minivess.store.model import Case
from minivess.store.store import LabelStore
from minivess.store.submission import LABEL_SUFFIXES
from minivess.volume.io import stem_of, suffix_of

INDEX_NAME = "datastore_v2.json"
LABELS = "labels"
REPORT = "import.json"
ACTOR = "import"
_logger = logging.getLogger(__name__)


def import_once(store: LabelStore) -> dict[str, Any] | None:
    """Take over the labels that MONAI Label has left beside the images, the first time the store is opened.

    Its index is used for what it says of them; where it is damaged, the files alone are enough.

    Returns:
        What was imported and what was refused, and why; None where it was done before, or there is nothing.
    """
    report_path = store.root / REPORT
    folder = store.studies / LABELS
    if report_path.exists() or not folder.is_dir():
        return None
    known = _index(store.studies / INDEX_NAME)
    report: dict[str, Any] = {"imported": 0, "refused": {}, "index": known is not None}
    cases = {stem_of(case.image): case for case in store.images.all() if case.image.parent == store.studies}
    _import_infos(store, cases, known or {})
    for file in sorted(f for f in folder.glob("*/*") if suffix_of(f) in LABEL_SUFFIXES):
        tag, case = file.parent.name, cases.get(stem_of(file))
        try:
            if case is None:
                raise InputError("there is no image of this name in the studies")
            info = _info(known or {}, stem_of(file), tag)
            store.submit(
                file, case_id=case.id, actor=ACTOR, tag=tag, label_info=info.get("label_info"), may_be_empty=True,
                info={"imported": True, "params": info},
            )  # fmt: skip
            report["imported"] += 1
        except ConflictError:
            report["imported"] += 1
        except MinivessError as error:
            report["refused"][f"{tag}/{file.name}"] = str(error)
            _logger.warning("label %s of tag %s was not imported: %s", file.name, tag, error)
    write_json(report_path, report)
    refused = len(report["refused"])
    _logger.info("%d labels were taken over from MONAI Label, %d refused; see %s", report["imported"], refused, report_path)
    return report


def export(store: LabelStore, folder: Path) -> dict[str, int]:
    """Write the labels that count now as MONAI Label keeps them: ``labels/<tag>/<image>.nii.gz`` and ``datastore_v2.json``.

    Args:
        store: The store.
        folder: The studies themselves, or another folder, which gets copies of the images.

    Returns:
        How many images and labels were written, and how many files that differed were put aside as ``*.replaced-N``. Left out
        are, when writing to the studies themselves, images that MONAI Label does not find there: those in sub-folders.
    """
    counts = {"images": 0, "labels": 0, "put_aside": 0, "left_out": 0}
    objects = {}
    in_place = folder.resolve() == store.studies
    for case in store.images.all():
        suffix = suffix_of(case.image)
        if in_place and case.image != store.studies / f"{case.id}{suffix}":
            counts["left_out"] += 1  # a copy of the image at the top would be a second case
            continue
        if not (folder / f"{case.id}{suffix}").exists():
            counts["images"] += _copy(case.image, folder / f"{case.id}{suffix}")[0]
        labels = {}
        for tag, revision in store.heads(case.id).items():
            target = folder / LABELS / tag / f"{case.id}.nii.gz"
            written, aside = _copy(revision.path, target)
            counts["labels"] += written
            counts["put_aside"] += aside
            labels[tag] = {"ext": ".nii.gz", "info": {**revision.info.get("params", {}), "name": target.name}}
        objects[case.id] = {"image": {"ext": suffix, "info": case.info}, "labels": labels}
    index = folder / INDEX_NAME
    content = {"name": "minivess", "description": "", "images_dir": ".", "labels_dir": LABELS, "objects": objects}
    counts["put_aside"] += _put_aside(index)
    write_json(index, content)
    return counts


def _index(path: Path) -> dict[str, Any] | None:
    try:
        rows = dict(json.loads(path.read_text())["objects"])
        return {name: {**row, "labels": dict(row.get("labels") or {})} for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _logger.warning("%s cannot be read (%r); the label files are taken over without it", path.name, error)
        return None


def _import_infos(store: LabelStore, cases: dict[str, Case], known: dict[str, Any]) -> None:
    for name, case in cases.items():
        image = (known.get(name) or {}).get("image") or {}
        info = {k: v for k, v in _as_dict(_as_dict(image).get("info")).items() if k not in ("strategy", "path")}
        if info:
            store.images.update_info(case.id, info, actor=ACTOR)


def _info(known: dict[str, Any], name: str, tag: str) -> dict[str, Any]:
    return _as_dict(_as_dict((known.get(name) or {}).get("labels", {}).get(tag)).get("info"))


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _copy(source: Path, target: Path) -> tuple[int, int]:
    """Copy a file; the one that was there is kept under another name where it differs."""
    if target.exists() and sha256_of(target) == sha256_of(source):
        return 0, 0
    aside = _put_aside(target)
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
    return 1, aside


def _put_aside(path: Path) -> int:
    if not path.exists():
        return 0
    number = 1
    while (other := path.with_name(f"{path.name}.replaced-{number}")).exists():
        number += 1
    path.rename(other)
    return 1
