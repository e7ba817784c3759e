"""Sizes that a file leaves free: which were stated somewhere, and which are only guessed.

A guessed size stands in every sentence that quotes a time, and no target is judged on it.
"""

from __future__ import annotations

from typing import Any

from .markdown import cell
from .metadata import Facts, known
from .outcomes import OpenInput, key

CHANNELS = (1, 3, 4)
USER = "the user (explore.contract.preprocess.size_px)"


def hints(parameters: dict[str, Any], facts: dict[str, Any]) -> Facts:
    """Return the sizes that the user's preprocessing or the metadata states: ``size_px``,
    ``length``.
    """
    found = known(parameters, facts)
    given = ((parameters.get("contract") or {}).get("preprocess") or {}).get("size_px")
    if given:
        found["size_px"] = {"value": list(given), "source": USER}
    return {name: found[name] for name in ("size_px", "length") if name in found}


def hint_for(hints: Facts | None, entry: dict[str, Any], axis: int) -> dict[str, Any] | None:
    """Return the stated ``{"size", "source"}`` of one free axis of an input, None without one.

    A size of pictures fits the two sides of an input with four axes and 1, 3 or 4 channels; a
    length fits axis 1 of two-dimensional integers.
    """
    shape = entry.get("shape") or []
    if not hints:
        return None
    if len(shape) == 4 and "size_px" in hints:
        first = 2 if shape[1] in CHANNELS or shape[3] not in CHANNELS else 1
        if axis in (first, first + 1):
            hint = hints["size_px"]
            return {"size": int(hint["value"][axis - first]), "source": hint["source"]}
    whole = str(entry.get("dtype") or "").startswith(("int", "uint"))
    if len(shape) == 2 and axis == 1 and whole and "length" in hints:
        return {"size": int(hints["length"]["value"]), "source": hints["length"]["source"]}
    return None


def guessed(contract: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the inputs of ``io_contract.json`` with a size that nobody stated."""
    return [entry for entry in contract.get("inputs") or [] if open_axes(entry)]


def open_axes(entry: dict[str, Any]) -> list[str]:
    """Return the axes of an input whose size is only guessed.

    Of a shape that was found by trying, an axis is settled when both a smaller and a larger size
    were refused, or when its size was the only one tried (the weights gave it).
    """
    sizes = entry.get("sizes") or {}
    out = [axis for axis, size in sizes.items() if size["guessed"]]
    trial, run = entry.get("trial") or {}, entry.get("run_shape") or []
    tried = {
        end: [t["shape"] for t in trial.get(end) or [] if len(t["shape"]) == len(run)]
        for end in ("accepted", "refused")
    }
    for axis in range(1, len(run)):
        refused = {shape[axis] for shape in tried["refused"]} - {run[axis]}
        if str(axis) in sizes or not refused:
            continue
        if min(refused) > run[axis] or max(refused) < run[axis]:
            out.append(str(axis))
    return out


def phrase(contract: dict[str, Any]) -> str:
    """Return `` at a guessed size (x [1, 3, 224, 224])``; nothing where every size is stated."""
    shown = [cell(f"{e['name']} {e['run_shape']}") for e in guessed(contract)]
    return f" at a guessed size ({'; '.join(shown)})" if shown else ""


def asked(contract: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an open input for every guessed size: the shape that was run, marked as a guess."""
    needs = []
    for entry in guessed(contract):
        free = ", ".join(open_axes(entry))
        shape = [*entry["run_shape"]]
        if entry.get("batch_axis") == 0:
            shape[0] = "batch"
        need = OpenInput(
            what=f"the size of input {entry['name']} (axis {free})",
            key=key("contract", "inputs", entry["name"], "shape"),
            value=shape,
            why=f"it runs with {entry['run_shape']}; the one that is meant stands nowhere",
        )
        needs.append(need.as_dict())
    return needs


def stated(entry: dict[str, Any]) -> str:
    """Return where an input's free sizes come from, for a table; ``""`` without free ones."""
    sizes = entry.get("sizes") or {}
    parts = [
        f"axis {axis} = {s['size']} {'guessed' if s['guessed'] else 'by ' + s['source']}"
        for axis, s in sizes.items()
    ]
    parts += [f"axis {a} = {entry['run_shape'][int(a)]} guessed"
              for a in open_axes(entry) if a not in sizes]  # fmt: skip
    return "; ".join(parts)
