"""Send what waits in the spool to MLflow. Every step can be repeated: what was sent before a fault is not doubled."""

from __future__ import annotations

import csv
import fcntl
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import minivess
from minivess.errors import InputError, RemoteError
from minivess.models import INFERENCE_HASH, weights_path
from minivess.models.bundle import inference_sha256
from minivess.paths import file_sha256
from minivess.track.spool import Spool

EXPERIMENT = "minivess"
_ID_TAG = "minivess.spool_id"
_BATCH = 1000
_MODELS = "bundle/models"
#: MLflow answers these to what it will never take.
_REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
#: What it takes in the name of a parameter, and of a model.
_NOT_IN_NAMES, _NOT_IN_MODELS = re.compile(r"[^\w.\-/ ]"), re.compile(r"[/:'\"]")


def send_all(client: Any, spool: Spool) -> list[str]:
    """Send every entry, oldest first, and remove each that the server has completely.

    Args:
        client: Of :func:`minivess.track.client.connect`.
        spool: The spool.

    Returns:
        Ids of the entries that were sent.

    Raises:
        RemoteError: When the server is away or answers something else; the rest stays in the spool.
        InputError: When what an entry names is gone; the entry was put aside, and all others were sent.
    """
    sent, gone = [], []
    with _one_sender(spool) as alone:
        for file in _waiting(spool) if alone else ():
            try:
                entry = spool.read(file)
                if entry is None:
                    continue
                _send(client, entry)
            except Exception as error:  # MLflow raises its own errors, and those of requests and of the operating system
                if isinstance(error, InputError) or _is_refused(error):
                    aside = file.rename(file.with_suffix(".unsendable"))  # what nobody will ever take must not hold up the others
                    gone.append(f"{_first_line(error)} The entry was put aside as {aside.name}.")
                    continue
                waiting = len(list(spool.folder.glob("*.json")))
                raise RemoteError(
                    f"MLflow did not take it: {_first_line(error)}. {waiting} trainings wait in {spool.folder}."
                ) from error
            file.unlink()
            sent.append(entry["id"])
    if gone:
        raise InputError(f"{len(sent)} trainings were sent. {' '.join(gone)}")
    return sent


def _is_refused(error: Exception) -> bool:
    """Return whether MLflow itself has refused an entry: a proxy's page with status 400 is no answer of MLflow."""
    from mlflow.exceptions import RestException

    return isinstance(error, RestException) and error.error_code in _REFUSED


def _waiting(spool: Spool) -> Iterator[Path]:
    """Return the entries, oldest first; those that come while others are sent, too: who wrote them found the lock taken."""
    seen = set[Path]()
    while new := [file for file in spool.files() if file not in seen]:
        seen |= set(new)
        yield from new


@contextmanager
def _one_sender(spool: Spool) -> Iterator[bool]:
    """Hold the lock of the spool; yield False when somebody else sends."""
    spool.folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(spool.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _send(client: Any, entry: dict[str, Any]) -> None:
    from mlflow.entities import Param, RunTag

    bundle, weights, folder = Path(entry["bundle"]), Path(entry["weights"]), Path(entry["run"])
    if not (weights.is_file() and (bundle / "configs").is_dir()):
        raise InputError(f"The trained bundle {bundle} or its weights are gone.")
    run_id = _find_or_create_run(client, entry)
    if not client.get_run(run_id).data.params:
        params = [Param(_NOT_IN_NAMES.sub("_", key), value[:500]) for key, value in entry["params"].items()]
        client.log_batch(run_id, params=params)
    digest = file_sha256(weights)
    tags = [
        RunTag("weights_sha256", digest),
        RunTag("minivess", minivess.__version__),
        RunTag("published", str(entry["published"])),
        *([RunTag("group", entry["group"])] if entry.get("group") else []),
    ]
    client.log_batch(run_id, tags=tags)
    metrics = [*_curves(folder, entry["start_ms"]), *_scores(entry)]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    client.log_dict(run_id, _data(entry), "data.json")
    client.log_text(run_id, "\n".join(sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions())), "environment.txt")
    if entry["published"]:
        there = {artifact.path for artifact in client.list_artifacts(run_id, _MODELS)}
        if f"{_MODELS}/{weights_path(bundle).name}" not in there:
            _send_bundle(client, run_id, bundle, weights, entry.get("configs", {}))
        hashes = {"weights_sha256": digest, INFERENCE_HASH: entry.get(INFERENCE_HASH) or inference_sha256(bundle)}
        _register(client, _NOT_IN_MODELS.sub("_", entry["name"]), run_id, hashes)
    client.set_terminated(run_id, "FINISHED", end_time=entry["end_ms"])


