"""The reference numbers that TAO's public code gave, and the rules by which they were made.

The folder is the one that ``TAO_VECTORS`` names, else ``shared/vectors`` beside the project, else
the small subset kept here. Tests look for cases instead of naming them, so that a case laid into
the folder is compared as well.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
KEPT = HERE / "kept"
WANTED = Path(os.environ.get("TAO_VECTORS") or HERE.parents[2] / "shared/vectors")
COMPLETE = WANTED.is_dir()
FOLDER = WANTED if COMPLETE else KEPT

LOGITS_TOLERANCE = 1e-4
UNIT_TOLERANCE = 1e-5
SPREAD = 256  # values kept of each stage


def compared() -> str:
    """Return one line: which folder is compared with, and how many cases are left out."""
    if COMPLETE:
        return f"TAO reference numbers: all cases of {FOLDER}"
    whole = json.loads((KEPT / "whole.json").read_text())
    here = {kind: len(list(KEPT.glob(f"{kind}/*.npz"))) for kind in whole}
    left_out = ", ".join(f"{whole[k] - here[k]} of {whole[k]} {k}" for k in whole)
    return (
        f"TAO reference numbers: {WANTED} is absent (set TAO_VECTORS); compared with the kept "
        f"subset, skipped: {left_out}"
    )


def has(relative: str) -> bool:
    """Whether the folder holds this file."""
    return (FOLDER / relative).is_file()


@cache
def load_json(relative: str) -> Any:
    """Return a file of the folder; treat it as read-only."""
    return json.loads((FOLDER / relative).read_text())


def load_npz(relative: str) -> dict[str, np.ndarray]:
    """Return all arrays of a file of the folder."""
    with np.load(FOLDER / relative) as arrays:
        return dict(arrays)


def unit_names(prefix: str = "") -> list[str]:
    """Return the building blocks that have numbers here and whose name starts with ``prefix``."""
    if not has("units/units.json"):
        return []
    names = load_json("units/units.json")["units"]
    return [n for n in names if n.startswith(prefix) and has(f"units/{n}.npz")]


def unit(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a building block's facts and arrays."""
    return load_json("units/units.json")["units"][name], load_npz(f"units/{name}.npz")


def model_cases() -> list[str]:
    """Return the whole-model cases that have configuration, numbers and keys here."""
    return sorted(
        path.stem
        for path in (FOLDER / "model").glob("*.npz")
        if has(f"model/{path.stem}.json") and has(f"model/{path.stem}.keys.csv")
    )


def keys_csv(case: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Return (key, shape, dtype) of a case's state in order."""
    with (FOLDER / f"model/{case}.keys.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(key, _shape(shape), dtype) for key, shape, dtype in rows]


def _shape(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(int(side) for side in text.split("x"))


def filled(key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the reference's numbers for the tensor ``key``, or None where it stays as built."""
    last = key.rpartition(".")[2]
    if key == "criterion.weight" or last in ("num_batches_tracked", "scaling"):
        return None
    random = np.random.RandomState(zlib.crc32(key.encode()))
    z = random.standard_normal(shape).astype(np.float32)
    if last == "running_mean":
        new = 0.1 * z
    elif last == "running_var":
        new = 1 + 0.1 * np.abs(z)
    elif key.endswith("sampling_offsets.bias"):
        new = 2 * z
    elif last.startswith("gamma"):
        new = 0.5 + 0.1 * z
    elif last == "temperature" or (last == "weight" and len(shape) == 1):
        new = 1 + 0.1 * z
    elif last == "bias":
        new = 0.1 * z
    elif last == "weight":
        new = z / np.sqrt(np.prod(shape[1:]))
    else:
        new = 0.5 * z
    return np.asarray(new, np.float32)


def fill(module: nn.Module, prefix: str = "") -> list:
    """Fill a module by the reference's rule, in eval mode; return its keys and shapes in order."""
    state = module.state_dict()
    for name, value in state.items():
        new = filled(prefix + name, tuple(value.shape))
        if new is not None:
            value.copy_(torch.from_numpy(new))
    module.eval()
    return [[name, list(value.shape)] for name, value in state.items()]


def picture(seed: int, batch: int, height: int, width: int) -> torch.Tensor:
    """Return the reference's input of a seed, float32 (batch, 3, height, width)."""
    fine = np.random.RandomState(seed).standard_normal((batch, 3, height, width))
    coarse = np.random.RandomState(seed + 1).standard_normal((batch, 3, height // 16, width // 16))
    blocks = coarse.repeat(16, axis=2).repeat(16, axis=3)
    return torch.from_numpy((0.5 * fine + blocks).astype(np.float32))


def spread(values: torch.Tensor, count: int = SPREAD) -> np.ndarray:
    """Return the evenly spread values that the reference keeps of a stage."""
    flat = values.detach().flatten()
    return flat[:: max(1, flat.numel() // count)][:count].numpy()
