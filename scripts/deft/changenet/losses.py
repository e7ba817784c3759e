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


def batch_mass(criterion: nn.Module, labels: torch.Tensor) -> float:
    """Return what a batch's loss is divided by: the sum of class weights, or the number of pairs.

    ``labels``: (B, 1), 0 or 1. A ``criterion`` on a GPU is waited for: give a copy on the CPU.
    """
    weight = getattr(criterion, "weight", None)
    if weight is None:
        return float(labels.numel())
    return float(weight.detach().double().cpu()[labels.long().flatten()].sum())


def loss_shares(criterion: nn.Module, groups: list[torch.Tensor], *, equal: bool) -> list[float]:
    """Return the factors with which the losses of several batches make the loss of all at once.

    A weighted mean over the whole is the mean of the parts' weighted means, each weighted with its
    own sum of class weights: ``sum_k (m_k / sum m) * loss_k``, ``m_k`` from :func:`batch_mass`.
    ``equal`` gives each the same factor instead, as TAO's accumulation and DDP do (that differs
    when the parts have unequal shares of defects).
    """
    if equal or len(groups) == 1:
        return [1.0 / len(groups)] * len(groups)
    masses = [batch_mass(criterion, labels) for labels in groups]
    whole = sum(masses)
    return [mass / whole for mass in masses]
