"""Handlers of a training: progress, logs, the best weights, and resuming after an interruption."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from monai.utils import set_determinism
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from minivess.errors import WeightsError
from minivess.metrics import compare_masks, dsc
from minivess.models.weights import load_weights, read_metadata, save_weights
from minivess.paths import atomic_file
from minivess.volume import Volume

#: Environment variable: print one line for each epoch instead of a bar, for log files and servers.
PLAIN_PROGRESS = "MINIVESS_PLAIN_PROGRESS"


class ProgressBar:
    """Show a bar with the loss, the best score and the time left; one line for each epoch without a terminal."""

    def __init__(self, evaluator: Engine | None = None) -> None:
        """Store the engine that validates, whose best score is shown."""
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if not is_first_process():
            return
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._ended)

    def _started(self, engine: Engine) -> None:
        self._start, self._first = time.monotonic(), engine.state.iteration
        self._total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        plain = not sys.stderr.isatty() or bool(os.environ.get(PLAIN_PROGRESS))
        self._bar = None if plain else tqdm(total=self._total, initial=self._first, desc="train", unit="it", dynamic_ncols=True)

    def _iteration(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._score(engine), refresh=False)
            self._bar.update()

    def _epoch(self, engine: Engine) -> None:
        if self._bar is None:
            done = engine.state.iteration
            left = (time.monotonic() - self._start) / max(1, done - self._first) * (self._total - done)
            epoch = f"epoch {engine.state.epoch}/{engine.state.max_epochs}"
            print(f"train: {epoch}, {self._score(engine)}, about {left:.0f} s left", file=sys.stderr, flush=True)

    def _ended(self, _: Engine) -> None:
        if self._bar is not None:
            self._bar.close()

    def _score(self, engine: Engine) -> str:
        best = getattr(self.evaluator.state, "best_metric", -1.0) if self.evaluator is not None else -1.0
        return f"loss {loss_of(engine):.3f}" + (f", best validation Dice {best:.3f}" if best >= 0 else "")


class CsvLog:
    """Write one row for each epoch to a CSV file; a resumed training appends to the existing rows."""

    COLUMNS = ("epoch", "iteration", "loss", "validation_dice", "learning_rate", "seconds", "epochs")

    def __init__(self, path: str, optimizer: torch.optim.Optimizer, evaluator: Engine | None = None) -> None:
        """Store the file and the sources of the numbers.

        Args:
            path: The CSV file.
            optimizer: Its learning rate is logged.
            evaluator: Engine that validates, whose ``val_dice`` is logged.
        """
        self.path = Path(path)
        self.optimizer = optimizer
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        self._start = time.monotonic()
        if is_first_process():
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _epoch(self, engine: Engine) -> None:
        scores = self.evaluator.state.metrics if self.evaluator is not None else {}
        row = (
            engine.state.epoch,
            engine.state.iteration,
            f"{loss_of(engine):.5f}",
            f"{scores['val_dice']:.5f}" if "val_dice" in scores else "",
            f"{self.optimizer.param_groups[0]['lr']:.3g}",
            f"{time.monotonic() - self._start:.1f}",
            engine.state.max_epochs,
        )
        rows = [r for r in self._rows() if int(r[0]) < engine.state.epoch]  # a repeated epoch is logged once
        with atomic_file(self.path) as temporary, temporary.open("w", newline="") as stream:
            csv.writer(stream).writerows([self.COLUMNS, *rows, row])

    def _rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as stream:
            return list(csv.reader(stream))[1:]


class SaveBest:
    """Write the weights whenever the validation score improves; attached to the evaluator."""

    def __init__(self, network: torch.nn.Module, path: str, notes: Mapping[str, Any] | None = None) -> None:
        """Store the settings.

        Args:
            network: The network whose weights are written.
            path: The safetensors file.
            notes: Metadata to write with the weights, besides score and epoch.
        """
        self.network = network
        self.path = Path(path)
        self.metadata = {key: str(value) for key, value in (notes or {}).items()}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        self.best = self._best_so_far()
        if self.best >= 0:  # a training that goes on: the progress shows the best score of before, and no worse one
            engine.state.best_metric, engine.state.best_metric_epoch = self.best, 0
        if is_first_process():
            engine.add_event_handler(Events.COMPLETED, self._validated)

    def _validated(self, engine: Engine) -> None:
        score = float(engine.state.metrics["val_dice"])
        if math.isfinite(score) and score > self.best:
            self.best = score
            metadata = {**self.metadata, "val_dice": f"{score:.6f}", "epoch": str(engine.state.epoch)}
            save_weights(self.network, self.path, metadata)

    def _best_so_far(self) -> float:
        try:
            return float(read_metadata(self.path).get("val_dice", -1.0))
        except WeightsError:
            return -1.0


class Resume:
    """Save the state of a training after each epoch, and resume from it when the file exists."""

    # Not ignite.handlers.Checkpoint, which MONAI's CheckpointSaver wraps: with one file of a fixed name it deletes the old file
    # before it writes the new one, so a kill in between loses the training; and its DiskSaver(atomic=True) does not fsync, so a
    # power cut can leave an empty file.

    def __init__(self, path: str, objects: Mapping[str, Any]) -> None:
        """Store the settings.

        Args:
            path: The file; it is replaced atomically.
            objects: Name -> object with a state: network, optimizer, scheduler. Epoch and iteration are saved too.
        """
        self.path = Path(path)
        self.objects = dict(objects)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._load)
        # Added at the start, to run after the handlers of validation and log: a saved epoch was validated and logged.
        if is_first_process():
            engine.add_event_handler(Events.STARTED, lambda e: e.add_event_handler(Events.EPOCH_COMPLETED, self._save))

    def _save(self, engine: Engine) -> None:
        state = {name: unwrapped(item).state_dict() for name, item in self.objects.items()}
        progress = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        with atomic_file(self.path) as temporary:
            torch.save({"place": progress, **state}, temporary)

    def _load(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, item in self.objects.items():
            unwrapped(item).load_state_dict({**state[name], **_length_of(item)})
        engine.state.epoch, engine.state.iteration = state["place"]["epoch"], state["place"]["iteration"]
        print(f"train: resumed after epoch {engine.state.epoch} from {self.path}", file=sys.stderr, flush=True)


def _length_of(item: Any) -> dict[str, Any]:
    """Return what a learning-rate schedule knows of its length: a resumed training may have another number of epochs."""
    state = item.state_dict() if isinstance(item, torch.optim.lr_scheduler.LRScheduler) else {}
    return {key: state[key] for key in ("total_steps", "_schedule_phases") if key in state}


def is_first_process() -> bool:
    """Return whether this is the process that writes: the only one, or the first of several on several GPUs."""
    return not dist.is_initialized() or dist.get_rank() == 0


def unwrapped(item: Any) -> Any:
    """Return the network inside of one that is trained by several processes; anything else as it is."""
    return item.module if isinstance(item, DistributedDataParallel) else item


def loss_of(engine: Engine) -> float:
    """Return the loss of the last iteration of a MONAI trainer; NaN when it has none."""
    output = engine.state.output
    first = output[0] if isinstance(output, list) and output else output
    return float(torch.as_tensor(first["loss"]).detach()) if isinstance(first, Mapping) and "loss" in first else math.nan


class InitialWeights:
    """Load weights into the network before the engine starts; with an empty path the network stays unchanged."""

    def __init__(self, network: torch.nn.Module, path: str) -> None:
        """Store the settings.

        Args:
            network: The network to fill.
            path: A safetensors file, or an empty string.
        """
        self.network = network
        self.path = path

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator."""
        if self.path:
            engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, _: Engine) -> None:
        load_weights(unwrapped(self.network), Path(self.path))


