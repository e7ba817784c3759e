"""``pretrained_backbone_path``: fills a backbone from the files that TAO reads.

Files: ``.safetensors`` (flat), or ``.pth`` with a flat dictionary, one wrapped in ``state_dict`` or
``model``, or a TAO checkpoint of task ``classification``. Nothing is unpickled as code.

TAO loads the transformer non-strictly and only logs what is missing. Here a file that does not
fill every tensor of it is refused, and so is one with further tensors inside its blocks or patch
generator (a C-RADIO v3 file, say, whose layer scales upstream would leave out without a word).
Tensors of other parts, such as a classifier's head, are left aside as upstream does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from deft.changenet.weights import fill, named_tensors, read_state, read_tensors
from deft.core.errors import HardStop
from deft.core.weight_files import BACKBONE_KEY as KEY

TAO_TASK = "classification"
WRAPPERS = ("state_dict", "model")
# What TAO strips from names: the general prefixes, again and again, then C-RADIO's, each once.
GENERAL_PREFIXES = ("backbone.", "model.backbone.", "model.encoder.", "model.decoder.", "model.")
RADIO_PREFIXES = ("radio_model.model.", "base_model.", "radio.radio.model.")
DROPPED = ("ema_",)
TABLE = "patch_generator.pos_embed"
PREFIX_TOKENS = "patch_generator.cls_token.token"
EMBEDDER = "patch_generator.embedder.weight"
RADIO_PARTS = ("blocks.", "patch_generator.")


def read_backbone_file(path: str | Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors under cleaned names.

    Raises
    ------
    HardStop ``missing_input`` where there is no file, ``spec_invalid`` for a broken one, one with
    more than tensors, and a TAO checkpoint of another task.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return cleaned(read_tensors(path))
    data = read_state(path)
    task = data.get("tao_model", TAO_TASK)
    if task != TAO_TASK:
        raise HardStop(
            "spec_invalid",
            f"{KEY} names a TAO checkpoint of {task!r}; only weights of a backbone and TAO "
            f"checkpoints of {TAO_TASK!r} are read here",
            file=path,
            fix="a whole ChangeNet goes into train.pretrained_model_path",
        )
    for wrapper in WRAPPERS:
        if isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
            break
    return cleaned(named_tensors(data, path))


def cleaned(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries under the names that TAO's general prefix cleaner gives them."""
    result = {}
    for name, value in tensors.items():
        new = name
        if "module" in new and "." in new:
            new = new.partition(".")[2]  # what DataParallel puts in front
        while prefix := next((p for p in GENERAL_PREFIXES if new.startswith(p)), ""):
            new = new.removeprefix(prefix)
        if not new.startswith(DROPPED):
            result[new] = value
    return result


def radio_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return cleaned entries under the transformer's own names (``blocks.0.norm1.weight``)."""
    result = {}
    for name, value in tensors.items():
        for prefix in RADIO_PREFIXES:
            name = name.removeprefix(prefix)
        result[name.replace("grandma", "gamma")] = value
    return result


def fill_part(
    part: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    path: str | Path,
    *,
    name: str,
    own: Sequence[str],
) -> list[str]:
    """Fill ``part`` completely; return the names in the file that are no part of it.

    Parameters
    ----------
    name: what the part is called in messages.
    own: beginnings of names that belong to the part; a tensor under one of them that the part
        does not have means another architecture.

    Raises
    ------
    HardStop ``spec_invalid``, one line with the missing, extra and misshapen keys.
    """
    wanted = part.state_dict()
    used = {k: v for k, v in tensors.items() if k in wanted or k.startswith(tuple(own))}
    fix = "give the weights of the backbone that model.backbone.type names"
    fill(part, used, path, "spec_invalid", f"{KEY} does not fit {name}", fix)
    return [k for k in tensors if k not in used]


def load_radio(vit: nn.Module, path: str | Path) -> list[str]:
    """Fill a C-RADIO transformer; return the names in the file that had no use.

    A position table of another size is resampled. Raises HardStop ``missing_input`` or
    ``spec_invalid``.
    """
    tensors = radio_names(read_backbone_file(path))
    absent = [key for key in (TABLE, EMBEDDER) if key not in tensors]
    if absent:
        found = ", ".join(list(tensors)[:3]) or "no tensors"
        raise HardStop(
            "spec_invalid",
            f"{KEY} is no C-RADIO file: {' and '.join(absent)} missing (it has {found}, ...)",
            file=path,
            fix="names must begin with one of "
            + ", ".join(f"{p!r}" for p in RADIO_PREFIXES)
            + " or with none",
        )
    wanted = vit.state_dict()
    tokens = tensors.get(PREFIX_TOKENS)
    if tokens is not None and tokens.ndim == 2 and len(tokens) != len(wanted[PREFIX_TOKENS]):
        raise HardStop(
            "spec_invalid",
            f"{KEY} has {len(tokens)} class and register tokens instead of "
            f"{len(wanted[PREFIX_TOKENS])}",
            file=path,
            fix="give the weights of the backbone that model.backbone.type names",
        )
    tensors[TABLE] = resampled_table(tensors[TABLE], wanted[TABLE].shape[1], path)
    return fill_part(vit, tensors, path, name="the C-RADIO transformer", own=RADIO_PARTS)


def resampled_table(table: torch.Tensor, places: int, path: str | Path) -> torch.Tensor:
    """Return a square position table (1, n * n, C) with ``places`` entries, (1, places, C).

    Bicubic with aligned corners, without smoothing, as upstream does.
    """
    if table.ndim != 3 or table.shape[1] == places:
        return table
    side, wanted = math.isqrt(table.shape[1]), math.isqrt(places)
    if side * side != table.shape[1]:
        raise HardStop(
            "spec_invalid",
            f"{KEY}: {TABLE} has {table.shape[1]} places, which is no square",
            file=path,
        )
    grid = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=True)
    return grid.permute(0, 2, 3, 1).reshape(1, places, -1).to(table.dtype)
