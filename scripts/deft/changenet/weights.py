"""Model files: TAO's dictionary with the network's state, never unpickled as code."""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.core import pickles
from deft.core.errors import HardStop
from deft.core.files import replace_atomically
from deft.core.weight_files import AGAIN, looks_like_safetensors, refuse_foreign

TAO_MODEL = "visual_changenet_classify"
LIGHTNING_VERSION = "2.5.0.post0"  # the layout that TAO's loader expects
KEYS_NAMED = 4
MESSAGE_CHARACTERS = 200  # of a reader's own words


def weights_name(epoch: int, step: int) -> str:
    """Return TAO's file name; epochs count from 0, steps from 1."""
    return f"model_epoch_{epoch:03d}_step_{step:05d}.pth"


def read_state(path: str | Path) -> dict[str, Any]:
    """Return a model file's dictionary; raises HardStop when absent or not plain tensors.

    The numbers stay on the disk until they are used: the file is mapped where its format allows.
    """
    path = Path(path)
    refuse_foreign(path, "the model file")
    if looks_like_safetensors(path):
        raise HardStop(
            "spec_invalid",
            "the model file is a safetensors file: tensors alone, no state_dict of a training",
            file=path,
            fix="weights of a backbone alone go into model.backbone.pretrained_backbone_path",
        )
    # timm's training script writes its arguments; a Namespace is nothing but names and values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            data = _loaded(path)
        except MemoryError:
            raise
        except Exception as error:  # what is no model file fails in torch's readers in many ways
            raise _unreadable(path, error) from None
    if not isinstance(data, Mapping):
        raise HardStop(
            "spec_invalid",
            f"the model file holds a {type(data).__name__}, no dictionary",
            file=path,
            fix="save the state_dict: torch.save(model.state_dict(), FILE)",
        )
    return dict(data)


def _loaded(path: Path) -> Any:
    mapped = zipfile.is_zipfile(path)  # torch's old format cannot be
    return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)


def _unreadable(path: Path, error: Exception) -> HardStop:
    """Return the stop for a file that torch refuses or cannot read; told apart by what is in it."""
    try:
        if zipfile.is_zipfile(path):
            code = pickles.in_archive(str(path))
        else:
            code = pickles.unsafe(path.read_bytes())
    except Exception:  # a damaged archive
        code = []
    if code:
        shown = ", ".join(code[:KEYS_NAMED])
        return HardStop(
            "spec_invalid",
            f"the model file holds more than tensors and is refused: reading it would run {shown}",
            file=path,
            fix="save the state_dict alone: torch.save(model.state_dict(), FILE)",
        )
    first = str(error).strip().splitlines()
    why = first[0][:MESSAGE_CHARACTERS] if first else type(error).__name__
    return HardStop(
        "spec_invalid",
        f"the model file is broken, or holds more than tensors and is refused ({why})",
        file=path,
        fix="give a file saved by this project or by TAO; after a download or copy, compare "
        "SHA-256",
    )


