"""SAM 3: its base from files of the published layout, and LoRA adapters; on a tiny random instance of the real classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from small_bundles import BUNDLES, network_of, small_bundle

from minivess.errors import BundleError, WeightsError
from minivess.models import base_path, load_bundle, load_weights, save_weights, weights_path
from minivess.models.sam3 import Sam3Lora
from minivess.models.sam3_base import CONCEPTS, import_base, random_base, read_base, tiny_configurations
from minivess.paths import file_sha256

SIZE = 56


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_base(tmp_path_factory.mktemp("sam3") / "base", image_size=SIZE)


def network(base: Path, **settings: object) -> Sam3Lora:
    torch.manual_seed(1)
    built = Sam3Lora(str(base), rank=4, **settings)  # type: ignore[arg-type]
    for name, value in built.named_parameters():
        if "lora_B" in name:
            value.data.normal_(std=0.05)
    return built.eval()


def window() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(1, 1, (1, 1, 32, 40, 3)).astype(np.float32))


def published(folder: Path, *, text_prefix: str = "text_encoder.") -> Path:
    """Write a tiny checkpoint in the layout of the files of facebook/sam3: one file for detector and tracker, and a tokenizer."""
    from transformers import CLIPTokenizer, Sam3Config, Sam3Model, Sam3TrackerConfig, Sam3TrackerModel

    folder.mkdir()
    vocabulary = {
        "<|startoftext|>": 0,
        "<|endoftext|>": 1,
        **{f"{c}</w>": 2 + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")},
    }
    vocabulary |= {c: len(vocabulary) + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz")}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    detector_config, tracker_config = tiny_configurations(SIZE)
    detector_config["text_config"] = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "projection_dim": 8, "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    torch.manual_seed(3)
    detector, tracker = Sam3Model(Sam3Config(**detector_config)), Sam3TrackerModel(Sam3TrackerConfig(**tracker_config))
    tensors = {}
    for name, value in detector.state_dict().items():
        tensors["detector_model." + name.replace("text_encoder.text_model.", text_prefix)] = value.contiguous()
    for name, value in tracker.state_dict().items():
        if name.startswith("vision_encoder.neck."):
            tensors[name.replace("vision_encoder.neck.", "tracker_neck.")] = value.contiguous()
        elif not name.startswith("vision_encoder."):
            tensors["tracker_model." + name] = value.contiguous().clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "sam3_video",
        "detector_config": detector.config.to_dict(),
        "tracker_config": tracker.config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return folder


@pytest.mark.parametrize("prefix", ["text_encoder.", "text_encoder.text_model."])
def test_a_base_comes_from_published_files_whole(tmp_path: Path, prefix: str) -> None:
    checkpoint = published(tmp_path / "facebook_sam3", text_prefix=prefix)
    read = read_base(import_base(checkpoint, tmp_path / "base"))
    assert set(read.concepts) == set(CONCEPTS)
    assert not torch.equal(read.concepts["blood vessel"][:, :4], read.concepts["cell body"][:, :4])
    assert "SAM License" in read.source
    tensors = load_file(checkpoint / "model.safetensors")
    name = "vision_encoder.backbone.layers.0.attention.q_proj.weight"
    assert torch.equal(read.detector.state_dict()[name], tensors[f"detector_model.{name}"])
    assert read.tracker.vision_encoder.backbone is read.detector.vision_encoder.backbone
    some = next(n for n in read.tracker.state_dict() if n.startswith("mask_decoder."))
    assert torch.equal(read.tracker.state_dict()[some], tensors[f"tracker_model.{some}"])


def test_the_semantic_head_alone_gives_what_the_whole_model_gives(tmp_path: Path) -> None:
    from transformers import Sam3Model
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    checkpoint = published(tmp_path / "facebook_sam3")
    base = import_base(checkpoint, tmp_path / "base")
    ours = Sam3Lora(str(base), rank=4, planes=["xy"]).eval()
    mapping = {r"^detector_model\.text_encoder\.(?!text_model\.|text_projection)": "detector_model.text_encoder.text_model."}
    whole = Sam3Model.from_pretrained(checkpoint, key_mapping=mapping).eval()
    picture = window()[..., 0]
    text = BaseModelOutputWithPooling(pooler_output=read_base(base).concepts["blood vessel"])
    with torch.inference_mode():
        semantic = whole(pixel_values=ours.pixels(picture), text_embeds=text).semantic_seg
        expected = torch.nn.functional.interpolate(semantic, size=picture.shape[-2:], mode="bilinear", align_corners=False)
        assert torch.allclose(ours(picture[..., None])[..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("missing", ["detector_model.text_encoder.", "detector_model.mask_decoder.", "tracker_model."])
def test_a_checkpoint_without_a_part_is_refused_and_not_filled_with_noise(tmp_path: Path, missing: str) -> None:
    checkpoint = published(tmp_path / "facebook_sam3")
    tensors = load_file(checkpoint / "model.safetensors")
    save_file({n: v for n, v in tensors.items() if not n.startswith(missing)}, checkpoint / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="They would stay random"):
        import_base(checkpoint, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_missing_or_incomplete_base_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="minivess bundle sam3-base"):
        Sam3Lora(str(tmp_path))
    for name in ("base.json", "base.safetensors"):
        (tmp_path / name).write_bytes((base / name).read_bytes())
    tensors = load_file(tmp_path / "base.safetensors")
    save_file(dict(list(tensors.items())[: len(tensors) // 2]), tmp_path / "base.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        read_base(tmp_path)
    with pytest.raises(BundleError, match="concept is 'car'"):
        Sam3Lora(str(base), concept="car")


def test_an_adapter_is_saved_small_and_loads_into_a_fresh_base(base: Path, tmp_path: Path) -> None:
    trained, file = network(base), tmp_path / "adapter.safetensors"
    save_weights(trained, file, {})
    names = load_file(file)
    assert all("lora_" in name for name in names)
    for part in ("vision_encoder.backbone.layers.3", "detr_encoder", "mask_decoder"):
        assert any(part in name for name in names)
    assert file.stat().st_size < (base / "base.safetensors").stat().st_size / 10
    fresh = Sam3Lora(str(base), rank=4).eval()
    with torch.inference_mode():
        assert not torch.equal(fresh(window()), trained(window()))
        load_weights(fresh, file)
        assert torch.equal(fresh(window()), trained(window()))


def test_an_adapter_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    save_weights(network(base), tmp_path / "adapter.safetensors", {})
    other = random_base(tmp_path / "other", seed=9, image_size=SIZE)
    with pytest.raises(WeightsError, match="was trained on the base"):
        load_weights(Sam3Lora(str(other), rank=4), tmp_path / "adapter.safetensors")


def test_a_merged_adapter_gives_the_same_output(base: Path) -> None:
    built = network(base)
    with torch.inference_mode():
        before = built(window())
        for module in built.modules():
            if isinstance(module, LoraLayer):
                module.merge()
        assert (built(window()) - before).abs().max() < 1e-5


def test_only_the_adapters_change_in_training(base: Path) -> None:
    built = network(base, trained_modules=["mask_decoder.semantic_projection"]).train()
    before = {name: value.clone() for name, value in built.named_parameters()}
    optimizer = torch.optim.AdamW(built.parameters(), lr=0.01)
    built(window()).mean().backward()
    optimizer.step()
    changed = {name for name, value in built.named_parameters() if not torch.equal(before[name], value)}
    assert changed
    assert all("lora_" in name or "semantic_projection" in name for name in changed)


def test_planes_are_averaged_and_tiles_are_bounded(base: Path) -> None:
    cube = torch.rand(1, 1, 24, 24, 24)
    with torch.inference_mode():
        each = [network(base, planes=[plane])(cube).sigmoid() for plane in ("xy", "xz", "yz")]
        assert torch.allclose(network(base, planes=["xy", "xz", "yz"])(cube).sigmoid(), torch.stack(each).mean(0), atol=1e-4)
    turned = network(base, planes=["xz"])(cube.transpose(3, 4)).transpose(3, 4)
    assert torch.allclose(turned, network(base, planes=["xy"])(cube), atol=1e-4)
    with pytest.raises(BundleError, match="larger than a tile"):
        network(base, tile_px=16)(cube)
    with pytest.raises(BundleError, match="planes is"):
        network(base, planes=["xy", "xy"])


def test_clicks_do_not_depend_on_the_adapters_and_follow_the_object(base: Path) -> None:
    points, labels = torch.tensor([[10, 20, 1]]), torch.tensor([1])
    with torch.inference_mode():
        found = network(base).click_logits(window(), points, labels)
        assert torch.equal(found, Sam3Lora(str(base), rank=8).eval().click_logits(window(), points, labels))
    assert (found[..., 1] > -20).any()


def test_a_bundle_on_a_changed_base_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(BUNDLES / "sam3_lora", tmp_path / "sam3_lora")
    load_bundle(bundle, device="cpu")
    before = file_sha256(base_path(bundle) / "base.safetensors")
    random_base(base_path(bundle), seed=5, image_size=SIZE)
    assert file_sha256(base_path(bundle) / "base.safetensors") != before
    with pytest.raises(WeightsError, match="was trained on the base"):
        load_bundle(bundle, device="cpu")
    save_weights(network_of(bundle), weights_path(bundle), {})
    load_bundle(bundle, device="cpu")
