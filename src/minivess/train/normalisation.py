"""Estimate the running statistics of batch normalisation again, for weights that no training step has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine, Events
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import update_bn

from minivess.models.weights import load_weights, read_weights
from minivess.paths import atomic_file
from minivess.train.run import training_workflow

#: File in the folder of a run, by :class:`LastImages`.
IMAGES_NAME = "last_images.safetensors"
_STATISTIC = "running_mean"


class LastImages:
    """A handler that writes the images of the last batches when a training ends, for :func:`reestimate_normalisation`."""

    def __init__(self, path: str, count: int = 60) -> None:
        """Store the settings.

        Args:
            path: Safetensors file: each batch (batch, 1, x, y, z) float32 by its number.
            count: Number of batches.
        """
        self.path = Path(path)
        self._batches: deque[torch.Tensor] = deque(maxlen=count)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _keep(self, engine: Engine) -> None:
        image = engine.state.output["image"]
        self._batches.append(torch.as_tensor(image).detach().float().cpu())

    def _write(self) -> None:
        if self._batches:  # a training that was done already, and is resumed, has none
            batches = {str(n): torch.Tensor(batch).contiguous() for n, batch in enumerate(self._batches)}
            with atomic_file(self.path) as temporary:
                save_file(batches, temporary)


def reestimate_normalisation(bundle: Path, weights: Sequence[Path], *, preset: str, run: Path) -> None:
    """Replace the running statistics in weights files by those of the last batches of a training.

    Interpolated weights need it: the mean of two running statistics is not that of the interpolated network's activations
    (Izmailov et al. 2018, arXiv 1803.05407, section 3.2). Networks without such statistics, and weights of a run that has kept no
    batches, stay as they are.

    Args:
        bundle: The bundle's folder.
        weights: Safetensors files of its network; each is replaced.
        preset: One of :func:`minivess.train.presets`.
        run: Folder of the training.
    """
    files = [file for file in weights if any(_STATISTIC in name for name in read_weights(file)[0])]
    if not files or not (run / IMAGES_NAME).is_file():
        return
    batches = [torch.Tensor(batch) for batch in load_file(run / IMAGES_NAME).values()]
    workflow = training_workflow(bundle, preset, {"bundle_root": str(bundle), "output_dir": str(run)})
    workflow.initialize()
    network, device = (workflow.parser.get_parsed_content(name) for name in ("network", "device"))
    for file in files:
        metadata = read_weights(file)[1]
        load_weights(network, file)
        update_bn(batches, network, device)
        state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
        with atomic_file(file) as temporary:
            save_file(state, temporary, metadata=metadata)