def _send_bundle(client: Any, run_id: str, bundle: Path, weights: Path, configs: Mapping[str, str]) -> None:
    """Send the bundle with the weights and the configuration of this training, whatever model it has now.

    The weights go last: they say that all is there.
    """
    with tempfile.TemporaryDirectory(prefix="minivess_send.") as folder:
        kept = {name: text for name, text in configs.items() if Path(name).name == name}
        for name, text in kept.items():
            (Path(folder) / name).write_bytes(text.encode())
        parts = {"configs": Path(folder) if kept else bundle / "configs", "docs": bundle / "docs"}
        for part, content in parts.items():
            if content.is_dir():
                client.log_artifacts(run_id, str(content), f"bundle/{part}")
    for name in ("LICENSE", "large_files.yml"):
        if (bundle / name).is_file():
            client.log_artifact(run_id, str(bundle / name), "bundle")
    current = weights_path(bundle)
    if current.is_file() and file_sha256(current) == file_sha256(weights):
        for companion in sorted(current.parent.glob("*.json")):  # zones and training data
            client.log_artifact(run_id, str(companion), _MODELS)
    with tempfile.TemporaryDirectory(prefix="minivess_send.") as folder:
        client.log_artifact(run_id, str(shutil.copyfile(weights, Path(folder) / current.name)), _MODELS)


def _find_or_create_run(client: Any, entry: dict[str, Any]) -> str:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    found = client.search_runs([number], f"tags.`{_ID_TAG}` = '{entry['id']}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    run = client.create_run(
        number, start_time=entry["start_ms"], tags={_ID_TAG: entry["id"]}, run_name=Path(entry["bundle"]).name
    )
    return str(run.info.run_id)


def _scores(entry: dict[str, Any]) -> list[Any]:
    """Return the scores on held-out cases."""
    from mlflow.entities import Metric

    scores = {name: value for name, value in entry.get("scores", {}).items() if math.isfinite(value)}
    return [Metric(f"held_out_{name}", value, entry["end_ms"], 0) for name, value in scores.items()]


def _curves(folder: Path, start_ms: int) -> list[Any]:
    """Return the curves of a training; the same file gives the same points, which the server stores once."""
    from mlflow.entities import Metric

    log = folder / "log.csv"
    if not log.is_file():
        return []
    with log.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    points = []
    for row in rows:
        try:
            at_ms, epoch = start_ms + round(1000 * float(row["seconds"] or 0)), int(row["epoch"])
            values = {name: float(row[name]) for name in ("loss", "validation_dice", "learning_rate") if row.get(name)}
        except (KeyError, TypeError, ValueError):  # a row that a killed training has not written to its end
            continue
        points += [Metric(name, value, at_ms, epoch) for name, value in values.items() if math.isfinite(value)]
    return points


def _data(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the cases with the hashes of their files; a file that is gone has none."""
    return {
        section: [
            {
                **row,
                **{f"{kind}_sha256": file_sha256(Path(row[kind])) for kind in ("image", "label") if Path(row[kind]).is_file()},
            }
            for row in rows
        ]
        for section, rows in entry["cases"].items()
    }


def _register(client: Any, name: str, run_id: str, tags: dict[str, str]) -> None:
    """Add a version to the registry and call it challenger; a version of this run is there once."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = [v for v in client.search_model_versions(f"name = '{name}'") if v.run_id == run_id]
    version = versions[0] if versions else client.create_model_version(name, f"runs:/{run_id}/bundle", run_id=run_id, tags=tags)
    client.set_registered_model_alias(name, "challenger", version.version)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