class ValidationDice(Metric):
    """The mean Dice over the validation cases, by the function that ``minivess evaluate`` uses.

    MONAI's MeanDice leaves out cases without vessel, so that false voxels there would cost nothing.
    """

    def reset(self) -> None:
        """Begin a validation."""
        self._scores: list[float] = []

    def update(self, output: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Score the cases of one iteration: ``pred`` and ``label`` of each, (1, x, y, z)."""
        for case in output:
            reference, prediction = (np.asarray(case[key][0].cpu()) > 0 for key in ("label", "pred"))
            self._scores.append(dsc(reference, prediction))

    def compute(self) -> float:
        """Return the mean, in [0, 1]."""
        return float(np.mean(self._scores))


class TensorBoardLog:
    """Write the loss of each iteration and the validation score of each epoch for TensorBoard."""

    # Not monai.handlers.TensorBoardStatsHandler: it opens its files in the constructor, and building a configuration must not
    # write any. It also logs only one engine, so that validation would need a second handler.

    def __init__(self, log_dir: str, evaluator: Engine | None = None) -> None:
        """Store the settings.

        Args:
            log_dir: Folder of the TensorBoard files.
            evaluator: Engine that validates, whose metrics are logged.
        """
        self.log_dir = log_dir
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer; the files are opened when it starts."""
        if not is_first_process():
            return
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._ended)

    def _started(self, _: Engine) -> None:
        self._writer = SummaryWriter(self.log_dir)

    def _iteration(self, engine: Engine) -> None:
        self._writer.add_scalar("loss", loss_of(engine), engine.state.iteration)

    def _epoch(self, engine: Engine) -> None:
        for name, value in (self.evaluator.state.metrics if self.evaluator is not None else {}).items():
            self._writer.add_scalar(name, float(value), engine.state.iteration)
        self._writer.flush()

    def _ended(self, _: Engine) -> None:
        self._writer.close()


class ScoreTable:
    """Write one row of scores for each case of an evaluator, and print the table."""

    def __init__(self, path: str) -> None:
        """Store the path of the CSV file."""
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        self.rows: list[dict[str, Any]] = []
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)
        engine.add_event_handler(Events.COMPLETED, self._ended)

    def _case(self, engine: Engine) -> None:
        for item in engine.state.output:
            reference, prediction = (np.asarray(item[key][0].cpu()) > 0 for key in ("label", "pred"))
            meta = item["image"].meta
            spacing_um = Volume(reference, np.asarray(meta["affine"]), meta["unit"]).spacing_um
            scores = compare_masks(reference, prediction, spacing_um)
            self.rows.append({"case": Path(meta["filename_or_obj"]).name, **scores.to_json()})

    def _ended(self, _: Engine) -> None:
        with atomic_file(self.path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        print(self.path.read_text())


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, so that a training is reproducible on the same machine."""
    set_determinism(seed=seed, use_deterministic_algorithms=None)
