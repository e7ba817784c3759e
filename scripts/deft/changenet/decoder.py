"""The learnable difference decoder of Visual ChangeNet: two feature pyramids to two logits.

Modules carry TAO's names, so that weights are interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

Pyramid = Sequence[torch.Tensor]  # four maps (B, C_k, H_k, W_k), finest first


class Projection(nn.Module):
    """A linear map of each place's channels: (B, C, H, W) -> (B, H * W, width)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.proj(features.flatten(2).transpose(1, 2))


def difference(channels: int, width: int) -> nn.Sequential:
    """Return the module that compares two maps joined by channel."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
    )


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return two hidden layers with batch norm after the activation, and an output layer."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(hidden),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(hidden),
        nn.Linear(hidden, outputs),
    )


class Decoder(nn.Module):
    """Compare two pyramids level by level.

    Parameters
    ----------
    in_channels: channels of the four levels, finest first.
    embedding_dim: width inside the decoder.
    output_shape: (height, width) of the joined picture in pixels.
    feature_strides: pixels per place of each level, finest first.
    embed_dec: width of the classifier's hidden layers.
    learnable_difference_modules: how many levels, from the coarsest, reach the classifier.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        embedding_dim: int,
        output_shape: tuple[int, int],
        feature_strides: Sequence[int],
        embed_dec: int,
        output_nc: int = 2,
        align_corners: bool = False,
        learnable_difference_modules: int = 4,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.used = learnable_difference_modules
        c1, c2, c3, c4 = in_channels
        # Built coarsest first, in the order of TAO's keys.
        self.linear_c4 = Projection(c4, embedding_dim)
        self.linear_c3 = Projection(c3, embedding_dim)
        self.linear_c2 = Projection(c2, embedding_dim)
        self.linear_c1 = Projection(c1, embedding_dim)
        self.diff_c4 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c3 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c2 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c1 = difference(2 * embedding_dim, embedding_dim)
        self.linear_fuse = nn.Sequential(
            nn.Conv2d(embedding_dim * self.used, embedding_dim, 1),
            nn.BatchNorm2d(embedding_dim),
        )
        places = (output_shape[0] // feature_strides[0]) * (output_shape[1] // feature_strides[0])
        self.classifier = perceptron(embedding_dim * places, embed_dec, output_nc)

    def forward(self, test: Pyramid, golden: Pyramid) -> torch.Tensor:
        """Return logits (B, 2)."""
        differences: list[torch.Tensor] = []  # coarsest first
        coarser: torch.Tensor | None = None
        for level in (4, 3, 2, 1):
            joined = torch.cat(
                [
                    self._projected(level, test[level - 1]),
                    self._projected(level, golden[level - 1]),
                ],
                dim=1,
            )
            found = getattr(self, f"diff_c{level}")(joined)
            if coarser is not None:
                found = found + self._resized(coarser, found.shape[-2:])
            differences.append(found)
            coarser = found
        finest = differences[-1].shape[-2:]
        fused = self.linear_fuse(
            torch.cat([self._resized(d, finest) for d in differences[: self.used]], dim=1)
        )
        return self.classifier(fused.flatten(1))

    def _projected(self, level: int, features: torch.Tensor) -> torch.Tensor:
        tokens = getattr(self, f"linear_c{level}")(features)
        return tokens.transpose(1, 2).unflatten(2, features.shape[-2:])

    def _resized(self, features: torch.Tensor, size: torch.Size) -> torch.Tensor:
        if features.shape[-2:] == size:
            return features
        return F.interpolate(features, size=size, mode="bilinear", align_corners=self.align_corners)
