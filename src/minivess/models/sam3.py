"""SAM 3 with LoRA (arXiv 2511.16719, 2106.09685) as a network for windows of a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import interpolate

from minivess.errors import BundleError
from minivess.models.feature_cache import FeatureCache
from minivess.models.partial_state import keep_only_trained
from minivess.models.planes import check_planes, consensus, plane_logits
from minivess.models.sam3_base import read_base
from minivess.models.value_range import USUAL_RANGE, check_range, to_unit_range

if TYPE_CHECKING:
    from minivess.models.sam3_prompts import PromptedTracker

#: Query, key, value and output of the attention of image encoder, DETR encoder and mask decoder.
ATTENTION = r"(vision_encoder\.backbone\.layers|detr_encoder\.layers|mask_decoder\.prompt_cross_attn)\b.*\.(q|k|v|o)_proj"


class Sam3Lora(torch.nn.Module):
    """The semantic head of SAM 3 for one concept, plane by plane; adapters are trained, the base stays as it is.

    A window is scaled to the base's picture size in plane, so that it must be a tile of at most ``tile_px``: the mask grid of SAM
    3 has 288 x 288 points, too few for thin vessels in a whole slice. Its state dict has the trained tensors only.
    """

    prompts = frozenset({"point", "box"})
    #: Set where prompts are answered one after the other.
    feature_cache: FeatureCache | None = None

    def __init__(
        self,
        base: str,
        *,
        concept: str = "blood vessel",
        rank: int = 16,
        alpha: int = 32,
        dropout: float = 0.05,
        target_modules: str = ATTENTION,
        trained_modules: Sequence[str] = (),
        planes: Sequence[str] = ("xy",),
        tile_px: int = 256,
        pictures_at_once: int = 4,
        value_range: tuple[float, float] = USUAL_RANGE,
    ) -> None:
        """Read a base and add adapters.

        Args:
            base: Folder of the base, :mod:`minivess.models.sam3_base`.
            concept: What is segmented; one of those that are stored with the base.
            rank: Rank of the adapters.
            alpha: Their scale: the change is ``alpha / rank`` times the product.
            dropout: Share of their inputs that is left out in training.
            target_modules: Regular expression of the names of the linear layers that get one.
            trained_modules: Names of parts of the detector that are trained as a whole, such as ``mask_decoder``.
            planes: Orientations of the planes; several are averaged. Others than ``xy`` are for nearly isotropic stacks.
            tile_px: Largest window in plane, in pixels.
            pictures_at_once: Planes in one pass; bounds the memory.
            value_range: Normalised intensities that become black and white, without any rounding.

        Raises:
            WeightsError: When the base is missing or damaged.
            BundleError: When it has no such concept, or a plane is unknown.
        """
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        read = read_base(Path(base))
        if concept not in read.concepts:
            raise BundleError(f"concept is {concept!r}. Allowed with this base: {', '.join(sorted(read.concepts))}.")
        self.base_sha256, self.planes, self.tile_px = read.sha256, check_planes(planes), tile_px
        self.pictures_at_once, self.value_range = pictures_at_once, check_range(value_range)
        self.image_size = int(read.detector.config.vision_config.backbone_config.image_size)
        self.detector = read.detector.requires_grad_(False)
        # In a tuple, so that its parameters are no parameters of this network: clicks use the base without adapters. Frozen
        # before the adapters are added, since it shares the image encoder.
        self._tracker: tuple[Any, ...] = (read.tracker.requires_grad_(False).eval(),)
        # Without it a training step at full size keeps 20 GB of activations for one tile.
        backbone = self.detector.vision_encoder.backbone
        backbone.supports_gradient_checkpointing = True  # its layers do, transformers 5.23 does not say so
        backbone.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=f".*{target_modules}")
        inject_adapter_in_model(config, self.detector)
        for name in trained_modules:
            self.detector.get_submodule(name).requires_grad_(True)
        self.concept, self.concepts = concept, tuple(read.concepts)
        for number, name in enumerate(self.concepts):
            self.register_buffer(f"text_{number}", read.concepts[name], persistent=False)
        keep_only_trained(self)

    def forward(self, x: torch.Tensor, concept: str | None = None) -> torch.Tensor:
        """Return the logits of a concept.

        Args:
            x: (batch, 1, x, y, z) float, normalised intensities.
            concept: One of those that are stored with the base; by default that of the bundle.

        Returns:
            (batch, 1, x, y, z), of the dtype of the input.

        Raises:
            BundleError: When the window is larger than a tile.
        """
        text = self.get_buffer(f"text_{self.concepts.index(concept or self.concept)}")
        network = partial(self._picture_logits, text=text)
        found = [plane_logits(network, x, plane, at_once=self.pictures_at_once) for plane in self.planes]
        return consensus(found).to(x.dtype)

    def click_logits(self, x: torch.Tensor, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the logits of the object at clicks, by SAM 3's tracker without adapters.

        Args:
            x: (1, 1, x, y, z) float, normalised intensities.
            points: (clicks, 3) voxels of the window.
            labels: (clicks,) 1 for the object, 0 for what is not the object.

        Returns:
            (1, 1, x, y, z) float32.
        """
        with self._prompted(x.device) as tracker:
            return tracker.at_clicks(x, points, labels)

    def box_logits(
        self, x: torch.Tensor, low: Sequence[int], high: Sequence[int], progress: Callable[[float], None] = lambda _: None
    ) -> torch.Tensor:
        """Return the logits of the object inside a box, by SAM 3's tracker without adapters.

        Args:
            x: (1, 1, x, y, z) float, normalised intensities.
            low: First voxel (x, y, z) of the box in the window.
            high: Last voxel plus 1.
            progress: Called before each slice with the finished share.

        Returns:
            (1, 1, x, y, z) float32.
        """
        with self._prompted(x.device) as tracker:
            return tracker.in_box(x, low, high, progress)

    @contextmanager
    def _prompted(self, device: torch.device) -> Iterator[PromptedTracker]:
        """Yield the tracker, with the adapters off."""
        from minivess.models.sam3_prompts import PromptedTracker, without_adapters  # needs peft, an extra

        tracker = self._tracker[0].to(device)
        with without_adapters(self.detector):
            yield PromptedTracker(tracker, partial(self._encode, tracker), self.image_size)

    def _encode(self, tracker: Any, picture: torch.Tensor) -> list[torch.Tensor]:
        """Return the tracker's features of a picture (1, 1, height, width)."""
        image = self.pixels(picture)

        def encode() -> list[torch.Tensor]:
            features: list[torch.Tensor] = tracker.get_image_embeddings(image)
            return features

        return self.feature_cache.features(image, encode) if self.feature_cache else encode()

    def encoder_identity(self) -> str:
        """Return the SHA-256 of what encodes pictures for prompts: the base; empty when a part of it is trained itself."""
        trained = (name for name, value in self.detector.named_parameters() if value.requires_grad and "lora_" not in name)
        return "" if any(name.startswith("vision_encoder.") for name in trained) else self.base_sha256

    def frozen_beside(self) -> list[torch.nn.Parameter]:
        """Return the parameters of the tracker, which are no parameters of this network."""
        return list(self._tracker[0].parameters())

    def base_identity(self) -> str:
        """Return the SHA-256 of the base, which the trained tensors belong to."""
        return self.base_sha256

    def _picture_logits(self, pictures: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Segment (pictures, 1, height, width)."""
        if max(pictures.shape[-2:]) > self.tile_px:
            raise BundleError(
                f"A window of {tuple(pictures.shape[-2:])} pixels is larger than a tile of {self.tile_px}: thin vessels would be "
                "lost. Give the inferer a smaller roi_size."
            )
        vision = self.detector.vision_encoder(self.pixels(pictures))
        features, positions = vision.fpn_hidden_states[:-1], vision.fpn_position_encoding[:-1]
        text = text.expand(len(pictures), -1, -1).to(features[-1].dtype)
        encoded = self.detector.detr_encoder(
            vision_features=[features[-1]], text_features=text, vision_pos_embeds=[positions[-1]], text_mask=None
        )
        hidden = encoded.last_hidden_state
        decoded = self.detector.mask_decoder(
            decoder_queries=hidden.new_zeros(len(pictures), 1, hidden.shape[-1]),  # of instances, which nobody needs here
            backbone_features=list(features),
            encoder_hidden_states=hidden,
            prompt_features=text,
        )
        return interpolate(decoded.semantic_seg, size=pictures.shape[-2:], mode="bilinear", align_corners=False)

    def pixels(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scale pictures to what the encoder takes.

        Args:
            pictures: (pictures, 1, height, width) float, normalised intensities.

        Returns:
            (pictures, 3, image_size, image_size) float in [-1, 1].
        """
        scaled = to_unit_range(pictures, self.value_range) * 2 - 1
        size = (self.image_size, self.image_size)
        return interpolate(scaled, size=size, mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)
