"""The convolutional parts of ViT-Adapter: the spatial prior and the feed-forward network.

Source: Chen et al. 2023, "Vision Transformer Adapter for Dense Predictions".
"""

from __future__ import annotations

import math

import torch
from torch import nn

from deft.changenet.backbones.deformable import Sizes
from deft.changenet.layout import as_map


def map_sizes(height: int, width: int, patch_px: int = 16) -> Sizes:
    """Return (rows, columns) of the maps at strides 8, 16 and 32; the coarsest is rounded up."""
    rows, columns = height // patch_px, width // patch_px
    return (
        (rows * 2, columns * 2),
        (rows, columns),
        (math.ceil(rows / 2), math.ceil(columns / 2)),
    )


def _conv_norm_relu(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class SpatialPrior(nn.Module):
    """A picture to a map at stride 4 and token lists at strides 8, 16 and 32."""

    def __init__(self, inplanes: int, embed_dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv_norm_relu(3, inplanes, 2),
            *_conv_norm_relu(inplanes, inplanes, 1),
            *_conv_norm_relu(inplanes, inplanes, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*_conv_norm_relu(inplanes, 2 * inplanes, 2))
        self.conv3 = nn.Sequential(*_conv_norm_relu(2 * inplanes, 4 * inplanes, 2))
        self.conv4 = nn.Sequential(*_conv_norm_relu(4 * inplanes, 4 * inplanes, 2))
        self.fc1 = nn.Conv2d(inplanes, embed_dim, 1)
        self.fc2 = nn.Conv2d(2 * inplanes, embed_dim, 1)
        self.fc3 = nn.Conv2d(4 * inplanes, embed_dim, 1)
        self.fc4 = nn.Conv2d(4 * inplanes, embed_dim, 1)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(B, 3, H, W) -> c1 (B, C, H/4, W/4) and c2, c3, c4 (B, places, C)."""
        c1 = self.stem(pictures)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        lists = (self.fc2(c2), self.fc3(c3), self.fc4(c4))
        return self.fc1(c1), *(tokens_of(features) for features in lists)


def tokens_of(features: torch.Tensor) -> torch.Tensor:
    """(B, C, rows, columns) -> (B, rows * columns, C), row by row."""
    return features.flatten(2).transpose(1, 2)


class _Depthwise(nn.Module):
    """One depthwise convolution for all three maps of a token list."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        parts = tokens.split([rows * columns for rows, columns in sizes], dim=1)
        return torch.cat(
            [
                tokens_of(self.dwconv(as_map(part, size, training=self.training)))
                for part, size in zip(parts, sizes, strict=True)
            ],
            dim=1,
        )


class ConvFFN(nn.Module):
    """A feed-forward network that also sees each place's neighbours."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = _Depthwise(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: torch.Tensor, sizes: Sizes) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.fc2(self.act(self.dwconv(self.fc1(tokens), sizes)))
