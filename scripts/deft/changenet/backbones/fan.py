"""FAN hybrid backbones with TAO's names and keys.

Source: Zhou et al. 2022, "Understanding The Robustness in Vision Transformers"
(arXiv:2204.12451). Class attention and the position encoding are XCiT's (El-Nouby et al. 2021),
as timm has them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from timm.models.xcit import ClassAttentionBlock, PositionalEncodingFourier
from torch import nn

from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.fan_blocks import FanBlock, HybridEmbed, layer_norm
from deft.changenet.backbones.pretrained import fill_part, read_backbone_file
from deft.changenet.layout import padded

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

STEM_CHANNELS = (128, 256)
PATCH_PX = 16  # pixels per token
CLASS_BLOCKS = 2
OWN_NAMES = ("cls_token", "patch_embed.", "pos_embed.", "blocks.", "cls_attn_blocks.")


@dataclass(frozen=True)
class FanSize:
    """What distinguishes one hybrid from another.

    ``third_level``: after which block, from 0, the tokens are taken as the third map.
    """

    width: int
    depth: int
    heads: int
    stem_depths: tuple[int, int]
    third_level: int


SIZES: dict[str, FanSize] = {
    "fan_tiny_8_p4_hybrid": FanSize(192, 8, 8, (3, 3), third_level=7),
    "fan_small_12_p4_hybrid": FanSize(384, 10, 8, (3, 3), third_level=9),
    "fan_base_16_p4_hybrid": FanSize(448, 16, 8, (3, 3), third_level=15),
    "fan_large_16_p4_hybrid": FanSize(480, 22, 10, (3, 5), third_level=18),
}


class Fan(Backbone):
    """ConvNeXt stem, FAN blocks and class attention: a picture to maps at strides 4, 8, 16, 16.

    Parameters
    ----------
    size: which of the hybrids.
    picture_px: (height, width) of the pictures, multiples of 16. It only sets
        ``embedding_width``: the maps are made for any such picture.
    """

    def __init__(self, size: FanSize, picture_px: tuple[int, int]) -> None:
        super().__init__()
        width = size.width
        self.third_level = size.third_level
        self.channels = [*STEM_CHANNELS, width, width]
        rows, columns = (side // PATCH_PX for side in picture_px)
        self.embedding_width = width * rows * columns
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embed = HybridEmbed(size.stem_depths, STEM_CHANNELS, width)
        self.pos_embed = PositionalEncodingFourier(dim=width)
        self.blocks = nn.ModuleList(FanBlock(width, size.heads) for _ in range(size.depth))
        self.cls_attn_blocks = nn.ModuleList(
            ClassAttentionBlock(
                width,
                size.heads,
                qkv_bias=True,
                norm_layer=layer_norm,  # type: ignore[arg-type]  # timm calls it, no more
                tokens_norm=True,
            )
            for _ in range(CLASS_BLOCKS)
        )
        self.apply(_initialise)
        nn.init.trunc_normal_(self.cls_token, std=0.02)

    @property
    def joint_batch(self) -> bool:
        """Whether both pictures of a pair may share a batch: in training the batch norms see each
        side alone, as upstream's do."""
        return not self.training

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W), sides multiples of 16 -> four maps (B, C_k, H/s_k, W/s_k), finest first.

        The strides s_k are 4, 8, 16, 16: the third map is taken before the class attention, the
        fourth after it.
        """
        places, levels = self.patch_embed(pictures)
        size = places.shape[2:]
        places = places + self.pos_embed(1, *size)
        tokens = places.flatten(2).transpose(1, 2)
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, tuple(size))
            if index == self.third_level:
                levels.append(tokens.transpose(1, 2).unflatten(2, size))
        tokens = torch.cat([self.cls_token.expand_as(tokens[:, :1]), tokens], dim=1)
        for block in self.cls_attn_blocks:
            tokens = block(tokens)
        levels.append(tokens[:, 1:].transpose(1, 2).unflatten(2, size))
        return levels

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the whole backbone from a file; return the names in it that had no use.

        Those are a classifier's head and its norm. Raises HardStop ``missing_input`` or
        ``spec_invalid`` (missing, extra, misshapen keys).
        """
        return fill_part(self, read_backbone_file(path), path, name="the FAN hybrid", own=OWN_NAMES)

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places of the last map, (B, C_4), padded where sides do not fit."""
        return self(padded(pictures, PATCH_PX))[-1].mean(dim=(2, 3))

    def embedding(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the last map in one row, (B, C_4 * H/16 * W/16): what TAO compares by distance."""
        return self(pictures)[-1].flatten(1)


def _initialise(module: nn.Module) -> None:
    """Start linear maps as in ViT and the stem's convolutions as in ConvNeXt.

    Depthwise 3 x 3 convolutions and the norms keep torch's start.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, HybridEmbed):
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)


def build_fan(name: str, spec: Spec) -> Backbone:
    """Return the hybrid of that name, randomly initialised."""
    return Fan(SIZES[name], spec.tensor_size)


BUILDERS: dict[str, Callable[[Spec], Backbone]] = {name: partial(build_fan, name) for name in SIZES}
