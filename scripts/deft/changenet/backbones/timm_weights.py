"""Filling a timm backbone from a file of the whole model, as timm publishes it.

A feature extractor of timm is the model without its head, some of its parts renamed
(``stages.0.blocks`` becomes ``stages_0.blocks``). The file's names are those of the whole model, so
this is laid out too, without numbers, and says which of its tensors the extractor is made of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from deft.changenet.backbones.timm_features import TimmBackbone
from deft.changenet.weights import check_fit, read_tensors
from deft.core.weight_files import BACKBONE_KEY as KEY

WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model",
    # Not timm's: what other trainers write.
    "model_state_dict",
    "params_ema",
    "params",
    "teacher",
    "student",
    "net",
    "network",
    "weights",
)  # as timm, the averaged ones first
# What trainers and wrappers put in front of all names.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "trunk.", "body.")
# Parts of classifiers, also of those that the model of today no longer has.
HEADS = ("head", "fc.", "classifier", "pre_logits", "aux", "dist_head")
COUNTER = ".num_batches_tracked"  # absent from files of torch 0.4 and before
CHANGENET = ("criterion.", "model.decoder.", "decoder.", "model.fc1.")
GROUPS = ("model.", "body.")  # under which some extractors keep the whole model


def load_backbone(backbone: TimmBackbone, path: str | Path) -> None:
    """Fill a timm backbone from a local file with timm's names, of the whole model or its features.

    A classifier head in the file is not used. Every tensor of the backbone comes from the file.

    Raises HardStop ``missing_input`` or ``spec_invalid`` (naming missing, extra, misshapen keys).
    """
    path, net = Path(path), backbone.net
    wanted = net.state_dict()
    whole = _whole(backbone)
    own = whole.state_dict()
    place = whole_names(wanted, own)  # name in the extractor -> name in the whole model
    back = {name: key for key, name in place.items()}
    found = _renamed(read_tensors(path, WRAPPERS), own, place)
    found = _adapted(found, whole)
    for name in back:
        if name.endswith(COUNTER) and name.removesuffix(COUNTER) + ".running_mean" in found:
            found.setdefault(name, torch.zeros((), dtype=torch.int64))
    heads = (*HEADS, *_classifiers(whole))
    # What the whole model has beyond the features (norms after the last level, heads) is left.
    kept = {k: v for k, v in found.items() if k in back or not (k in own or k.startswith(heads))}
    fix = f"give the file of the same model: timm.create_model({backbone.name!r}).state_dict()"
    if any(name.startswith(CHANGENET) for name in kept):
        fix = "weights of a whole ChangeNet go into train.pretrained_model_path"
    check_fit(
        {name: wanted[key] for name, key in back.items()},
        kept,
        path,
        "spec_invalid",
        f"{KEY} does not fit timm:{backbone.name}",
        fix,
    )
    if not any(value.is_meta for value in wanted.values()):
        net.load_state_dict({key: kept[name] for key, name in place.items()}, strict=True)


def whole_names(extractor: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, str]:
    """Return for each name of a feature extractor that of the same tensor in the whole model.

    Raises ValueError where a name has none, or two.
    """
    plain: dict[str, list[str]] = {}
    for name in whole:
        plain.setdefault(name.replace(".", "_"), []).append(name)
    found = {}
    for key in extractor:
        names = [key, *(key.removeprefix(g) for g in GROUPS if key.startswith(g))]
        exact = next((name for name in names if name in whole), None)
        near = [n for name in names for n in plain.get(name.replace(".", "_"), ())]
        if exact is None and len(near) != 1:
            raise ValueError(f"{key} is {near or 'nothing'} in the whole model")
        found[key] = near[0] if exact is None else exact
    if len(set(found.values())) != len(found):
        raise ValueError("two names of the extractor are one in the whole model")
    return found


def _whole(backbone: TimmBackbone) -> nn.Module:
    """Return the whole model; without numbers where its code allows that."""
    try:
        with torch.device("meta"):
            return timm.create_model(backbone.name, pretrained=False, **backbone.made_with)
    except (RuntimeError, NotImplementedError):  # a number is asked for while it is built
        return timm.create_model(backbone.name, pretrained=False, **backbone.made_with)


def _renamed(
    tensors: Mapping[str, torch.Tensor], own: Mapping[str, Any], place: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """Return a file's tensors under the whole model's names, as far as they are known."""
    names = {name: name for name in tensors}
    # A prefix of all names goes, whatever follows it: timm's filters know names without any.
    while prefix := next((p for p in PREFIXES if _all_have(names.values(), p, own)), ""):
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
    result = {}
    for name, short in names.items():
        known = next((n for n in _shorter(short) if n in own or n in place), short)
        result[known if known in own else place.get(known, known)] = tensors[name]
    return result


def _all_have(names: Any, prefix: str, own: Mapping[str, Any]) -> bool:
    names = list(names)
    return bool(names) and all(n.startswith(prefix) for n in names) and names[0] not in own


def _shorter(name: str) -> Iterator[str]:
    yield name
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
        yield name


def _adapted(found: dict[str, torch.Tensor], whole: nn.Module) -> dict[str, torch.Tensor]:
    """Return tensors as timm's own loading makes them: authors' names, tables of other sizes."""
    adapt = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if adapt is None:
        return found
    try:
        return dict(adapt(dict(found), whole))
    except Exception:  # another network's file: its keys are then compared as they are
        return found


def _classifiers(whole: nn.Module) -> tuple[str, ...]:
    named = (getattr(whole, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{name}." for name in names)
