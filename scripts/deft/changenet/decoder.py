"""The learnable difference decoder of Visual ChangeNet: two feature pyramids to two logits.

Modules carry TAO's names, so that weights are interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from deft.changenet.layout import as_map
from deft.changenet.spec.native import GOLDEN_WINDOW as WINDOW

Pyramid = Sequence[torch.Tensor]  # four maps (B, C_k, H_k, W_k), finest first

LEVELS = (1, 2, 3, 4)  # finest first


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


class GoldenAttention(nn.Module):
    """Let the differences to several goldens look at each other: one head, all goldens at once.

    A map is cut into 7 x 7-pixel windows. Places at the same spot of their windows form one
    sequence, over all windows and all goldens of a pair. ``scaling`` is part of TAO's state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("scaling", torch.tensor(width**-0.5))
        self.W_q = nn.Linear(width, width)
        self.W_k = nn.Linear(width, width)
        self.W_v = nn.Linear(width, width)
        self.W_o = nn.Linear(width, width)

    def forward(self, maps: torch.Tensor, goldens: int) -> torch.Tensor:
        """Return maps of the shape given, (goldens * B, C, H, W), golden-major."""
        channels, height, width = maps.shape[1:]
        rows, columns = height // WINDOW, width // WINDOW
        # -1 and not the number of pairs, which an export would take for a constant.
        parts = maps.reshape(goldens, -1, channels, rows, WINDOW, columns, WINDOW).permute(
            1, 4, 6, 0, 3, 5, 2
        )  # pair, spot in the window; golden, window; channel
        tokens = parts.flatten(3, 5)
        found = F.scaled_dot_product_attention(
            self.W_q(tokens) * self.scaling, self.W_k(tokens), self.W_v(tokens), scale=1.0
        )
        found = self.W_o(found).reshape(
            -1, WINDOW, WINDOW, goldens, rows, columns, channels
        )  # as ``parts``
        return found.permute(3, 0, 6, 4, 1, 5, 2).reshape(-1, channels, height, width)


class Decoder(nn.Module):
    """Compare two pyramids level by level.

    With several goldens a pair, the differences to each golden are formed as for one. Each level's
    differences then attend to each other (:class:`GoldenAttention`), with a learned position
    repeated over the map, and of the goldens' results the largest number counts. The recorded
    numbers do not tell whether the batch norm ``bn_k`` stands before or after that maximum (in
    eval mode with positive weights it is the same); here it stands before.

    Parameters
    ----------
    in_channels: channels of the four levels, finest first.
    embedding_dim: width inside the decoder.
    output_shape: (height, width) of the joined picture in pixels.
    feature_strides: pixels per place of each level, finest first.
    embed_dec: width of the classifier's hidden layers.
    learnable_difference_modules: how many levels, from the coarsest, reach the classifier.
    num_golden: goldens a pair; above 1, every level's sides must be multiples of 7.
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
        num_golden: int = 1,
    ) -> None:
        super().__init__()
        self.num_golden = num_golden
        self.align_corners = align_corners
        self.used = learnable_difference_modules
        c1, c2, c3, c4 = in_channels
        if num_golden > 1:
            for level, stride in enumerate(feature_strides, 1):
                rows, columns = (side // stride // WINDOW for side in output_shape)
                position = torch.empty(1, embedding_dim, rows, columns)
                nn.init.trunc_normal_(position, std=0.02)
                setattr(self, f"position_embedding_c{level}", nn.Parameter(position))
        # Built coarsest first, in the order of TAO's keys.
        self.linear_c4 = Projection(c4, embedding_dim)
        self.linear_c3 = Projection(c3, embedding_dim)
        self.linear_c2 = Projection(c2, embedding_dim)
        self.linear_c1 = Projection(c1, embedding_dim)
        self.diff_c4 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c3 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c2 = difference(2 * embedding_dim, embedding_dim)
        self.diff_c1 = difference(2 * embedding_dim, embedding_dim)
        if num_golden > 1:
            for level in LEVELS:
                setattr(self, f"attn_c{level}", GoldenAttention(embedding_dim))
            for level in LEVELS:
                setattr(self, f"bn{level}", nn.BatchNorm2d(embedding_dim))
        self.linear_fuse = nn.Sequential(
            nn.Conv2d(embedding_dim * self.used, embedding_dim, 1),
            nn.BatchNorm2d(embedding_dim),
        )
        places = (output_shape[0] // feature_strides[0]) * (output_shape[1] // feature_strides[0])
        self.classifier = perceptron(embedding_dim * places, embed_dec, output_nc)

    def forward(self, test: Pyramid, golden: Pyramid) -> torch.Tensor:
        """Return logits (B, 2)."""
        return self.compare(self.project(test), self.project(golden))

    def project(self, pyramid: Pyramid) -> list[torch.Tensor]:
        """Bring all levels to ``embedding_dim`` channels: what is needed of a picture."""
        return [self._projected(level, features) for level, features in enumerate(pyramid, 1)]

    def compare(self, test: Pyramid, golden: Pyramid) -> torch.Tensor:
        """Return logits (B, 2) of projected pyramids; goldens (N * B, …) are golden-major."""
        differences: list[torch.Tensor] = []  # coarsest first
        coarser: torch.Tensor | None = None
        for level in (4, 3, 2, 1):
            each = test[level - 1]
            if self.num_golden > 1:
                each = each.repeat(self.num_golden, 1, 1, 1)
            joined = torch.cat([each, golden[level - 1]], dim=1)
            found = getattr(self, f"diff_c{level}")(joined)
            if coarser is not None:
                found = found + self._resized(coarser, found.shape[-2:])
            differences.append(found)
            coarser = found
        if self.num_golden > 1:
            differences = [
                self._over_goldens(level, found)
                for level, found in zip((4, 3, 2, 1), differences, strict=True)
            ]
        finest = differences[-1].shape[-2:]
        fused = self.linear_fuse(
            torch.cat([self._resized(d, finest) for d in differences[: self.used]], dim=1)
        )
        return self.classifier(fused.flatten(1))

    def _over_goldens(self, level: int, found: torch.Tensor) -> torch.Tensor:
        """Bring the differences to all goldens, (N * B, C, H, W), to one map a pair."""
        found = found + getattr(self, f"position_embedding_c{level}").repeat(1, 1, WINDOW, WINDOW)
        attended = found + getattr(self, f"attn_c{level}")(found, self.num_golden)
        each = getattr(self, f"bn{level}")(attended)
        return each.unflatten(0, (self.num_golden, -1)).amax(dim=0)

    def _projected(self, level: int, features: torch.Tensor) -> torch.Tensor:
        tokens = getattr(self, f"linear_c{level}")(features)
        return as_map(tokens, features.shape[-2:], training=self.training)

    def _resized(self, features: torch.Tensor, size: torch.Size) -> torch.Tensor:
        if features.shape[-2:] == size:
            return features
        return F.interpolate(features, size=size, mode="bilinear", align_corners=self.align_corners)
