"""Weights of a backbone for the drawn workspace: a file such as a user is given lies there."""

from __future__ import annotations

import io
from pathlib import Path

from deft.core.files import write_bytes_atomic
from deft.core.layout import BACKBONE_DIR

NETWORK = "test_convnext"  # timm's; the template's spec names it and the file
BACKBONE_FILE = f"{BACKBONE_DIR}/{NETWORK}.pth"


def write_backbone(out: Path, seed: int) -> None:
    """Write the numbers that ``seed`` gives the network: a training with it begins as without."""
    import timm  # seconds of import, wanted only here
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = timm.create_model(NETWORK, pretrained=False)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    path = out / BACKBONE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, buffer.getvalue())
