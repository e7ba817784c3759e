"""The C-RADIO v2 vision transformer, with TAO's key names.

Sources: Dosovitskiy et al. 2021 (ViT), Ranzinger et al. 2024 (RADIO; "CPE" position tables that
stand for every picture size). The blocks are timm's, whose attention is torch's fused one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from timm.models.vision_transformer import Block
from torch import nn

from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.pretrained import load_radio
from deft.changenet.layout import as_map, padded

PATCH_PX = 16
MAX_INPUT_PX = 2048  # side of the picture that the position table is made for
LAYER_NORM_EPS = 1e-6
# Training-time windows of the position table.
SMALLEST_WINDOW = math.sqrt(0.1)  # side as a share of the table's
ASPECT = 4 / 3  # width over height lies between 1/ASPECT^2 and ASPECT^2
NO_POSITION_PROBABILITY = 0.1


@dataclass(frozen=True)
class RadioSize:
    """What distinguishes one C-RADIO from another.

    ``class_tokens``: one per teacher model. ``summary_tokens``: which of them make the embedding.
    ``register_multiple``: registers fill the prefix up to a multiple of it. ``adapter_drop_path``:
    probability, in training, that a sample leaves out an extractor's feed-forward network.
    """

    width: int
    depth: int
    heads: int
    class_tokens: int = 4
    summary_tokens: tuple[int, ...] = (0, 1, 2)
    register_multiple: int = 8
    mlp_norm: bool = False
    adapter_drop_path: float = 0.0
    patch_px: int = PATCH_PX
    max_input_px: int = MAX_INPUT_PX

    @property
    def prefix_tokens(self) -> int:
        """Class and register tokens together."""
        return math.ceil(self.class_tokens / self.register_multiple) * self.register_multiple


class PrefixTokens(nn.Module):
    """Class tokens, then registers, in one table."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(count, width) * width**-0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Put the prefix in front: (B, N, C) -> (B, prefix + N, C)."""
        return torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class PatchGenerator(nn.Module):
    """Pictures to tokens: a linear map of patches, plus positions, behind the prefix tokens.

    Any picture is taken whose sides are multiples of the patch. The table of positions is square;
    a picture that is not gets the top left part of the square of its longer side. So one token
    step is the same distance in both directions, as in a square picture of that longer side.
    """

    def __init__(self, size: RadioSize) -> None:
        super().__init__()
        self.patch_px = size.patch_px
        self.side = size.max_input_px // size.patch_px
        width = size.width
        self.pos_embed = nn.Parameter(torch.randn(1, self.side**2, width) * width**-0.5)
        self.embedder = nn.Linear(3 * size.patch_px**2, width, bias=False)
        self.cls_token = PrefixTokens(size.prefix_tokens, width)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, prefix + H/16 * W/16, C), places row by row."""
        batch, _, height, width = pictures.shape
        rows, columns = height // self.patch_px, width // self.patch_px
        tokens = self.embedder(self._patches(pictures, rows, columns))
        positions = (
            self._random_positions(batch, rows, columns)
            if self.training
            else self._positions(rows, columns)
        )
        return self.cls_token(tokens + positions.to(tokens.dtype))

    def _patches(self, pictures: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """(B, 3, H, W) -> (B, rows * columns, 3 * 16 * 16), each patch by channel, row, column."""
        side = self.patch_px
        cut = pictures.reshape(pictures.shape[0], 3, rows, side, columns, side)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(pictures.shape[0], rows * columns, -1)

    def _table(self) -> torch.Tensor:
        return self.pos_embed.reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)

    def _positions(self, rows: int, columns: int) -> torch.Tensor:
        longer = max(rows, columns)
        table = self._table()
        if longer != self.side:
            table = F.interpolate(
                table.float(), size=(longer, longer), mode="bilinear", align_corners=True
            )
        return table[:, :, :rows, :columns].flatten(2).transpose(1, 2)

    def _random_positions(self, batch: int, rows: int, columns: int) -> torch.Tensor:
        """Return positions of a random window of the table for each sample, some samples none.

        Draws from torch's generator of the table's device, in upstream's order: scale, aspect,
        place, and whether positions are kept.
        """
        device = self.pos_embed.device

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(batch, 1, 1, *shape, device=device)

        scale = draw() * (1 - SMALLEST_WINDOW) + SMALLEST_WINDOW
        limit = math.log(ASPECT)
        aspect = torch.exp(draw() * (2 * limit) - limit)
        extent = torch.stack([scale * aspect, scale / aspect], dim=-1).clamp(0, 1)  # (x, y)
        start = draw(2) * (1 - extent)
        x = torch.linspace(0, 1, columns, device=device).expand(rows, columns)
        y = torch.linspace(0, 1, rows, device=device).unsqueeze(1).expand(rows, columns)
        places = torch.stack([x, y], dim=-1) * extent + start  # (B, rows, columns, 2) in 0..1
        table = self._table().float().expand(batch, -1, -1, -1)
        found = F.grid_sample(
            table, places * 2 - 1, mode="bilinear", padding_mode="zeros", align_corners=True
        )
        kept = draw() > NO_POSITION_PROBABILITY
        return torch.where(kept, found.flatten(2).transpose(1, 2), 0.0)


class RadioViT(nn.Module):
    """The transformer without head or final norm: pictures to tokens."""

    def __init__(self, size: RadioSize) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, eps=LAYER_NORM_EPS)
        self.blocks = nn.ModuleList(
            Block(
                size.width,
                size.heads,
                mlp_ratio=4.0,
                qkv_bias=True,
                scale_mlp_norm=size.mlp_norm,
                norm_layer=norm,  # type: ignore[arg-type]  # timm calls it, no more
            )
            for _ in range(size.depth)
        )
        self.patch_generator = PatchGenerator(size)
        self.apply(_initialise)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, prefix + H/16 * W/16, C)."""
        tokens = self.patch_generator(pictures)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def _initialise(module: nn.Module) -> None:
    """Start linear maps as ViT does; tables and norms have their start from construction."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class _Named(nn.Module):
    """Holds one module under a name: a level of TAO's key prefix."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)


