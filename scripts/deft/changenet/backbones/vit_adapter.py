"""ViT-Adapter around C-RADIO: feature maps at strides 4, 8, 16 and 32, with TAO's key names.

Source: Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions". A small convolutional
branch (the spatial prior) exchanges information with the transformer four times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import DropPath
from torch import nn

from deft.changenet.backbones.adapter_parts import ConvFFN, SpatialPrior, map_sizes
from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.deformable import DeformableAttention, Sizes, cell_centres
from deft.changenet.backbones.radio_vit import PATCH_PX, RadioBackbone, RadioSize
from deft.changenet.layout import as_map, padded

INTERACTIONS = 4
EXTRA_EXTRACTORS = 2  # behind the last interaction
LAYER_NORM_EPS = 1e-5  # the transformer itself has 1e-6
GAMMA_START = 1e-5  # so small that the transformer starts undisturbed


@dataclass(frozen=True)
class AdapterSize:
    """Sizes of the adapter; the defaults are those of every C-RADIO of TAO."""

    prior_width: int = 56
    heads: int = 16
    points: int = 4
    ffn_ratio: float = 0.25
    value_ratio: float = 0.5
    summary: bool = True
    norm_eps: float = LAYER_NORM_EPS
    drop_path: float = 0.0  # probability, in training, that an extractor's feed-forward is left out


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), GAMMA_START))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens * self.gamma


class Injector(nn.Module):
    """The transformer's picture tokens take from the spatial prior's three maps."""

    def __init__(self, width: int, adapter: AdapterSize) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=adapter.norm_eps)
        self.feat_norm = nn.LayerNorm(width, eps=adapter.norm_eps)
        self.attn = DeformableAttention(
            width, 3, adapter.heads, adapter.points, adapter.value_ratio
        )
        self.ls = _Scale(width)

    def forward(self, tokens: torch.Tensor, prior: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        """Return the picture tokens (B, H/16 * W/16, C) with what they took."""
        points = cell_centres(sizes[1:2], tokens)
        found = self.attn(self.query_norm(tokens), points, self.feat_norm(prior), sizes)
        return tokens + self.ls(found)


class Extractor(nn.Module):
    """The spatial prior's three maps take from the transformer's picture tokens."""

    def __init__(self, width: int, adapter: AdapterSize) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=adapter.norm_eps)
        self.feat_norm = nn.LayerNorm(width, eps=adapter.norm_eps)
        self.attn = DeformableAttention(
            width, 1, adapter.heads, adapter.points, adapter.value_ratio
        )
        self.ffn = ConvFFN(width, int(width * adapter.ffn_ratio))
        self.ffn_norm = nn.LayerNorm(width, eps=adapter.norm_eps)
        self.drop_path = DropPath(adapter.drop_path)

    def forward(self, prior: torch.Tensor, tokens: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        """Return the prior's tokens (B, N, C) with what they took."""
        points = cell_centres(sizes, prior)
        prior = prior + self.attn(
            self.query_norm(prior), points, self.feat_norm(tokens), sizes[1:2]
        )
        return prior + self.drop_path(self.ffn(self.ffn_norm(prior), sizes))


