"""Weights inside a file: where state_dicts lie in it, which one fits a network, filling it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from .folder import Refusal
from .outcomes import OpenInput

# Names of a state_dict in a checkpoint, the likeliest first: of libraries' and trainers' writers.
NESTED = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
          "weights", "params", "generator", "params_ema", "model_ema", "ema", "ema_state_dict",
          "shadow")  # fmt: skip
NO_WEIGHTS = re.compile(r"optim|sched|scaler|amp|rng|loops|callbacks|history", re.IGNORECASE)
PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "model.module.", "state_dict.")
DEEPEST, MOST_PLACES = 5, 64
NAMED = 3
MOST_UNUSED = 0.1  # share of the numbers that may fill nothing


def places(data: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (dotted place, tensors by name) of every state_dict in a file's content.

    A module inside counts as its state_dict. States of optimizers and the like are left out.
    """
    if isinstance(data, torch.nn.Module):
        data = data.state_dict()
    if not isinstance(data, Mapping) or depth > DEEPEST:
        return
    state = {str(k): v for k, v in data.items() if isinstance(v, torch.Tensor)}
    if state:
        yield where, state
    for name, value in data.items():
        if not isinstance(value, torch.Tensor) and not NO_WEIGHTS.search(str(name)):
            yield from places(value, f"{where}.{name}".strip("."), depth + 1)


def listed(data: Any) -> dict[str, dict[str, Any]]:
    """Return place -> tensors, the likeliest first; raises :class:`Refusal` where none are."""
    if not isinstance(data, (Mapping, torch.nn.Module)):
        raise Refusal(f"the weights file holds a {type(data).__name__}, no state_dict")
    found: dict[str, dict[str, Any]] = {}
    for where, state in places(data):
        found[where] = state
        if len(found) == MOST_PLACES:
            break
    if not found:
        raise Refusal("the weights file holds no tensors")
    return dict(sorted(found.items(), key=lambda item: _rank(item[0], item[1])))


def _rank(where: str, state: dict[str, Any]) -> tuple[bool, int, int]:
    few = len(state) < 2  # a threshold or a step beside the weights
    parts = where.split(".")
    known = [NESTED.index(p) for p in parts if p in NESTED]
    order = max(known) if known else (0 if not where else len(NESTED))
    return few, order, -len(state)


def counts(found: dict[str, dict[str, Any]]) -> str:
    """Return places with their numbers of tensors, in words."""
    shown = [f"{where or 'top level'} ({len(state)} tensors)" for where, state in found.items()]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def chosen(data: Any, key: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the places that may be used: all, or the one that ``key`` names.

    Raises :class:`Refusal` for a key that is no place.
    """
    found = listed(data)
    if key is None:
        return found
    if key not in found:
        raise Refusal(
            f"explore.weights_key {key!r} holds no tensors; the file has {counts(found)}",
            [OpenInput("which weights of the file are meant", "weights_key", next(iter(found)))],
        )
    return {key: found[key]}


def fill(module: Any, data: Any, key: str | None = None) -> dict[str, Any]:
    """Fill ``module``; return which of the file's state_dicts it was and what was done to names.

    A prefix (``module.`` of DataParallel, …) is taken off or put on only if all of the network is
    then filled. Tensors of the file that fill nothing are told, and refused beyond a tenth of its
    numbers. Raises :class:`Refusal` when nothing in the file fits.
    """
    found = chosen(data, key)
    wanted = module.state_dict()
    fits = [fit for where, state in found.items() for fit in _fits(where, state, wanted)]
    exact = [f for f in fits if not f["unused"]]
    near = [f for f in fits if f["unused"] and f["share"] <= MOST_UNUSED]
    if not exact and not near:
        raise Refusal(
            f"the weights do not fit the network: {_gaps(found, wanted, fits)}"
            + (f"; the file has {counts(found)}" if len(found) > 1 else "")
        )
    best = (exact or near)[0]
    module.load_state_dict({k: best["state"][k] for k in wanted}, strict=True)
    others = list(dict.fromkeys(f["where"] for f in exact if f["where"] != best["where"]))
    out: dict[str, Any] = {
        "weights": best["where"] or "top level of the file",
        "tensors": len(wanted),
        "prefix_removed": best["prefix"] or None,
    }
    if len(found) > 1:
        out["weights_in_the_file"] = counts(found)
    if best["added"]:
        out["prefix_added"] = best["added"]
    if best["unused"]:
        out["unused_weights"] = best["unused"]
    if others and key is None:
        out["weights_that_fit_too"] = others
    return out


def _fits(where: str, state: dict[str, Any], wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the ways in which a state fills all of a network."""
    heads = {k.split(".", 1)[0] + "." for k in wanted}
    own = {k.split(".", 1)[0] + "." for k in state}
    for prefix in dict.fromkeys(["", *PREFIXES, *sorted(own)]):
        trial = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if not prefix or trial:
            yield from _fit(where, state, wanted, trial, prefix, "")
    if len(heads) == 1:
        (head,) = heads
        yield from _fit(where, state, wanted, {head + k: v for k, v in state.items()}, "", head)


def _fit(
    where: str,
    state: dict[str, Any],
    wanted: Mapping[str, Any],
    trial: dict[str, Any],
    prefix: str,
    added: str,
) -> Iterator[dict[str, Any]]:
    if wanted.keys() - trial.keys() or misshapen(wanted, trial):
        return
    used = {f"{prefix}{k}".removeprefix(added) for k in wanted}
    unused = [k for k in state if k not in used]
    numbers = sum(state[k].numel() for k in unused)
    share = numbers / max(1, sum(v.numel() for v in state.values()))
    yield {"where": where, "state": trial, "prefix": prefix, "added": added, "unused": unused,
           "share": share}  # fmt: skip


def misshapen(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the tensors of another shape than the network's, in words."""
    return [
        f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in found and tuple(found[k].shape) != tuple(wanted[k].shape)
    ]


def _gaps(
    found: dict[str, dict[str, Any]], wanted: Mapping[str, Any], fits: list[dict[str, Any]]
) -> str:
    """Return what is missing, extra and misshapen in the state that comes nearest."""
    near = max(found.values(), key=lambda state: len(wanted.keys() & state.keys()))
    missing = [k for k in wanted if k not in near]
    extra = min((f["unused"] for f in fits), key=len, default=[k for k in near if k not in wanted])
    if fits:
        missing = []
    named = [
        f"{len(names)} {what} ({', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''})"
        for what, names in (
            ("missing", missing), ("extra", extra),
            ("misshapen", [] if fits else misshapen(wanted, near)),
        )
        if names
    ]  # fmt: skip
    return "; ".join(named)


def unknowns_of(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what filling left open: tensors that fill nothing, other weights that fit too."""
    out: list[dict[str, Any]] = []
    unused = facts.get("unused_weights")
    if unused:
        out.append({
            "what": f"what {len(unused)} tensors of the file are for that fill nothing in the "
            f"network ({', '.join(unused[:NAMED])}{', …' if len(unused) > NAMED else ''})",
            "settle": "the source's own loading code: a part of the training alone, or another "
            "network is meant",
        })  # fmt: skip
    others = facts.get("weights_that_fit_too")
    if others:
        need = OpenInput(
            "which weights of the file are meant", "weights_key", facts["weights"],
            why=f"{', '.join(others)} fit too",
        )  # fmt: skip
        out.append({
            "what": f"{need.what}: {facts['weights']} was taken, {need.why}",
            "settle": need.line,
            "need": need.as_dict(),
        })  # fmt: skip
    return out
