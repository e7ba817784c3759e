"""Losses and scores of both difference modules."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class WeightedCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy of logits (B, 2) with labels (B, 1): sum(w * nll) / sum(w)."""

    def forward(self, output: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return super().forward(output.float(), label.squeeze(1).long())


class ContrastiveLoss(nn.Module):
    """Pull good pairs together and push bad ones beyond ``margin``, from distances (B,).

    ``upstream_compat`` gives the value that TAO trains with: distances (B,) against labels (B, 1)
    broadcast to B x B, so the loss knows the share of bad pairs but not which they are.
    """

    def __init__(self, margin: float, *, upstream_compat: bool = False) -> None:
        super().__init__()
        self.margin = margin
        self.upstream_compat = upstream_compat

    def forward(self, distance: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        label = label if self.upstream_compat else label.squeeze(1)
        far = torch.clamp(self.margin - distance, min=0.0)
        return torch.mean((1 - label) * distance.square() + label * far.square())


def distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the L2 distance of embeddings (B, D) as (B,); equal ones give 1e-6 * sqrt(D)."""
    return F.pairwise_distance(first.float(), second.float(), p=2.0, eps=1e-6)
