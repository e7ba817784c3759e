"""Multi-scale deformable attention by ``grid_sample``.

Source: Zhu et al. 2021, "Deformable DETR", section 4.1. Each query looks at a few points around
its own place on every level, at offsets and with weights that it computes itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

Sizes = Sequence[tuple[int, int]]  # (rows, columns) of each level


class DeformableAttention(nn.Module):
    """Attention of queries over the levels of a token list.

    Parameters
    ----------
    d_model: width of queries, values and output.
    n_levels, n_heads, n_points: points are per head and level.
    ratio: width of the values inside, as a share of ``d_model``.
    """

    def __init__(
        self, d_model: int, n_levels: int, n_heads: int, n_points: int, ratio: float = 1.0
    ) -> None:
        super().__init__()
        self.n_levels, self.n_heads, self.n_points = n_levels, n_heads, n_points
        inner = int(d_model * ratio)
        if inner % n_heads:
            raise ValueError(f"{inner} channels do not divide into {n_heads} heads")
        self.sampling_offsets = nn.Linear(d_model, n_heads * n_levels * n_points * 2)
        self.attention_weights = nn.Linear(d_model, n_heads * n_levels * n_points)
        self.value_proj = nn.Linear(d_model, inner)
        self.output_proj = nn.Linear(inner, d_model)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with equal weights and with each head looking in a direction of its own."""
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        angle = torch.arange(self.n_heads, dtype=torch.float32) * (2 * math.pi / self.n_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)  # onto a square
        distance = torch.arange(1, self.n_points + 1, dtype=torch.float32)
        # (heads, levels, points, 2): the k-th point lies k places away.
        bias = direction[:, None, None] * distance[:, None]
        bias = bias.expand(self.n_heads, self.n_levels, self.n_points, 2)
        self.sampling_offsets.bias.copy_(bias.flatten())
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, query: torch.Tensor, points: torch.Tensor, value: torch.Tensor, sizes: Sizes
    ) -> torch.Tensor:
        """Return (B, Nq, C).

        ``query`` (B, Nq, C); ``points`` (Nq, 2) the queries' own places as (x, y) in 0..1;
        ``value`` (B, sum of rows * columns, C), level after level, row by row.
        """
        batch, count = query.shape[:2]
        shape = (batch, count, self.n_heads, self.n_levels, self.n_points)
        offsets = self.sampling_offsets(query).reshape(*shape, 2)
        weights = self.attention_weights(query).reshape(batch, count, self.n_heads, -1)
        weights = weights.softmax(dim=-1).reshape(shape)
        # (B, N, inner) -> (B * heads, channels, N); places are computed and looked up in float32,
        # since bfloat16 would move them by whole pixels.
        values = self.value_proj(value)
        dtype = values.dtype
        values = values.float().transpose(1, 2).reshape(batch * self.n_heads, -1, value.shape[1])
        sampled = []
        start = 0
        for level, (rows, columns) in enumerate(sizes):
            features = values[:, :, start : start + rows * columns].unflatten(2, (rows, columns))
            start += rows * columns
            # Each by a plain number: a tensor of both would be sent to the GPU at every call.
            x, y = offsets[:, :, :, level].float().unbind(-1)
            places = points[:, None, None] + torch.stack([x / columns, y / rows], dim=-1)
            places = places.transpose(1, 2).flatten(0, 1)  # (B * heads, Nq, points, 2)
            sampled.append(
                F.grid_sample(
                    features,
                    2 * places - 1,
                    mode="bilinear",
                    padding_mode="zeros",
                    align_corners=False,
                )
            )
        # (B * heads, channels, Nq, levels * points) weighted by (B * heads, 1, Nq, the same).
        weights = weights.float().transpose(1, 2).reshape(batch * self.n_heads, 1, count, -1)
        found = (torch.cat(sampled, dim=-1) * weights).sum(dim=-1)
        found = found.reshape(batch, -1, count).transpose(1, 2)
        return self.output_proj(found.to(dtype))


def cell_centres(sizes: Sizes, like: torch.Tensor) -> torch.Tensor:
    """Return the centre of each place as (x, y) in 0..1, float32 (sum of rows * columns, 2)."""
    centres = []
    for rows, columns in sizes:
        y = (torch.arange(rows, dtype=torch.float32, device=like.device) + 0.5) / rows
        x = (torch.arange(columns, dtype=torch.float32, device=like.device) + 0.5) / columns
        centres.append(
            torch.stack([x.expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)
        )
    return torch.cat([centre.reshape(-1, 2) for centre in centres])