class RadioBackbone(Backbone):
    """The bare transformer as a backbone: an embedding of a picture, for the euclidean module.

    Keys start with ``radio.radio.model.``.
    """

    def __init__(self, size: RadioSize) -> None:
        super().__init__()
        self.size = size
        self.radio: Any = _Named("radio", _Named("model", RadioViT(size)))
        self.channels = [size.width] * 4
        self.embedding_width = size.width * len(size.summary_tokens)

    @property
    def vit(self) -> RadioViT:
        """The transformer itself."""
        vit: RadioViT = self.radio.radio.model
        return vit

    @property
    def pretrained_part(self) -> nn.Module:
        """What ``pretrained_backbone_path`` fills and ``freeze_backbone`` freezes."""
        return self

    @property
    def joint_batch(self) -> bool:
        """Whether both pictures of a pair may share a batch: in training each side has its own
        random positions, drawn one after the other as upstream does."""
        return not self.training

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer from a file; see :mod:`deft.changenet.backbones.pretrained`."""
        return load_radio(self.vit, path)

    def embedding(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> the summary tokens side by side, (B, embedding_width)."""
        tokens = self.vit(pictures)
        return torch.cat([tokens[:, index] for index in self.size.summary_tokens], dim=1)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the last map (B, C, H/16, W/16) once per level; only ``embedding`` has a use."""
        last = self.feature_map(pictures)
        return [last] * 4

    def feature_map(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> the picture's own tokens as a map (B, C, H/16, W/16)."""
        side = self.size.patch_px
        rows, columns = pictures.shape[-2] // side, pictures.shape[-1] // side
        tokens = self.vit(pictures)[:, self.size.prefix_tokens :]
        return as_map(tokens, (rows, columns), training=self.training)

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places, (B, C)."""
        return self.feature_map(padded(pictures, self.size.patch_px)).mean(dim=(2, 3))
