"""What happens around a training: progress, a log, the best weights, and going on after a kill."""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import set_determinism
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from minivess.errors import WeightsError
from minivess.metrics import compare_masks
from minivess.models.weights import load_weights, read_notes, save_weights
from minivess.paths import atomic_file

#: Environment variable: a line an epoch in place of a bar, as log files and servers want it.
PLAIN_PROGRESS = "MINIVESS_PLAIN_PROGRESS"


class ProgressBar:
    """Show a bar with the loss, the best score and the time left; a line an epoch where nobody looks at a terminal."""

    def __init__(self, evaluator: Engine | None = None) -> None:
        """Take the engine that validates, whose best score is shown."""
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
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
    """Write a row an epoch to a CSV file; a resumed training goes on below the rows that are there."""

    COLUMNS = ("epoch", "iteration", "loss", "validation_dice", "learning_rate", "seconds", "epochs")

    def __init__(self, path: str, optimizer: torch.optim.Optimizer, evaluator: Engine | None = None) -> None:
        """Take the file, and the engines that state the numbers."""
        self.path = Path(path)
        self.optimizer = optimizer
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        self._start = time.monotonic()
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
        rows = [r for r in self._rows() if int(r[0]) < engine.state.epoch]  # an epoch that is run again is logged once
        with atomic_file(self.path) as temporary, temporary.open("w", newline="") as stream:
            csv.writer(stream).writerows([self.COLUMNS, *rows, row])

    def _rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as stream:
            return list(csv.reader(stream))[1:]


class SaveBest:
    """Write the weights whenever the validation score rises; attached to the evaluator."""

    def __init__(self, network: torch.nn.Module, path: str, notes: Mapping[str, Any] | None = None) -> None:
        """Take the network, the safetensors file, and notes that go in it."""
        self.network = network
        self.path = Path(path)
        self.notes = {key: str(value) for key, value in (notes or {}).items()}

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        self.best = self._best_so_far()
        engine.add_event_handler(Events.COMPLETED, self._validated)

    def _validated(self, engine: Engine) -> None:
        score = float(engine.state.metrics["val_dice"])
        if math.isfinite(score) and score > self.best:
            self.best = score
            save_weights(self.network, self.path, {**self.notes, "val_dice": f"{score:.6f}", "epoch": str(engine.state.epoch)})

    def _best_so_far(self) -> float:
        try:
            return float(read_notes(self.path).get("val_dice", -1.0))
        except WeightsError:
            return -1.0


class Resume:
    """Keep the state of a training after each epoch, and go on from it when there is one.

    The file is replaced atomically, which MONAI's CheckpointSaver does not do: a kill while it writes costs one epoch, not
    the training.
    """

    def __init__(self, path: str, objects: Mapping[str, Any]) -> None:
        """Take the file and what has a state: network, optimizer, scheduler. The trainer's own place is kept too."""
        self.path = Path(path)
        self.objects = dict(objects)

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer."""
        engine.add_event_handler(Events.STARTED, self._load)
        # Added late, so that it runs after validation and log: what is saved as done has been validated and logged.
        engine.add_event_handler(Events.STARTED, lambda e: e.add_event_handler(Events.EPOCH_COMPLETED, self._save))

    def _save(self, engine: Engine) -> None:
        state = {name: item.state_dict() for name, item in self.objects.items()}
        place = {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        with atomic_file(self.path) as temporary:
            torch.save({"place": place, **state}, temporary)

    def _load(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, item in self.objects.items():
            item.load_state_dict(state[name])
        engine.state.epoch, engine.state.iteration = state["place"]["epoch"], state["place"]["iteration"]
        print(f"train: resumed after epoch {engine.state.epoch} from {self.path}", file=sys.stderr, flush=True)


def loss_of(engine: Engine) -> float:
    """Read the loss of the last iteration from a MONAI trainer."""
    output = engine.state.output
    first = output[0] if isinstance(output, list) and output else output
    return float(torch.as_tensor(first["loss"]).detach()) if isinstance(first, Mapping) and "loss" in first else math.nan


class InitialWeights:
    """Fill the network with weights before the engine starts; an empty path leaves it as it is."""

    def __init__(self, network: torch.nn.Module, path: str) -> None:
        """Take the network and a safetensors file."""
        self.network = network
        self.path = path

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer or an evaluator."""
        if self.path:
            engine.add_event_handler(Events.STARTED, self._load)

    def _load(self, _: Engine) -> None:
        load_weights(self.network, Path(self.path))


class TensorBoardLog:
    """Write the loss of each iteration and the validation score of each epoch for TensorBoard."""

    def __init__(self, log_dir: str, evaluator: Engine | None = None) -> None:
        """Take the folder and the engine that validates."""
        self.log_dir = log_dir
        self.evaluator = evaluator

    def attach(self, engine: Engine) -> None:
        """Listen to a trainer; the files are opened when it starts, so that building a configuration writes nothing."""
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
    """Write a row of scores for each case that an evaluator sees, and print the table."""

    def __init__(self, path: str) -> None:
        """Take the CSV file."""
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator."""
        self.rows: list[dict[str, Any]] = []
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._case)
        engine.add_event_handler(Events.COMPLETED, self._ended)

    def _case(self, engine: Engine) -> None:
        for item in engine.state.output:
            reference, prediction = (np.asarray(item[key][0].cpu()) > 0 for key in ("label", "pred"))
            meta = item["image"].meta
            spacing = np.linalg.norm(np.asarray(meta["affine"])[:3, :3], axis=0) * (1000.0 if meta["unit"] == "mm" else 1.0)
            scores = compare_masks(reference, prediction, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
            self.rows.append({"case": Path(meta["filename_or_obj"]).name, **scores.to_json()})

    def _ended(self, _: Engine) -> None:
        with atomic_file(self.path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self.rows[0])
            writer.writeheader()
            writer.writerows(self.rows)
        print(self.path.read_text())


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, so that a training can be repeated on the same machine."""
    set_determinism(seed=seed, use_deterministic_algorithms=None)
