"""Exchange labels with MONAI Label's own datastore: import once at the first start, export on request. Nothing is deleted."""

from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path
from typing import Any

from minivess.errors import ConflictError, DamagedLabelError, InputError, MinivessError
from minivess.paths import atomic_file, file_sha256, write_json
from minivess.store.label_check import LABEL_SUFFIXES
from minivess.store.records import Case, RevisionInfo
from minivess.store.store import LabelStore
from minivess.volume.io import stem_of, suffix_of

INDEX_NAME = "datastore_v2.json"
LABELS = "labels"
REPORT = "import.json"
ACTOR = "import"
_logger = logging.getLogger(__name__)


def import_once(store: LabelStore) -> dict[str, Any] | None:
    """Import the labels that MONAI Label has stored in ``labels/``, when the store is opened for the first time.

    Facts about images and labels are read from MONAI Label's index; when it is damaged, the label files are imported without.

    Returns:
        Number of imported labels, refused files with the reason, and whether the index was readable; also written to
        ``import.json``. None when the import was done before, or there is no ``labels`` folder.

    Raises:
        OutputError: When ``import.json`` cannot be written.
    """
    report_path = store.root / REPORT
    folder = store.studies / LABELS
    if report_path.exists() or not folder.is_dir():
        return None
    known = _read_index(store.studies / INDEX_NAME)
    report: dict[str, Any] = {"imported": 0, "refused": {}, "index": known is not None}
    cases = {stem_of(case.image): case for case in store.images.all() if case.image.parent == store.studies}
    _import_infos(store, cases, known or {}, report["refused"])
    for file in sorted(f for f in folder.glob("*/*") if suffix_of(f) in LABEL_SUFFIXES):
        tag, case = file.parent.name, cases.get(stem_of(file))
        try:
            if case is None:
                raise InputError("there is no image with this name in the studies")
            info = _label_info(known or {}, stem_of(file), tag)
            store.submit(
                file, image_id=case.id, actor=ACTOR, tag=tag, label_info=info.get("label_info"), may_be_empty=True,
                info=RevisionInfo(imported=True, params=info),
            )  # fmt: skip
            report["imported"] += 1
        except ConflictError:
            report["imported"] += 1
        except MinivessError as error:
            report["refused"][f"{tag}/{file.name}"] = str(error)
            _logger.warning("label %s of tag %s was not imported: %s", file.name, tag, error)
    write_json(report_path, report)
    refused = len(report["refused"])
    _logger.info("%d labels were imported from MONAI Label, %d refused; see %s", report["imported"], refused, report_path)
    return report


def export(store: LabelStore, folder: Path) -> dict[str, Any]:
    """Write the current labels in MONAI Label's layout: ``labels/<tag>/<image>.nii.gz`` and ``datastore_v2.json``.

    What is written beside the images is never imported again.

    Args:
        store: The store.
        folder: The studies folder, or another folder, into which the images are copied too.

    Returns:
        ``images`` and ``labels``: number of files written. ``put_aside``: number of existing files with other content, which
        were renamed to ``*.replaced-N``. ``left_out``: number of images in sub-folders of the studies, which MONAI Label does
        not find there; 0 for another folder. ``refused``: image id, or tag and image id, -> why it could not be read.

    Raises:
        InputError: When the folder is inside the studies: its images would be found there a second time.
        OutputError: When a file cannot be written.
    """
    counts: dict[str, Any] = {"images": 0, "labels": 0, "put_aside": 0, "left_out": 0, "refused": {}}
    objects = {}
    in_place = folder.resolve() == store.studies
    if not in_place and folder.resolve().is_relative_to(store.studies):
        raise InputError(f"{folder} is inside the studies: its images would be listed twice. Name a folder outside.")
    if in_place:
        import_once(store)  # labels that are there and were not looked at yet
    for case in store.images.all():
        suffix = suffix_of(case.image)
        if in_place and case.image != store.studies / f"{case.id}{suffix}":
            counts["left_out"] += 1  # a copy at the top of the studies would become a second case
            continue
        if not case.image.is_file():
            counts["refused"][case.id] = "its image is not there: it was not downloaded, or was removed meanwhile"
            continue
        if not in_place:
            written, renamed = _copy(case.image, folder / f"{case.id}{suffix}")
            counts["images"] += written
            counts["put_aside"] += renamed
        labels = {}
        for tag, revision in store.heads(case.id).items():
            target = folder / LABELS / tag / f"{case.id}.nii.gz"
            try:
                written, renamed = _copy(store.label_file(revision), target)
            except DamagedLabelError as error:
                counts["refused"][f"{tag}/{case.id}"] = str(error)
                continue
            counts["labels"] += written
            counts["put_aside"] += renamed
            labels[tag] = {"ext": ".nii.gz", "info": {**revision.info.params, "name": target.name}}
        objects[case.id] = {"image": {"ext": suffix, "info": case.info}, "labels": labels}
    index = folder / INDEX_NAME
    content = {"name": "minivess", "description": "", "images_dir": ".", "labels_dir": LABELS, "objects": objects}
    counts["put_aside"] += _write_index(index, content)
    if in_place and not (store.root / REPORT).exists():
        write_json(store.root / REPORT, {"imported": 0, "refused": {}, "index": False})
    return counts


def _write_index(path: Path, content: dict[str, Any]) -> int:
    """Write MONAI Label's index, unless it is there already; return the number of files that were renamed for it."""
    if path.is_file() and _read_index(path) == content["objects"]:
        return 0
    renamed = _rename_existing(path)
    write_json(path, content)
    return renamed


def _read_index(path: Path) -> dict[str, Any] | None:
    try:
        # MONAI Label writes NaN, which is no JSON: a note without a number is no reason to refuse a label.
        content = json.loads(path.read_text(), parse_constant=lambda _: None, parse_float=_finite)
        rows = dict(content["objects"])
        return {name: {**row, "labels": dict(row.get("labels") or {})} for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _logger.warning("%s cannot be read (%r); the label files are imported without it", path.name, error)
        return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _import_infos(store: LabelStore, cases: dict[str, Case], known: dict[str, Any], refused: dict[str, str]) -> None:
    for name, case in cases.items():
        image = (known.get(name) or {}).get("image") or {}
        info = {k: v for k, v in _as_dict(_as_dict(image).get("info")).items() if k not in ("strategy", "path")}
        try:
            if info:
                store.images.update_info(case.id, info, actor=ACTOR)
        except InputError as error:
            refused[f"{INDEX_NAME}: {name}"] = str(error)


def _label_info(known: dict[str, Any], name: str, tag: str) -> dict[str, Any]:
    return _as_dict(_as_dict((known.get(name) or {}).get("labels", {}).get(tag)).get("info"))


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _copy(source: Path, target: Path) -> tuple[int, int]:
    """Copy a file unless the target has the same content; rename a target with other content. Return both counts, 0 or 1."""
    if target.exists() and file_sha256(target) == file_sha256(source):
        return 0, 0
    renamed = _rename_existing(target)
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
    return 1, renamed


def _rename_existing(path: Path) -> int:
    if not path.exists():
        return 0
    number = 1
    while (other := path.with_name(f"{path.name}.replaced-{number}")).exists():
        number += 1
    path.rename(other)
    return 1
