"""NV-DINOv2 ViT-L with TAO's names: a transformer with SwiGLU, with or without the ViT-Adapter.

Sources: Oquab et al. 2023 (DINOv2), Shazeer 2020 (SwiGLU), Chen et al. 2023 (ViT-Adapter). The
transformer is timm's. No reference numbers exist: key and parameter counts agree with TAO's, the
results themselves are unverified.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from timm.layers import PatchEmbed, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.pretrained import fill_part, read_backbone_file
from deft.changenet.backbones.vit_adapter import AdapterPyramid, AdapterSize
from deft.changenet.layout import padded
from deft.core.errors import HardStop
from deft.core.weight_files import BACKBONE_KEY as KEY

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

NAME = "vit_large_nvdinov2"
CLASS_TOKENS = 1
TABLE, PATCHES = "pos_embed", "patch_embed.proj.weight"
OWN_NAMES = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")
DINOV2_NAMES = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}  # -> timm's
PLACE_OFFSET = 0.1  # DINOv2 resamples its table to this much more than the wanted places


@dataclass(frozen=True)
class DinoSize:
    """Sizes of the transformer; the defaults are those of ViT-L.

    ``hidden``: outputs of SwiGLU's first layer, gate and value together.
    ``table_px``: side of the picture that the position table without adapter is made for.
    """

    width: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 5472
    patch_px: int = 14
    adapter_patch_px: int = 16
    table_px: int = 518
    adapter_drop_path: float = 0.4


LARGE = DinoSize()
ADAPTER = AdapterSize(norm_eps=1e-6, drop_path=LARGE.adapter_drop_path)


def _transformer(
    size: DinoSize, patch_px: int, picture_px: int, drop_path: float = 0.0
) -> dict[str, Any]:
    """Return timm's arguments."""
    return {
        "img_size": picture_px,
        "patch_size": patch_px,
        "num_classes": 0,
        "global_pool": "token",
        "embed_dim": size.width,
        "depth": size.depth,
        "num_heads": size.heads,
        "mlp_ratio": size.hidden / size.width,
        "init_values": 1e-5,
        "drop_path_rate": drop_path,
        "mlp_layer": SwiGLUPacked,
        "act_layer": nn.SiLU,
        "embed_layer": partial(PatchEmbed, strict_img_size=False),
    }