class Interaction(nn.Module):
    """Injector, a run of transformer blocks, extractor."""

    def __init__(self, width: int, adapter: AdapterSize, extra: int = 0) -> None:
        super().__init__()
        self.injector = Injector(width, adapter)
        self.extractor = Extractor(width, adapter)
        if extra:
            self.extra_extractors = nn.ModuleList(Extractor(width, adapter) for _ in range(extra))

    def forward(
        self,
        tokens: torch.Tensor,
        prior: torch.Tensor,
        blocks: Sequence[Callable[..., torch.Tensor]],
        prefix: int,
        sizes: Sizes,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all tokens (B, prefix + places, C) and the prior's tokens (B, N, C)."""
        seen = self.injector(tokens[:, prefix:], prior, sizes)
        tokens = torch.cat([tokens[:, :prefix], seen], dim=1)
        for block in blocks:
            tokens = block(tokens)
        prior = self.extractor(prior, tokens[:, prefix:], sizes)
        for extractor in getattr(self, "extra_extractors", ()):
            prior = extractor(prior, tokens[:, prefix:], sizes)
        return tokens, prior


class AdapterPyramid(Backbone):
    """The adapter's parts and its way to four maps, for modules that have a plain transformer."""

    def add_adapter(self, width: int, prefix: int, adapter: AdapterSize) -> None:
        """Build the parts, initialised, as children of this module.

        ``prefix``: tokens in front of the picture's own, all of them the summary.
        """
        self.prefix_tokens = prefix
        self.channels = [width] * 4
        self.level_embed = nn.Parameter(torch.randn(3, width))
        self.spm = SpatialPrior(adapter.prior_width, width)
        self.interactions = nn.ModuleList(
            Interaction(width, adapter, EXTRA_EXTRACTORS if i == INTERACTIONS - 1 else 0)
            for i in range(INTERACTIONS)
        )
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        for level in range(1, 5):
            self.add_module(f"norm{level}", nn.BatchNorm2d(width))
        parts: list[nn.Module] = [self.spm, self.interactions, self.up]
        self.summary = adapter.summary
        if self.summary:
            self.fc_summary = nn.Linear(prefix * width, width)
            for level in range(1, 5):
                self.add_module(f"conv{level}", nn.Conv2d(2 * width, width, 1))
            parts += [self.fc_summary, *(self.get_submodule(f"conv{i}") for i in range(1, 5))]
        # The transformer keeps its own start.
        for part in parts:
            part.apply(_initialise)
        for module in self.interactions.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()

    @property
    def joint_batch(self) -> bool:
        """Whether both pictures of a pair may share a batch: in training the batch norms see each
        side alone, as upstream's do."""
        return not self.training

    def pyramid(
        self,
        pictures: torch.Tensor,
        tokens: torch.Tensor,
        blocks: Sequence[Callable[..., torch.Tensor]],
        patch_px: int,
    ) -> list[torch.Tensor]:
        """Return maps (B, C, H/s, W/s) at strides s = 4, 8, 16, 32, finest first.

        ``pictures`` (B, 3, H, W), sides multiples of ``patch_px``; ``tokens`` (B, prefix + places,
        C) as they go into the first of ``blocks``. Sides of the coarsest map are rounded up.
        """
        height, width = pictures.shape[-2:]
        sizes = map_sizes(height, width, patch_px)
        counts = [rows * columns for rows, columns in sizes]
        c1, *lists = self.spm(pictures)
        prior = torch.cat(
            [tokens + embed for tokens, embed in zip(lists, self.level_embed, strict=True)], dim=1
        )
        prefix = self.prefix_tokens
        run = len(blocks) // INTERACTIONS
        kept = []
        for i, interaction in enumerate(self.interactions):
            tokens, prior = interaction(
                tokens, prior, blocks[i * run : (i + 1) * run], prefix, sizes
            )
            kept.append(as_map(tokens[:, prefix:], sizes[1], training=self.training))
        coarser = [
            as_map(part, size, training=self.training)
            for part, size in zip(prior.split(counts, dim=1), sizes, strict=True)
        ]
        maps = [c1 + self.up(coarser[0]), *coarser]
        maps = [
            own + _resized(taken, own.shape[-2:]) for own, taken in zip(maps, kept, strict=True)
        ]
        if self.summary:
            summary = self.fc_summary(tokens[:, :prefix].flatten(1))[:, :, None, None]
            maps = [
                getattr(self, f"conv{level}")(
                    torch.cat([summary.expand(-1, -1, *own.shape[-2:]), own], dim=1)
                )
                for level, own in enumerate(maps, start=1)
            ]
        return [getattr(self, f"norm{level}")(own) for level, own in enumerate(maps, start=1)]

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places of the last level, (B, C)."""
        return self(padded(pictures, PATCH_PX))[-1].mean(dim=(2, 3))


class RadioAdapter(AdapterPyramid):
    """C-RADIO with its adapter: a picture to four maps of one width."""

    tao_model_type = "radio_learnable"  # how TAO marks such checkpoints

    def __init__(self, size: RadioSize, adapter: AdapterSize) -> None:
        super().__init__()
        self.size = size
        self.radio = RadioBackbone(size)
        self.add_adapter(size.width, size.prefix_tokens, adapter)

    @property
    def pretrained_part(self) -> nn.Module:
        """What ``pretrained_backbone_path`` fills and ``freeze_backbone`` freezes."""
        return self.radio

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer, not the adapter, from a file."""
        return self.radio.load_pretrained(path)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W), sides multiples of 16 -> maps at strides 4, 8, 16, 32, finest first."""
        vit = self.radio.vit
        tokens = vit.patch_generator(pictures)
        return self.pyramid(pictures, tokens, list(vit.blocks), self.size.patch_px)


def _resized(features: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    """Linear maps as in ViT, convolutions by their fan-out."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=math.sqrt(2.0 * module.groups / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
