"""Frozen DINOv3 backbones (TAO 7.1), on timm's models. Unverified: no reference numbers.

Sources: Siméoni et al. 2025, "DINOv3"; for the adapter see ``vit_adapter``. Keys: ``vit.…`` with
the learnable module, ``inner.…`` with the euclidean one, then timm's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn

from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.pretrained import fill_part, read_backbone_file
from deft.changenet.backbones.radio_vit import PATCH_PX
from deft.changenet.backbones.vit_adapter import AdapterPyramid, AdapterSize
from deft.changenet.layout import as_map, padded
from deft.core.errors import HardStop
from deft.core.weight_files import BACKBONE_KEY as KEY

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

TIMM_NAMES = {
    "vit_small_dinov3": "vit_small_patch16_dinov3",
    "vit_small_plus_dinov3": "vit_small_plus_patch16_dinov3",
    "vit_base_dinov3": "vit_base_patch16_dinov3",
    "vit_large_dinov3": "vit_large_patch16_dinov3",
    "vit_huge_plus_dinov3": "vit_huge_plus_patch16_dinov3",
    "vit_7b_dinov3": "vit_7b_patch16_dinov3",
}
ADAPTER_DROP_PATH = 0.4
PREFIXES = ("vit.", "inner.")  # TAO's, in front of timm's names
OWN = ("blocks.", "patch_embed.", "cls_token", "reg_token", "norm.")
UNCONVERTED = "register_tokens"  # only in files of TAO's own DINOv3 training


def dino_vit(name: str, **options: Any) -> nn.Module:
    """Return timm's transformer, randomly initialised; ``options`` change its sizes in tests."""
    return timm.create_model(
        name, pretrained=False, num_classes=0, dynamic_img_size=True, **options
    )


class DinoV3(Backbone):
    """The transformer alone: its class token is the embedding of the euclidean module."""

    joint_batch = True  # no batch norm and nothing random
    inner: Any  # timm's transformer

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.inner = vit
        self.channels = [vit.embed_dim] * 4
        self.embedding_width = vit.embed_dim

    def embedding(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W), sides multiples of 16 -> the class token (B, C)."""
        return self.inner.forward_features(pictures)[:, 0]

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the last map (B, C, H/16, W/16) once per level; only ``embedding`` has a use."""
        tokens = self.inner.forward_features(pictures)[:, self.inner.num_prefix_tokens :]
        rows, columns = (side // PATCH_PX for side in pictures.shape[-2:])
        return [as_map(tokens, (rows, columns), training=self.training)] * 4

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places, (B, C)."""
        return self(padded(pictures, PATCH_PX))[-1].mean(dim=(2, 3))

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer from a file; return the names in it that had no use."""
        return load_dino(self.inner, path)


class DinoV3Adapter(AdapterPyramid):
    """The transformer with an adapter that learns: a picture to four maps of one width."""

    vit: Any  # timm's transformer

    def __init__(self, vit: Any, adapter: AdapterSize) -> None:
        super().__init__()
        self.vit = vit
        self.add_adapter(vit.embed_dim, vit.num_prefix_tokens, adapter)

    @property
    def pretrained_part(self) -> nn.Module:
        """What ``pretrained_backbone_path`` fills and ``freeze_backbone`` freezes."""
        return self.vit

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W), sides multiples of 16 -> maps at strides 4, 8, 16, 32, finest first."""
        vit = self.vit
        # Positions are rotations inside each block's attention, not part of the tokens.
        tokens, rotations = vit._pos_embed(vit.patch_embed(pictures))
        blocks = [partial(block, rope=rotations) for block in vit.blocks]
        return self.pyramid(pictures, vit.norm_pre(tokens), blocks, PATCH_PX)

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer, not the adapter, from a file."""
        return load_dino(self.vit, path)


def load_dino(vit: nn.Module, path: str | Path) -> list[str]:
    """Fill a DINOv3 transformer from a file of timm's layout; return the names without use.

    Raises HardStop ``missing_input`` or ``spec_invalid``.
    """
    tensors = {}
    for name, value in read_backbone_file(path).items():
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        tensors[name] = value
    if UNCONVERTED in tensors:
        raise HardStop(
            "spec_invalid",
            f"{KEY} has {UNCONVERTED}: a file as DINOv3's own training writes it, not in timm's "
            "layout",
            file=path,
            fix="convert it with TAO's `dinov3 convert`, or take timm's published file",
        )
    return fill_part(vit, tensors, path, name="the DINOv3 transformer", own=OWN)


def build_dino(name: str, spec: Spec) -> Backbone:
    """Return the backbone that goes with the spec's difference module, randomly initialised."""
    vit = dino_vit(TIMM_NAMES[name])
    if not spec.learnable:
        return DinoV3(vit)
    summary = spec.model.decode_head.use_summary_token
    return DinoV3Adapter(vit, AdapterSize(summary=summary, drop_path=ADAPTER_DROP_PATH))


BUILDERS: dict[str, Callable[[Spec], Backbone]] = {
    name: partial(build_dino, name) for name in TIMM_NAMES
}
