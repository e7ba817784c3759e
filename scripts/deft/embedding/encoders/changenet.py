"""The network's own backbone as an encoder: the pooled last level of one light's picture."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from deft.changenet.backbones import Backbone
from deft.changenet.model import build_model
from deft.changenet.spec import Spec
from deft.changenet.weights import load_weights
from deft.core.files import sha256_file
from deft.embedding.encoders.preprocessing import SQUASH, Preprocessing
from deft.embedding.encoders.table import CHANGENET
from deft.embedding.encoders.torch_encoder import Options, TorchEncoder


class Pooled(nn.Module):
    """Pictures (B, 3, H, W) to the pooled last level (B, C_4)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places."""
        return self.backbone.pooled(pictures)


def preprocessing(spec: Spec) -> Preprocessing:
    """Return what the network's own loader does with one light's picture, without augmentation."""
    config = spec.dataset.classify.augmentation_config
    return Preprocessing(
        size_px=spec.picture_size,
        resize_px=spec.picture_size,
        resize=SQUASH,
        interpolation="bilinear",
        mean=tuple(config.rgb_input_mean),
        std=tuple(config.rgb_input_std),
    )


def build(spec: Spec, weights: str | Path, options: Options) -> TorchEncoder:
    """Return the encoder of a model file; raises HardStop when it does not fit the spec."""
    model = build_model(spec)
    load_weights(model, weights)
    backbone = model.model.backbone
    facts = {
        "files": {"weights": sha256_file(weights)},
        "backbone": spec.model.backbone.type,
        "output": "pooled last level",
    }
    return TorchEncoder(
        CHANGENET, Pooled(backbone), int(backbone.channels[-1]), preprocessing(spec), facts, options
    )
