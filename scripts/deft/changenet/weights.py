"""Model files: TAO's dictionary with the network's state, never unpickled as code."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.errors import HardStop
from deft.files import write_bytes_atomic

TAO_MODEL = "visual_changenet_classify"
LIGHTNING_VERSION = "2.5.0.post0"  # the layout that TAO's loader expects
KEYS_NAMED = 4


def weights_name(epoch: int, step: int) -> str:
    """Return TAO's file name; epochs count from 0, steps from 1."""
    return f"model_epoch_{epoch:03d}_step_{step:05d}.pth"


def read_state(path: str | Path) -> dict[str, Any]:
    """Return a model file's dictionary; raises HardStop when absent or not plain tensors."""
    path = Path(path)
    if not path.is_file():
        raise HardStop("missing_input", "the model file does not exist", file=path)
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        first = str(error).strip().splitlines()
        raise HardStop(
            "spec_invalid",
            "the model file is broken, or holds more than tensors and is refused "
            f"({first[0] if first else type(error).__name__})",
            file=path,
            fix="give a file saved by this project or by TAO",
        ) from None
    if not isinstance(data, Mapping):
        raise HardStop("spec_invalid", "the model file holds no dictionary", file=path)
    return dict(data)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a ``.safetensors`` or ``.pth`` file, flat."""
    path = Path(path)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise HardStop("missing_input", "the weights file does not exist", file=path)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise HardStop("spec_invalid", f"not a safetensors file ({error})", file=path) from None
    data = read_state(path)
    for name in ("state_dict", "model"):
        if isinstance(data.get(name), Mapping):
            data = dict(data[name])
            break
    return {k: v for k, v in data.items() if isinstance(v, torch.Tensor)}


def key_report(wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Return what keeps ``found`` from filling ``wanted``, or ``""``."""
    missing = [k for k in wanted if k not in found]
    extra = [k for k in found if k not in wanted]
    shaped = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in found and found[k].shape != wanted[k].shape
    ]
    parts = []
    for what, names in (("missing", missing), ("extra", extra), ("misshapen", shaped)):
        if names:
            more = f" and {len(names) - KEYS_NAMED} more" if len(names) > KEYS_NAMED else ""
            parts.append(f"{len(names)} {what} ({', '.join(names[:KEYS_NAMED])}{more})")
    return "; ".join(parts)


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Fill ``model`` from a model file, strictly; return the file's other entries.

    As in TAO, ``criterion.weight`` comes along and overrides the spec's ``cls_weight``.
    """
    data = read_state(path)
    state = data.pop("state_dict", None)
    if not isinstance(state, Mapping):
        raise HardStop("spec_invalid", "the model file has no state_dict", file=path)
    problem = key_report(model.state_dict(), state)
    if problem:
        raise HardStop(
            "spec_invalid",
            f"the model file does not fit the spec's architecture: {problem}",
            file=path,
            fix="use the spec that the file was trained with",
        )
    model.load_state_dict(state, strict=True)
    return data


def save_weights(
    path: str | Path,
    model: nn.Module,
    *,
    epoch: int,
    step: int,
    model_type: str | None = None,
) -> int:
    """Write a model file with TAO's keys, whole or not at all; return its size in bytes.

    The file depends on the numbers alone: equal trainings give equal bytes. The optimizer's state
    is left out: it would make the file three times as large, and nothing starts from it (an
    interrupted training has its own resume state).
    """
    state = OrderedDict(
        (k, v.detach().cpu().contiguous().clone()) for k, v in model.state_dict().items()
    )
    data: dict[str, Any] = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": state,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "tao_model": TAO_MODEL,
    }
    if model_type is not None:
        data["tao_model_type"] = model_type
    return write_torch(path, data)


def write_torch(path: str | Path, data: Any) -> int:
    """Write ``torch.save`` bytes whole or not at all; return their number."""
    # Through memory: torch puts the file's name inside the archive when given a path.
    buffer = io.BytesIO()
    torch.save(data, buffer)
    write_bytes_atomic(path, buffer.getvalue())
    return buffer.tell()
