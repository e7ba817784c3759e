"""Shapes and values that a file does not state, settled by running: what was tried, what was
accepted.

Nothing here is a guess of what the author meant: an accepted shape is a measurement, and the
contract keeps saying that the intended one is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from . import axes, roles
from .arrays import dtype_name
from .folder import Refusal, whole
from .outcomes import OpenInput, key
from .roles import DATA, made

SETTLE_SHAPE = (
    "the author's example call, or explore.contract.inputs: {NAME: {shape: [batch, "
    "...], dtype: ...}}"
)
SIDES_SHOWN = 6  # sides tried after the first success, to see whether the size is free
BUDGET_S = 120.0  # no further size is tried after this


def feed_of(
    inputs: list[dict[str, Any]], shapes: dict[str, list[int]], seed: int = 0
) -> dict[str, Any]:
    """Return one made-up item: an array for every input, of these shapes."""
    data = [i for i in inputs if i.get("role", DATA) == DATA and len(shapes[i["name"]]) > 1]
    length = max(shapes[data[0]["name"]][1:]) if data else 1
    return {i["name"]: made(i, shapes[i["name"]], seed + n, length) for n, i in enumerate(inputs)}


def try_shapes(
    model: Any, inputs: list[dict[str, Any]], shapes: dict[str, list[int]]
) -> str | None:
    """Return None when the model computes inputs of these shapes, else why not, whole."""
    try:
        model.run(feed_of(inputs, shapes))
    except Exception as error:  # any runtime's own class: a refusal of the shape is what is asked
        return whole(error)
    return None


def values_tried(inputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield values for the scalars that nobody states: the likeliest of all, then one after
    another varied.
    """
    open_ = [i for i in inputs if i.get("role") == roles.VALUE and i["fill"]["guessed"]]
    first = {i["name"]: roles.candidates(i)[0] for i in open_}
    yield first
    for entry in open_:
        for value in roles.candidates(entry)[1:]:
            yield {**first, entry["name"]: value}


def settle(model: Any, inputs: list[dict[str, Any]], known: dict[str, int]) -> dict[str, int]:
    """Return sizes of all free axes (by key) that the model computes, ``known`` ones fixed.

    The values of scalars that nobody states are settled too, into ``fill``. Raises
    :class:`Refusal` with what to tell when none of the tried sizes runs.
    """
    began, said, tries = time.monotonic(), None, 0
    for sizes in axes.plans(inputs, known):
        shapes = {i["name"]: axes.shape_with(i, sizes) for i in inputs}
        for values in values_tried(inputs):
            for entry in inputs:
                if entry["name"] in values:
                    entry["fill"]["value"] = values[entry["name"]]
            said, tries = try_shapes(model, inputs, shapes), tries + 1
            if said is None:
                return sizes
        if time.monotonic() - began > BUDGET_S:
            break
    raise refused(inputs, known, str(said), tries)


def refused(inputs: list[dict[str, Any]], known: dict[str, int], said: str, tries: int) -> Refusal:
    """Return what is said when nothing runs: a proof only where nothing was left to be told."""
    needs = needs_of(inputs, known)
    made_up = all(i["dtype"] == "str" or roles.code_of(i["dtype"]) == "f" for i in inputs)
    told = [i for i in inputs if "explore.contract" in str(i["source"])]
    if not needs and made_up and tries == 1 and not told:
        return Refusal(
            f"the model does not compute an input of its stated shape: {said}", proven=True
        )
    if told and not needs:
        return Refusal(
            f"the model does not compute an input of its stated shape: {said}",
            [OpenInput(f"the shape of input {i['name']}",
                       key("contract", "inputs", i["name"], "shape"), i["shape"]) for i in told],
        )  # fmt: skip
    if not needs:
        names = [i["name"] for i in inputs if i.get("role", DATA) == DATA]
        needs = [OpenInput(f"values that {n} may have", key("contract", "inputs", n, "range"),
                           next(i.get("range") or [0, 1] for i in inputs if i["name"] == n))
                 for n in names]  # fmt: skip
    return Refusal(
        f"none of {tries} tried sizes and values runs; the last said: {said}; settle it with "
        f"{SETTLE_SHAPE}",
        needs,
    )


def needs_of(inputs: list[dict[str, Any]], known: dict[str, int]) -> list[OpenInput]:
    """Return the free sizes and values that nothing states, each as the line that settles it."""
    batch = set(axes.batch_keys(inputs))
    out = []
    for entry in inputs:
        free = [
            s for k in axes.keys_of(entry) for s in axes.symbols(k)
            if s not in known and s not in batch
        ]  # fmt: skip
        if free:
            first = next(iter(axes.plans([entry], known)))
            shape = [
                str(entry["shape"][a]) if k in batch else axes.sized(k, {**first, **known})
                for a, k in enumerate(axes.keys_of(entry))
            ]
            named = key("contract", "inputs", entry["name"], "shape")
            out.append(OpenInput(f"the shape of input {entry['name']}", named, shape))
        elif entry.get("role") == roles.VALUE and entry["fill"]["guessed"]:
            named = key("contract", "inputs", entry["name"], "values")
            said = f"the value of input {entry['name']}"
            out.append(OpenInput(said, named, entry["fill"]["value"]))
    return out


