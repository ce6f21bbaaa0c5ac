"""Soft targets: the model before is the target where nobody has looked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minivess.models import save_weights
from minivess.train.loss import VesselLoss
from minivess.train.soft_targets import WithSoftTargets

CPU = torch.device("cpu")


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3, padding=1), torch.nn.BatchNorm3d(1))


def batch(known: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    label = (torch.rand(2, 1, 8, 8, 8) > 0.5).float()
    if not known:
        label[:, :, :4] = -1
    return {"image": torch.randn(2, 1, 8, 8, 8), "label": label}


@pytest.fixture
def weights(tmp_path: Path) -> str:
    save_weights(network(1), tmp_path / "before.safetensors", {})
    return str(tmp_path / "before.safetensors")


def test_the_model_before_gives_the_second_channel_and_never_changes(weights: str) -> None:
    trained = network(2)
    prepare = WithSoftTargets(trained, weights, 2.0)
    image, target = prepare(batch(known=False), CPU)
    expected = torch.sigmoid(network(1).eval()(image))
    torch.testing.assert_close(target[:, 1:], expected)
    trained.train()
    torch.optim.SGD(trained.parameters(), 1.0).zero_grad()
    VesselLoss(soft_weight=2.0)(trained(image), target).backward()
    torch.optim.SGD(trained.parameters(), 1.0).step()
    torch.testing.assert_close(prepare(batch(known=False), CPU)[1][:, 1:], expected)


@pytest.mark.parametrize(("known", "weight"), [(True, 2.0), (False, 0.0)])
def test_a_batch_that_is_reviewed_as_a_whole_and_a_weight_of_0_need_none(weights: str, known: bool, weight: float) -> None:
    _, target = WithSoftTargets(network(2), weights, weight)(batch(known), CPU)
    assert target.shape[1] == 1
    assert WithSoftTargets(network(2), "", 2.0)(batch(known=False), CPU)[1].shape[1] == 1


def test_loss__soft_targets_draw_only_where_nobody_has_looked() -> None:
    label = batch(known=False)["label"]
    soft = torch.full_like(label, 0.9)
    logits = torch.zeros_like(label, requires_grad=True)
    VesselLoss(soft_weight=2.0)(logits, torch.cat([label, soft], 1)).backward()
    gradient = logits.grad
    assert gradient is not None
    assert (gradient[:, :, :4] < 0).all()  # towards 0.9
    alone = torch.zeros_like(label, requires_grad=True)
    VesselLoss()(alone, label).backward()
    assert alone.grad is not None
    torch.testing.assert_close(gradient[:, :, 4:], alone.grad[:, :, 4:])
    assert (alone.grad[:, :, :4] == 0).all()
    at_target = torch.full_like(label, float(torch.logit(torch.tensor(0.9))), requires_grad=True)
    VesselLoss(soft_weight=2.0)(at_target, torch.cat([label, soft], 1)).backward()
    assert at_target.grad is not None
    assert at_target.grad[:, :, :4].abs().max() < 1e-6


def test_a_rehearsed_case_is_a_soft_target_everywhere(weights: str) -> None:
    given = {**batch(known=True), "rehearsed": torch.tensor([False, True])}
    _, target = WithSoftTargets(network(2), weights, 2.0)(given, CPU)
    torch.testing.assert_close(target[0, 0], given["label"][0, 0])
    assert (target[1, 0] == -1).all()
    assert (given["label"] >= 0).all()  # the batch is not changed
