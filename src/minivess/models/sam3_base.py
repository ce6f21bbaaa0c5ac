"""The frozen base of SAM 3 bundles: Meta's checkpoint without its text encoder, and stored embeddings of concepts.

A base is a folder with ``base.json`` (configurations, concepts, source) and ``base.safetensors``. It is made once, by
``minivess bundle sam3-base``, from the files of ``facebook/sam3`` in the layout of transformers. The text encoder (42 % of the
parameters) is replaced by the embeddings of a few concepts, with identical output.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from minivess.errors import WeightsError
from minivess.extras import require_extra
from minivess.models.weights import read_weights
from minivess.paths import atomic_file, file_sha256

#: The concept that is segmented; the others are what a vessel is not.
CONCEPTS = ("blood vessel", "cell body", "background", "noise")
#: Parts of Sam3Model that the semantic head does not need, next to the text encoder.
_UNUSED = ("text_encoder", "text_projection", "geometry_encoder", "detr_decoder", "dot_product_scoring")
#: Published files name the text encoder's tensors without ``text_model.``, and would load it as noise.
_KEY_MAPPING = {
    r"^detector_model\.text_encoder\.(?!text_model\.|text_projection)": "detector_model.text_encoder.text_model.",
}
LICENCE = "SAM License, https://github.com/facebookresearch/sam3/blob/main/LICENSE"
_TINY_TEXT: dict[str, Any] = {
    "vocab_size": 4,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True, eq=False)
class Sam3Base:
    """A base that was read.

    Attributes:
        detector: ``Sam3Model`` without what the semantic head does not need.
        tracker: ``Sam3TrackerModel``, on the detector's image encoder.
        concepts: Concept -> (1, tokens, channels) float32 text embedding.
        sha256: SHA-256 of the tensors' file.
        source: Where the tensors come from.
    """

    detector: Any
    tracker: Any
    concepts: dict[str, torch.Tensor]
    sha256: str
    source: str


def read_base(folder: Path) -> Sam3Base:
    """Read a base.

    Raises:
        MissingExtraError: When transformers is not installed.
        WeightsError: When the base is missing, damaged or incomplete. Nothing stays at random values.
    """
    require_extra("sam3", "SAM 3")
    if not (folder / "base.json").is_file():
        raise WeightsError(
            f"No base of SAM 3 at {folder}. Make it once from Meta's files, which need Meta's permission: "
            "`minivess bundle sam3-base BUNDLE --checkpoint FOLDER`; `--random` in its place makes a tiny one for trials."
        )
    about = json.loads((folder / "base.json").read_text())
    file = folder / "base.safetensors"
    tensors = read_weights(file)[0]
    detector, tracker = _build(about["detector"], about["tracker"])
    _fill(detector, _part(tensors, "detector."), "the detector")
    tracker.vision_encoder.backbone = None  # not twice in memory, and not expected in the file
    _fill(tracker, _part(tensors, "tracker."), "the tracker")
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    return Sam3Base(detector, tracker, _part(tensors, "concepts."), file_sha256(file), str(about["source"]))


def import_base(checkpoint: Path, folder: Path, concepts: tuple[str, ...] = CONCEPTS) -> Path:
    """Make a base from the files of ``facebook/sam3``: ``config.json``, safetensors and the tokenizer.

    Args:
        checkpoint: Folder with these files.
        folder: Folder of the base.
        concepts: Concepts whose text embeddings are stored; the first is what a bundle segments by default.

    Returns:
        The folder of the base.

    Raises:
        MissingExtraError: When transformers is not installed.
        WeightsError: When a file or a tensor is missing.
    """
    require_extra("sam3", "SAM 3")
    from transformers import CLIPTokenizer, Sam3Model, Sam3TrackerModel

    if not (checkpoint / "config.json").is_file():
        raise WeightsError(f"{checkpoint} has no config.json. Name the folder with the files of facebook/sam3.")
    detector = _from_pretrained(Sam3Model, checkpoint)
    tracker = _from_pretrained(Sam3TrackerModel, checkpoint)
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint, local_files_only=True)
    embeddings = {}
    for concept in concepts:
        tokens = tokenizer([concept], return_tensors="pt")  # unpadded: padding is masked out in the model
        with torch.inference_mode():
            embeddings[concept] = detector.get_text_features(**tokens, return_dict=True).pooler_output
    return _write(folder, detector, tracker, embeddings, source=f"{checkpoint.name}, {LICENCE}")


def random_base(folder: Path, *, seed: int = 0, image_size: int = 112, full_size: bool = False) -> Path:
    """Make a base of the real classes with random values, for trials, tests and timing: it knows nothing of pictures.

    Args:
        folder: Folder of the base.
        seed: Seed of its values.
        image_size: Height and width to which tiles are scaled, in pixels; a multiple of 14.
        full_size: With the sizes of ``facebook/sam3`` instead of tiny ones; 1.9 GB.

    Raises:
        MissingExtraError: When transformers is not installed.
    """
    require_extra("sam3", "SAM 3")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        detector, tracker = _build(*(({}, {}) if full_size else tiny_configurations(image_size)))
        channels = detector.config.detr_encoder_config.hidden_size
        embeddings = {concept: torch.randn(1, 4, channels) for concept in CONCEPTS}
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    return _write(folder, detector, tracker, embeddings, source=f"random values, seed {seed}")


def tiny_configurations(image_size: int = 112) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of a tiny detector and a tiny tracker.

    Args:
        image_size: Height and width of pictures, in pixels; a multiple of 14.
    """
    side, channels = image_size // 14, 32
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
            "num_attention_heads": 4, "image_size": image_size, "window_size": max(1, side // 2), "global_attn_indexes": [1, 3],
            "pretrain_image_size": image_size,
        },
        "fpn_hidden_size": channels,
        "backbone_feature_sizes": [[side * 4] * 2, [side * 2] * 2, [side] * 2],
    }  # fmt: skip
    small = {"hidden_size": channels, "intermediate_size": 64, "num_attention_heads": 4}
    detector = {
        "vision_config": vision, "text_config": _TINY_TEXT,
        "geometry_encoder_config": {**small, "num_layers": 1}, "detr_encoder_config": {**small, "num_layers": 1},
        "detr_decoder_config": {**small, "num_layers": 1, "num_queries": 4}, "mask_decoder_config": small,
    }  # fmt: skip
    tracker = {
        "vision_config": vision,
        "prompt_encoder_config": {"hidden_size": channels, "image_size": image_size, "patch_size": 14},
        "mask_decoder_config": {"hidden_size": channels, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
    }
    return detector, tracker


def _build(detector: dict[str, Any], tracker: dict[str, Any]) -> tuple[Any, Any]:
    """Build both models without the parts that are not used."""
    from transformers import Sam3Config, Sam3Model, Sam3TrackerConfig, Sam3TrackerModel

    built = Sam3Model(Sam3Config(**{**detector, "text_config": _TINY_TEXT}))
    for name in _UNUSED:
        delattr(built, name)
    return built, Sam3TrackerModel(Sam3TrackerConfig(**tracker))


def _from_pretrained(model: Any, checkpoint: Path) -> Any:
    """Load a model of transformers, and refuse what it would leave at random values."""
    loaded, about = model.from_pretrained(
        checkpoint, key_mapping=_KEY_MAPPING, output_loading_info=True, local_files_only=True, use_safetensors=True
    )
    if missing := sorted((*about["missing_keys"], *(str(key) for key in about["mismatched_keys"]))):
        raise WeightsError(
            f"{checkpoint} lacks {len(missing)} tensors of {model.__name__}, the first: {', '.join(missing[:3])}. They would "
            "stay random. Use the complete files of facebook/sam3."
        )
    return loaded.eval()


def _fill(model: torch.nn.Module, tensors: dict[str, torch.Tensor], what: str) -> None:
    expected = {name: value.shape for name, value in model.state_dict().items()}
    if expected != {name: value.shape for name, value in tensors.items()}:
        different = sorted(
            n for n in {*expected, *tensors} if n not in expected or n not in tensors or expected[n] != tensors[n].shape
        )
        raise WeightsError(f"The base of SAM 3 does not fit {what}: {', '.join(different[:3])}. Make it again.")
    model.load_state_dict(tensors, strict=True)


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(folder: Path, detector: Any, tracker: Any, concepts: dict[str, torch.Tensor], *, source: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"concepts.{name}": value.contiguous() for name, value in concepts.items()}
    skipped = tuple(f"{name}." for name in _UNUSED)
    tensors |= {f"detector.{n}": v.contiguous() for n, v in detector.state_dict().items() if not n.startswith(skipped)}
    backbone = "vision_encoder.backbone."
    tensors |= {f"tracker.{n}": v.contiguous().clone() for n, v in tracker.state_dict().items() if not n.startswith(backbone)}
    with atomic_file(folder / "base.safetensors") as temporary:
        save_file(tensors, temporary, metadata={"source": source})
    about = {"source": source, "detector": detector.config.to_dict(), "tracker": tracker.config.to_dict()}
    with atomic_file(folder / "base.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1, default=str), encoding="utf-8")
    return folder
