"""Blocks of the Fully Attentional Network (Zhou et al. 2022, arXiv:2204.12451), hybrid form.

A ConvNeXt stem (Liu et al. 2022) leads to blocks that mix tokens by self-attention and weigh
channels by an attention of their own. Token lists are (B, N, C) with N = H * W, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import LayerNorm2d
from timm.models.convnext import ConvNeXtStage
from torch import nn

STEM_STRIDE = 4
HIDDEN_RATIO = 4  # width of the hidden channels over that of the tokens
SCALE_START = 1e-6  # of the stem's residual branches, as in ConvNeXt

# The reference numbers tell the two apart: only the norm of the channel values has 1e-5.
layer_norm = partial(nn.LayerNorm, eps=1e-6)
VALUE_NORM_EPS = 1e-5


class SampleLayerNorm2d(LayerNorm2d):
    """LayerNorm over the channels of a map, divided by the sample's deviation (C - 1, not C).

    FAN's stem has it everywhere but after its first convolution; the reference numbers show it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # bfloat16 is too coarse for a deviation; torch's own layer norm takes float32 too.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(x, dim=1, correction=1, keepdim=True)
        scaled = (x - mean) * torch.rsqrt(variance + self.eps)
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]


class ConvNextStem(nn.Module):
    """The first stages of a ConvNeXt, each kept as a map.

    Parameters
    ----------
    depths: blocks of each stage.
    dims: channels of each stage.
    """

    def __init__(self, depths: Sequence[int], dims: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, dims[0], STEM_STRIDE, stride=STEM_STRIDE), LayerNorm2d(dims[0])
        )
        stages, before = [], dims[0]
        for index, (depth, width) in enumerate(zip(depths, dims, strict=True)):
            stages.append(
                ConvNeXtStage(
                    before,
                    width,
                    stride=1 if index == 0 else 2,
                    depth=depth,
                    ls_init_value=SCALE_START,
                    conv_mlp=True,  # 1x1 convolutions, as the shapes of the weights say
                    norm_layer=SampleLayerNorm2d,
                )
            )
            before = width
        self.stages = nn.Sequential(*stages)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the stages' maps (B, dims[k], H / (4 * 2^k), W / (4 * 2^k))."""
        features, maps = self.stem(pictures), []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


class HybridEmbed(nn.Module):
    """ConvNeXt stem and a 2 x 2 convolution of stride 2 to the width of the tokens."""

    def __init__(self, depths: Sequence[int], dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.backbone = ConvNextStem(depths, dims)
        self.proj = nn.Conv2d(dims[-1], width, 2, stride=2)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the embedded map (B, width, H / 16, W / 16) and the stem's maps."""
        maps = self.backbone(pictures)
        return self.proj(maps[-1]), maps


class TokenMixing(nn.Module):
    """Multi-head self-attention over the tokens, (B, N, C) -> (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (B, N, C)."""
        query = split_heads(self.q(tokens), self.heads)
        key, value = (split_heads(half, self.heads) for half in self.kv(tokens).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class DepthwisePair(nn.Module):
    """Two 3 x 3 depthwise convolutions with GELU and batch norm between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.act = nn.GELU()
        self.bn = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Run (B, N, C) tokens as a map of ``size`` (height, width in tokens)."""
        places = tokens.transpose(1, 2).unflatten(2, size)
        places = self.conv2(self.bn(self.act(self.conv1(places))))
        return places.flatten(2).transpose(1, 2)


class SpatialMlp(nn.Module):
    """Two linear layers whose hidden channels also see their neighbours in the picture.

    The only activation is the one between the depthwise convolutions.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(hidden))
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = DepthwisePair(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (B, N, C) for tokens of a map of ``size`` (height, width in tokens)."""
        hidden = self.fc1(tokens)
        hidden = hidden + self.gamma * self.dwconv(hidden, size)
        return self.fc2(hidden)


class ChannelProcessing(nn.Module):
    """Values from a spatial MLP, each channel weighed by attention (the paper's channel attention).

    The keys' softmax over tokens, averaged over a head's channels, is one weight per token. A
    channel's own weight is the sigmoid of how well its query (a softmax over tokens too) agrees
    with that, times the head's temperature. So the cost is linear in tokens and in channels.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.mlp_v = SpatialMlp(width, hidden)
        self.norm_v = nn.LayerNorm(width, eps=VALUE_NORM_EPS)
        self.q = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return (B, N, C) for tokens of a map of ``size`` (height, width in tokens)."""
        query = split_heads(self.q(tokens), self.heads).softmax(dim=-2)
        key = split_heads(tokens, self.heads).softmax(dim=-2).mean(dim=-1, keepdim=True)
        weight = torch.sigmoid(query.transpose(-1, -2) @ key) * self.temperature  # (B, h, C/h, 1)
        value = self.norm_v(self.mlp_v(tokens, size))
        return value * weight.flatten(1).unsqueeze(1)


class FanBlock(nn.Module):
    """Token mixing, then channel processing, both before a scaled residual addition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.ones(width))
        self.gamma2 = nn.Parameter(torch.ones(width))
        self.norm1 = layer_norm(width)
        self.attn = TokenMixing(width, heads)
        self.norm2 = layer_norm(width)
        self.mlp = ChannelProcessing(width, heads, HIDDEN_RATIO * width)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return the tokens (B, N, C) after the block; ``size`` is (height, width) in tokens."""
        tokens = tokens + self.gamma1 * self.attn(self.norm1(tokens))
        return tokens + self.gamma2 * self.mlp(self.norm2(tokens), size)


def split_heads(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, C) -> (B, heads, N, C / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)
