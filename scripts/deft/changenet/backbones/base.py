"""What every backbone has."""

from __future__ import annotations

import torch
from torch import nn


class Backbone(nn.Module):
    """A picture (B, 3, H, W) to four feature maps, finest first.

    ``channels``: of the four levels. Some have more, see :mod:`deft.changenet.backbones`.
    """

    channels: list[int]

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places of the last level, (B, C_4)."""
        raise NotImplementedError
