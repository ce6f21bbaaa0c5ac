"""Batches of clicks and of wrong concepts: what the target is, and what the network is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.engines import default_prepare_batch
from small_bundles import BUNDLES, network_of, small_bundle

from minivess.train.prompted_batches import WithClicks, WithWrongConcepts

CPU = torch.device("cpu")


def batch() -> dict[str, torch.Tensor]:
    label = torch.zeros(2, 1, 16, 16, 8)
    label[:, :, 2:4] = 1
    label[:, :, 10:12] = 1
    label[:, :, :, 15] = -1
    return {"image": torch.rand(2, 1, 16, 16, 8), "label": label}


def test_the_target_of_a_click_is_the_vessel_at_the_click_alone() -> None:
    image, target, _, arguments = WithClicks(default_prepare_batch, share=1.0)(batch(), CPU)
    label = batch()["label"]
    for one, wanted, points in zip(label, target, arguments["points"], strict=True):
        point = tuple(points[0].tolist())
        assert one[0][point] == 1
        assert wanted[0][point] == 1
        assert (wanted[0, 2:4, :15] == 1).all() != (wanted[0, 10:12, :15] == 1).all()
        assert torch.equal(wanted < 0, one < 0)
    assert image.shape == target.shape
    assert arguments["point_labels"].tolist() == [[1], [1]]


@pytest.mark.parametrize(
    "prepare", [WithClicks(default_prepare_batch, share=0.0), WithWrongConcepts(default_prepare_batch, [], share=1.0)]
)
def test_without_a_share_or_concepts_batches_stay_as_they_are(prepare: WithClicks | WithWrongConcepts) -> None:
    assert len(prepare(batch(), CPU)) == 2


def test_a_patch_without_vessel_gets_no_click() -> None:
    empty = batch() | {"label": torch.zeros(2, 1, 16, 16, 8)}
    assert len(WithClicks(default_prepare_batch, share=1.0)(empty, CPU)) == 2


def test_shares_are_kept_over_many_batches() -> None:
    prepare = WithClicks(default_prepare_batch, share=0.25)
    assert np.mean([len(prepare(batch(), CPU)) == 4 for _ in range(200)]) == pytest.approx(0.25, abs=0.1)


def test_a_wrong_concept_has_an_empty_target() -> None:
    _, target, _, arguments = WithWrongConcepts(default_prepare_batch, ["noise"], share=1.0)(batch(), CPU)
    assert arguments == {"concept": "noise"}
    assert set(target.unique().tolist()) == {-1.0, 0.0}


def test_the_networks_take_what_the_batches_ask(tmp_path: Path) -> None:
    vista = network_of(small_bundle(BUNDLES / "vista3d", tmp_path / "vista3d", weights=False)).eval()
    image, target, _, arguments = WithClicks(default_prepare_batch, share=1.0)(batch(), CPU)
    assert vista(image, **arguments).shape == target.shape
    sam = network_of(small_bundle(BUNDLES / "sam3_lora", tmp_path / "sam3_lora", weights=False)).eval()
    with torch.inference_mode():
        assert not torch.equal(sam(image), sam(image, concept="noise"))
