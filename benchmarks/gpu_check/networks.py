"""The networks that are compared and measured, with random weights, and their pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from changenet_speed import changenet_spec

from deft.changenet.model import ChangeNet, build_model
from deft.changenet.spec import Spec, from_dict
from deft.changenet.weights import save_weights


def spec_of(backbone: str, side_px: int, **train: object) -> Spec:
    """Return the spec of a learnable network at a picture size."""
    data = changenet_spec(backbone).to_dict()
    data["dataset"]["classify"] |= {"image_width": side_px, "image_height": side_px}
    data["train"] |= train
    return from_dict(data)


def network(spec: Spec, seed: int = 0) -> ChangeNet:
    """Return the spec's network on the CPU, random weights."""
    torch.manual_seed(seed)
    return build_model(spec)


def pictures(
    pairs: int, side_px: int, device: torch.device, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised random pictures of both sides, float32 (pairs, 3, side, side)."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(2, pairs, 3, side_px, side_px, generator=generator)
    test, golden = (side.to(device).contiguous(memory_format=torch.channels_last) for side in both)
    return test, golden


def saved(model: ChangeNet, path: Path) -> Path:
    """Write a model file of ``model``; return its path."""
    save_weights(path, model, epoch=0, step=1)
    return path
