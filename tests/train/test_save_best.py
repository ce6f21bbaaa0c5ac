"""The best score so far survives an interruption: in the weights that are kept, and in what the progress shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine

from minivess.models import read_metadata, save_weights
from minivess.train.handlers import SaveBest


@pytest.mark.parametrize(("score", "best"), [(0.5, 0.9), (1.0, 1.0)])
def test_a_training_that_goes_on_keeps_and_shows_the_best_score_of_before(tmp_path: Path, score: float, best: float) -> None:
    network, file = torch.nn.Identity(), tmp_path / "model.safetensors"
    save_weights(torch.nn.Conv3d(1, 1, 1), file, {"val_dice": "0.900000"})
    label = torch.ones(1, 1, 4, 4, 2)
    image = label.clone()
    if score < 1:
        image[..., :3, :, :] = 0  # 8 of 32 voxels are found: Dice 0.4
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[{"image": image, "label": label}],
        network=network,
        key_val_metric={"val_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[SaveBest(torch.nn.Conv3d(1, 1, 1), str(file))],
    )
    assert evaluator.state.best_metric == 0.9
    evaluator.run()
    assert evaluator.state.metrics["val_dice"] <= score
    assert evaluator.state.best_metric == best
    assert float(read_metadata(file)["val_dice"]) == best
