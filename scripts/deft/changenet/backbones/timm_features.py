"""``timm:<name>``: any timm model with four feature levels as a backbone."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from deft.changenet.backbones.base import Backbone
from deft.core.errors import HardStop

LEVELS = 4


class TimmBackbone(Backbone):
    """A timm feature extractor whose last four levels are brought to the spec's strides.

    ``channels`` are those of the four levels. ``joint_batch``: test and golden pictures may go
    through in one batch. TAO runs its two sides one after the other, so that batch norms see each
    side alone; one batch of both gives batch norms twice the sample and is nearly twice as fast.
    """

    joint_batch = True
    net: Any  # timm's feature extractor

    def __init__(self, name: str, size: tuple[int, int], strides: Sequence[int]) -> None:
        super().__init__()
        self.net, self.made_with = _create(name, size)
        self.name = name
        self.channels = [int(c) for c in self.net.feature_info.channels()]
        self.channels_last_output = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        self.strides = list(strides)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return four maps (B, C_k, H / stride_k, W / stride_k), finest first."""
        height, width = pictures.shape[-2:]
        levels = []
        for features, stride in zip(self.net(pictures), self.strides, strict=True):
            if self.channels_last_output:
                features = features.permute(0, 3, 1, 2)
            wanted = (math.ceil(height / stride), math.ceil(width / stride))
            if tuple(features.shape[-2:]) != wanted:
                features = F.interpolate(
                    features, size=wanted, mode="bilinear", align_corners=False
                )
            levels.append(features)
        return levels

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places of the last level, (B, C_4)."""
        last = self.net(pictures)[-1]
        return last.mean(dim=(1, 2) if self.channels_last_output else (2, 3))


def _create(name: str, size: tuple[int, int]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the feature extractor and the arguments that the whole model wants too."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise HardStop(
            "spec_invalid",
            f"model.backbone.type: timm has no model {name!r}",
            fix=f"did you mean {', '.join(near)}?" if near else "see timm.list_models()",
        )
    options: dict[str, Any] = {
        "pretrained": False,  # never a download: weights come from a local file
        "features_only": True,
        "out_indices": tuple(range(-LEVELS, 0)),
    }
    try:
        # Models with position tables want to know the picture's size, and (as encoders) must take
        # one light's picture too; others refuse these arguments.
        attempts: tuple[dict[str, Any], ...] = (
            {"img_size": size, "dynamic_img_size": True},
            {"img_size": size},
        )
        for extra in attempts:
            try:
                return timm.create_model(name, **extra, **options), extra
            except TypeError:
                continue
        return timm.create_model(name, **options), {}
    except (RuntimeError, ValueError, AssertionError, IndexError, AttributeError) as error:
        raise HardStop(
            "spec_invalid",
            f"model.backbone.type: timm's {name!r} does not give {LEVELS} feature levels at "
            f"{size[1]} x {size[0]} pixels ({error})",
            fix="choose a model such as timm:resnet10t or timm:mobilenetv3_small_050",
        ) from None