class NvDino(Backbone, VisionTransformer):
    """The transformer alone: the class token as a picture's embedding, for the euclidean module.

    Pictures (B, 3, H, W) may have any sides that are multiples of the patch.
    """

    joint_batch = True  # no batch norm and nothing random
    pos_embed: nn.Parameter
    cls_token: nn.Parameter

    def __init__(self, size: DinoSize = LARGE) -> None:
        super().__init__(**_transformer(size, size.patch_px, size.table_px))
        self.patch_px = size.patch_px
        self.channels = [size.width] * 4
        self.embedding_width = size.width

    def tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> normalised tokens (B, 1 + H/p * W/p, C), the class token first."""
        rows, columns = (side // self.patch_px for side in pictures.shape[-2:])
        table = positions(self.pos_embed, rows, columns, offset=PLACE_OFFSET)
        return self.norm(self.blocks(_with_class_token(self, pictures) + table))

    def embedding(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the class token, (B, C)."""
        return self.tokens(pictures)[:, 0]

    # Maps as all backbones give them, where timm's class gives one vector.
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        """Return the last map (B, C, H/p, W/p) once per level; only ``embedding`` has a use."""
        rows, columns = (side // self.patch_px for side in pictures.shape[-2:])
        last = self.tokens(pictures)[:, CLASS_TOKENS:].transpose(1, 2).unflatten(2, (rows, columns))
        return [last] * 4

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the mean over places, (B, C); sides that do not fit are padded."""
        return self.tokens(padded(pictures, self.patch_px))[:, CLASS_TOKENS:].mean(dim=1)

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer from a file; return the names that had no use."""
        return _load(self, path)


class NvDinoAdapter(AdapterPyramid, VisionTransformer):
    """The transformer with its adapter: a picture to four maps of one width.

    ``picture_px``: side of the square picture that the position table is made for. Pictures of
    other sides, multiples of the patch, get the table resampled.
    """

    pos_embed: nn.Parameter
    cls_token: nn.Parameter

    def __init__(
        self, picture_px: int, size: DinoSize = LARGE, adapter: AdapterSize = ADAPTER
    ) -> None:
        patch_px = size.adapter_patch_px
        super().__init__(**_transformer(size, patch_px, picture_px, size.adapter_drop_path))
        self.patch_px = patch_px
        self.add_adapter(size.width, CLASS_TOKENS, adapter)

    @property
    def pretrained_part(self) -> nn.Module:
        """What ``freeze_backbone`` freezes: the transformer, but for its class token.

        As upstream: the class token makes the summary and goes on learning with the adapter.
        """
        part = nn.Module()
        part.pos_embed = self.pos_embed
        part.patch_embed, part.blocks, part.norm = self.patch_embed, self.blocks, self.norm
        return part

    # Maps as all backbones give them, where timm's class gives one vector.
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        """(B, 3, H, W), sides multiples of 16 -> maps at strides 4, 8, 16, 32, finest first."""
        rows, columns = (side // self.patch_px for side in pictures.shape[-2:])
        tokens = _with_class_token(self, pictures) + positions(self.pos_embed, rows, columns)
        return self.pyramid(pictures, tokens, list(self.blocks), self.patch_px)

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Fill the transformer, not the adapter, from a file; return the names without use."""
        part = self.pretrained_part
        part.cls_token = self.cls_token
        return _load(part, path)


def _with_class_token(vit: NvDino | NvDinoAdapter, pictures: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, 1 + places, C), without positions."""
    tokens = vit.patch_embed(pictures)
    return torch.cat([vit.cls_token.expand_as(tokens[:, :1]), tokens], dim=1)


def positions(table: torch.Tensor, rows: int, columns: int, *, offset: float = 0.0) -> torch.Tensor:
    """Return a table (1, 1 + n * n, C) for ``rows`` x ``columns`` places, (1, 1 + places, C).

    Bicubic, corners not aligned, no smoothing. With ``offset`` the scale is (places + offset) / n
    as in DINOv2, where it keeps rounding from losing a place.
    """
    side = math.isqrt(table.shape[1] - CLASS_TOKENS)
    rows, columns = int(rows), int(columns)  # fixed in a traced export
    if (rows, columns) == (side, side):
        return table
    first, grid = table[:, :CLASS_TOKENS], table[:, CLASS_TOKENS:]
    grid = grid.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    wanted: dict[str, Any] = {"size": (rows, columns)}
    if offset:
        wanted = {"scale_factor": ((rows + offset) / side, (columns + offset) / side)}
    grid = F.interpolate(grid, mode="bicubic", align_corners=False, **wanted)
    return torch.cat([first, grid.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


def _load(part: nn.Module, path: str | Path) -> list[str]:
    """Fill the transformer's tensors; patches and table of another size are resampled.

    Raises HardStop ``missing_input`` or ``spec_invalid`` (missing, extra, misshapen keys).
    """
    tensors = dino_names(read_backbone_file(path))
    wanted = part.state_dict()
    patches, table = tensors.get(PATCHES), tensors.get(TABLE)
    if patches is not None and patches.ndim == 4:
        kernel = wanted[PATCHES].shape[-2:]
        if patches.shape[-2:] != kernel:
            patches = patches.float()
            tensors[PATCHES] = F.interpolate(
                patches, size=tuple(kernel), mode="bicubic", align_corners=False
            )
    if table is not None and table.ndim == 3 and table.shape[1] != wanted[TABLE].shape[1]:
        if math.isqrt(table.shape[1] - CLASS_TOKENS) ** 2 != table.shape[1] - CLASS_TOKENS:
            raise HardStop(
                "spec_invalid",
                f"{KEY}: {TABLE} has {table.shape[1]} entries, which is no square and one",
                file=path,
                fix="give a file without register tokens",
            )
        side = math.isqrt(wanted[TABLE].shape[1] - CLASS_TOKENS)
        tensors[TABLE] = positions(table, side, side)
    return fill_part(part, tensors, path, name="the NV-DINOv2 transformer", own=OWN_NAMES)


def dino_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return entries under timm's names where DINOv2's own differ."""
    result = {}
    for name, value in tensors.items():
        for theirs, ours in DINOV2_NAMES.items():
            name = name.replace(theirs, ours)
        result[name] = value
    return result


def build_nvdinov2(spec: Spec) -> Backbone:
    """Return the backbone that goes with the spec's difference module, randomly initialised.

    The adapter's position table has one side; a spec with a picture that is not square is refused.
    """
    if not spec.learnable:
        return NvDino()
    return NvDinoAdapter(spec.tensor_size[0])


BUILDERS: dict[str, Callable[[Spec], Backbone]] = {NAME: build_nvdinov2}