def read_tensors(
    path: str | Path, wrappers: Sequence[str] = ("state_dict", "model")
) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors or torch file, flat; what it is, its bytes say.

    ``wrappers``: names under which a torch file may hold them, the first that is there counts.

    Raises HardStop ``missing_input``, or ``spec_invalid`` for what is no such file.
    """
    path = Path(path)
    refuse_foreign(path)
    if path.suffix == ".safetensors" or looks_like_safetensors(path):
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except Exception as error:  # headers can be wrong in more ways than its own class says
            first = " ".join(str(error).split())[:MESSAGE_CHARACTERS]
            raise HardStop(
                "spec_invalid", f"not a safetensors file ({first})", file=path, fix=AGAIN
            ) from None
    data = read_state(path)
    for name in wrappers:
        if isinstance(data.get(name), Mapping):
            data = dict(data[name])
            break
    tensors = named_tensors(data, path)
    if not tensors:
        shown = ", ".join(list(data)[:KEYS_NAMED]) or "nothing"
        raise HardStop(
            "spec_invalid",
            f"the weights file holds no tensors where they are looked for; its entries: {shown}",
            file=path,
            fix="save the state_dict alone: torch.save(model.state_dict(), FILE)",
        )
    return tensors


def named_tensors(data: Mapping[Any, Any], path: str | Path) -> dict[str, torch.Tensor]:
    """Return the entries that are tensors; raises HardStop ``spec_invalid`` for a name not text."""
    odd = next((name for name in data if not isinstance(name, str)), None)
    if odd is not None:
        raise HardStop(
            "spec_invalid",
            f"the model file has an entry named {odd!r} ({type(odd).__name__}); names are text",
            file=path,
            fix="give a file that holds a network's state_dict",
        )
    return {name: value for name, value in data.items() if isinstance(value, torch.Tensor)}


def key_report(wanted: Mapping[str, torch.Tensor], found: Mapping[Any, Any]) -> str:
    """Return what keeps ``found`` from filling ``wanted``, or ``""``.

    ``found`` is as read: its keys need not be text, nor its values tensors.
    """
    missing = [k for k in wanted if k not in found]
    extra = [str(k) for k in found if k not in wanted]
    shaped = [
        f"{k} {_shape(found[k])} instead of {_shape(wanted[k])}"
        for k in wanted
        if k in found and _shape(found[k]) != _shape(wanted[k])
    ]
    kinds = [
        f"{k} {found[k].dtype} instead of {wanted[k].dtype}"
        for k in wanted
        if isinstance(found.get(k), torch.Tensor) and not _castable(found[k], wanted[k])
    ]
    parts = []
    for what, names in (
        ("missing", missing),
        ("extra", extra),
        ("misshapen", shaped),
        ("of another kind of number", kinds),
    ):
        if names:
            more = f" and {len(names) - KEYS_NAMED} more" if len(names) > KEYS_NAMED else ""
            parts.append(f"{len(names)} {what} ({', '.join(names[:KEYS_NAMED])}{more})")
    return "; ".join(parts)


def _castable(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Return whether numbers mean the same in the other type; quantised ones need a scale."""
    if found.is_quantized or found.is_complex() or found.dtype.itemsize == 1:
        return found.dtype == wanted.dtype
    return found.is_floating_point() == wanted.is_floating_point()


def _shape(value: Any) -> str:
    tensor = isinstance(value, torch.Tensor)
    return str(tuple(value.shape)) if tensor else f"{type(value).__name__}, no tensor,"


