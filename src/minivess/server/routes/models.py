"""Replace and delete the weights of a model: ``/model/``. MONAI Label's own handlers would overwrite them with any file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, UploadFile

from minivess.errors import NotFoundError, check_known
from minivess.models import load_bundle, weights_path
from minivess.paths import file_sha256
from minivess.server.dependencies import App, CurrentAccount
from minivess.server.label_app import LabelApp
from minivess.server.roles import requires
from minivess.train import model_before, publish, roll_back
from minivess.train.publishing import keep_previous

router = APIRouter(prefix="/model", tags=["Model"])


@router.put("/{model}", summary="Replace the weights of a model", dependencies=[requires("admin")])
def replace(model: str, file: UploadFile, app: App, account: CurrentAccount) -> dict[str, Any]:
    """Replace the weights by a safetensors file that fits the bundle. The previous ones are kept; an audit entry is written."""
    bundle = _bundle_of(app, model)
    with tempfile.TemporaryDirectory(prefix=".uploaded.", dir=weights_path(bundle).parent) as folder:
        uploaded = Path(folder) / "model.safetensors"
        with uploaded.open("wb") as copy:
            shutil.copyfileobj(file.file, copy)
        load_bundle(bundle, weights=uploaded)  # refuses what is no safetensors file, or made for another network
        before, after = _sha256(bundle), file_sha256(uploaded)
        # The entry first: the model is not replaced when it cannot be written.
        _audit(app, account.name, "model.replaced", model, before=before, sha256=after)
        publish(uploaded, bundle)
    return {"checksum": f"SHA256:{after}", "modified_time": int(weights_path(bundle).stat().st_mtime)}


@router.delete("/{model}", summary="Delete the weights of a model", dependencies=[requires("admin")])
def delete(model: str, app: App, account: CurrentAccount) -> dict[str, Any]:
    """Delete the weights; a copy is kept in the folder of previous weights, and an audit entry is written."""
    bundle = _bundle_of(app, model)
    if not weights_path(bundle).is_file():
        raise NotFoundError(f"The model {model} has no weights.")
    _audit(app, account.name, "model.deleted", model, before=keep_previous(bundle))
    weights_path(bundle).unlink()
    return {}


@router.post("/{model}/roll_back", summary="Go back to the model before", dependencies=[requires("admin")])
def go_back(model: str, app: App, account: CurrentAccount) -> dict[str, Any]:
    """Publish the model before the present one again; repeat it to go further back. An audit entry is written."""
    bundle = _bundle_of(app, model)
    model_before(bundle)  # what is refused is not recorded as done
    _audit(app, account.name, "model.rolled_back", model, before=_sha256(bundle))
    roll_back(bundle)
    if model in app.trainers:
        app.trainers[model].note_roll_back(account.name)
    return {"checksum": f"SHA256:{_sha256(bundle)}", "modified_time": int(weights_path(bundle).stat().st_mtime)}


def _bundle_of(app: LabelApp, model: str) -> Path:
    bundles = {name: task.bundle for name, task in app.models.items() if getattr(task, "bundle", None) is not None}
    check_known("model with weights", model, bundles)
    return Path(bundles[model])


def _sha256(bundle: Path) -> str:
    """Return the SHA-256 of a bundle's weights; empty when there are none."""
    file = weights_path(bundle)
    return file_sha256(file) if file.is_file() else ""


def _audit(app: LabelApp, actor: str, action: str, model: str, **hashes: str) -> None:
    details = {"model": model, **{key: value for key, value in hashes.items() if value}}
    app.datastore().store.journal.audit.append(action, actor=actor, details=details)