def candidates(
    state: list[tuple[str, tuple[int, ...]]], dtype: str = "float32"
) -> list[tuple[list[int], str, str]]:
    """Return (shape, dtype, why) to try, from the first weights of the network (in their order).

    ``dtype`` is that of the weights.
    """
    out: list[tuple[list[int], str, str]] = []
    first = next(((n, s) for n, s in state if len(s) >= 2), None)
    picture = next(((n, s) for n, s in state if len(s) == 4), None)
    sequence = next(((n, s) for n, s in state if len(s) == 3), None)
    flat = next(((n, s) for n, s in state if len(s) == 2), None)
    name: str
    size: tuple[int, ...]
    if picture:
        name, size = picture
        out += [([1, size[1], s, s], dtype, f"weight {name} {size}") for s in axes.MORE_SIDES]
    if sequence and not picture:
        name, size = sequence
        out += [([1, size[1], n], dtype, f"weight {name} {size}") for n in axes.LENGTHS]
    if flat:
        name, size = flat
        out.append(([1, size[1]], dtype, f"weight {name} {size}"))
        out += [([1, n, size[1]], dtype, f"weight {name} {size}") for n in axes.LENGTHS[:1]]
    if first:
        out += [([1, n], "int64", f"weight {first[0]} read as a table") for n in axes.LENGTHS[:1]]
    if sequence:
        out += [([1, n], dtype, f"weight {sequence[0]} over a signal") for n in axes.SIGNAL_LENGTHS]
    return out


def state_of(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    """Return the names and shapes of a torch model's weights, in their order."""
    module = getattr(model, "module", None)
    if module is None:
        return []
    return [(name, tuple(value.shape)) for name, value in module.state_dict().items()]


def float_of(model: Any) -> str:
    """Return numpy's name of the weights' type; float32 where it has none or there are none."""
    module = getattr(model, "module", None)
    values = module.state_dict().values() if module is not None else []
    names = (dtype_name(v.dtype) for v in values if v.is_floating_point())
    return next((n for n in names if n in ("float16", "float32", "float64")), "float32")


def settle_by_trial(model: Any, inputs: list[dict[str, Any]], known: dict[str, int]) -> None:
    """Settle the shape and type of inputs that have none, into their entries.

    Those without a shape get the same one; the others theirs. Raises :class:`Refusal` with what
    to tell when nothing that was tried runs.
    """
    blank = [i for i in inputs if i["shape"] is None]
    rest = [i for i in inputs if i["shape"] is not None]
    sizes = next(axes.plans(rest, known))
    shapes = {i["name"]: axes.shape_with(i, sizes) for i in rest}
    accepted: list[dict[str, Any]] = []
    refused_: list[dict[str, Any]] = []
    chosen: dict[str, Any] = {}
    for shape, dtype, why in candidates(state_of(model), float_of(model)):
        if accepted and (
            len(shape) != len(accepted[0]["shape"]) or len(accepted) + len(refused_) > SIDES_SHOWN
        ):
            break
        for entry in blank:
            entry.update(dtype=entry.get("told_dtype") or dtype, fill={"kind": "random"})
        said: str | None = ""
        for values in [chosen] if accepted else values_tried(rest):
            for entry in rest:
                if entry["name"] in values:
                    entry["fill"]["value"] = values[entry["name"]]
            said = try_shapes(model, inputs, {**shapes, **{i["name"]: shape for i in blank}})
            if said is None:
                chosen = values
                break
        entry = {"shape": shape, "dtype": dtype, "why_tried": why}
        (refused_ if said else accepted).append({**entry, **({"error": said} if said else {})})
    if not accepted:
        for entry in blank:
            entry["dtype"] = None
        raise Refusal(
            f"the input shape stands nowhere in the file and no tried shape runs ({len(refused_)} "
            f"tried; the first: {refused_[0]['error'] if refused_ else 'nothing to try'}); settle "
            f"it with {SETTLE_SHAPE}",
            [OpenInput(f"the shape of input {i['name']}",
                       key("contract", "inputs", i["name"], "shape"),
                       refused_[0]["shape"] if refused_ else ["batch", 3, 224, 224])
             for i in blank],
        )  # fmt: skip
    for entry in blank:
        entry.update(
            dtype=accepted[0]["dtype"], shape=seen_axes([a["shape"] for a in accepted]),
            trial={"accepted": accepted, "refused": refused_},
            source="running: accepted in a trial, intended shape unknown",
        )  # fmt: skip
        entry["tried_shape"] = accepted[0]["shape"]
    for entry in rest:
        if entry["name"] in chosen:
            entry["fill"]["value"] = chosen[entry["name"]]


def seen_axes(accepted: list[list[int]]) -> list[int | str]:
    """Return a shape whose axes that more than one size was accepted for are named, not numbered.

    >>> seen_axes([[1, 3, 64, 64], [1, 3, 32, 32]])
    [1, 3, 'axis 2', 'axis 3']
    """
    return [
        found[0] if len(set(found)) == 1 else f"axis {axis}"
        for axis, found in enumerate(zip(*accepted))  # noqa: B905
    ]