def load_weights(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """Fill ``model`` from a model file, strictly; return the file's other entries.

    ``criterion.weight`` comes along, as in TAO; ``training.train`` then puts the spec's
    ``cls_weight`` back unless told otherwise.
    """
    data = read_state(path)
    fill_strictly(model, data, path)
    del data["state_dict"]
    return data


def fill_strictly(model: nn.Module, data: Mapping[str, Any], path: str | Path) -> None:
    """Fill ``model`` from a model file's dictionary; every key must be there and fit."""
    state = data.get("state_dict")
    if not isinstance(state, Mapping):
        raise HardStop(
            "spec_invalid",
            "the model file has no state_dict, so it is no whole ChangeNet",
            file=path,
            fix="weights of a backbone alone go into model.backbone.pretrained_backbone_path",
        )
    fill(
        model,
        state,
        path,
        "spec_invalid",
        "the model file does not fit the spec's architecture",
        "use the spec that the file was trained with",
        # A loop's own training may have diverged: its scores then say so, row by row.
        finite=False,
    )


def fill(
    model: nn.Module,
    state: Mapping[str, Any],
    path: str | Path,
    code: str,
    rule: str,
    fix: str,
    *,
    finite: bool = True,
) -> None:
    """Fill any module, strictly; raises HardStop ``code`` with ``rule`` and what does not fit.

    A module without numbers (on the device ``meta``) is only compared with the file, whose numbers
    must then be ``finite`` in any case.
    """
    wanted = model.state_dict()
    shapes_alone = any(value.is_meta for value in wanted.values())
    check_fit(wanted, state, path, code, rule, fix, finite=finite or shapes_alone)
    if not shapes_alone:
        model.load_state_dict(state, strict=True)


def check_fit(
    wanted: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    path: str | Path,
    code: str,
    rule: str,
    fix: str,
    *,
    finite: bool = True,
) -> None:
    """Raise HardStop ``code`` unless ``state`` fills ``wanted``, with numbers that are finite."""
    problem = key_report(wanted, state)
    if problem:
        raise HardStop(code, f"{rule}: {problem}", file=path, fix=fix)
    if not finite:
        return
    broken = [k for k, value in wanted.items() if _broken(state[k], value)]
    if broken:
        more = f" and {len(broken) - KEYS_NAMED} more" if len(broken) > KEYS_NAMED else ""
        raise HardStop(
            code,
            f"{len(broken)} tensor(s) of the file hold numbers that are not finite "
            f"({', '.join(broken[:KEYS_NAMED])}{more})",
            file=path,
            fix="give weights of a training that did not diverge; after a download or copy, "
            "compare SHA-256",
        )


def _finite(value: torch.Tensor) -> bool:
    """Return whether a tensor's numbers are finite; one tensor's memory at a time."""
    return not value.is_floating_point() or bool(torch.isfinite(value).all())


def _broken(value: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Return whether numbers are not finite, also once they are in the network's own type."""
    return not _finite(value.to(wanted.dtype)) and _should_be(wanted)


def _should_be(value: torch.Tensor) -> bool:
    # Masks of attention hold -inf on purpose.
    return value.is_meta or _finite(value)


def save_weights(
    path: str | Path,
    model: nn.Module,
    *,
    epoch: int,
    step: int,
    model_type: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> int:
    """Write a model file with TAO's keys, whole or not at all; return its size in bytes.

    The file depends on the numbers alone: equal trainings give equal bytes.

    Parameters
    ----------
    epoch: 0-based.
    step: optimizer steps so far.
    model_type: TAO's ``tao_model_type`` (``radio_learnable``), None where it has none.
    training: what ``training.checkpoint.training_entries`` returns; None writes weights
        that a training can start from but not go on from.
    """
    data: dict[str, Any] = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": LIGHTNING_VERSION,
        "state_dict": OrderedDict(model.state_dict()),
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    data.update(training or {})
    data["tao_model"] = TAO_MODEL
    if model_type is not None:
        data["tao_model_type"] = model_type
    return write_torch(path, plain(data))


def plain(value: Any) -> Any:
    """Return a copy whose pickled bytes depend on the values alone.

    Pickle writes a repeated object once and refers to it afterwards, so what shares memory would
    show in the bytes; here nothing does, but equal texts, which always do.
    """
    if isinstance(value, torch.Tensor):
        own = value.detach().cpu().contiguous()
        # A part of a larger tensor would be written with the whole of it.
        return own if own.untyped_storage().nbytes() == own.nbytes else own.clone()
    if isinstance(value, Mapping):
        made = {plain(name): plain(inner) for name, inner in value.items()}
        kind: Any = type(value)  # an OrderedDict, say
        return kind(made)
    if isinstance(value, list | tuple):
        return type(value)([plain(inner) for inner in value])
    return sys.intern(value) if type(value) is str else value


def write_torch(path: str | Path, data: Any) -> int:
    """Write ``torch.save`` bytes whole or not at all; return their number."""

    def write(temporary: Path) -> None:
        # An open file: torch puts the file's name inside the archive when given a path.
        with temporary.open("wb") as handle:
            torch.save(data, handle)

    return replace_atomically(path, write).stat().st_size
