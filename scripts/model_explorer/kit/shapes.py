"""The shapes that a model is run with: what the user, given files, the file itself and its
metadata state, then what running settles; which axis is the batch.
"""

from __future__ import annotations

from typing import Any

from . import axes, roles, sizes
from .arrays import shape_of
from .folder import Refusal
from .settle import feed_of, settle, settle_by_trial, try_shapes

USER = "the user (explore.contract)"
TRIAL_BATCH = 2


def apply_user(
    inputs: list[dict[str, Any]], given: dict[str, Any], unknowns: list[dict[str, str]]
) -> None:
    """Put what the user states of the inputs into the entries; it never overrules the file."""
    named = given.get("inputs") or {}
    known = [i["name"] for i in inputs]
    odd = sorted(set(named) - set(known))
    if odd:
        raise Refusal(f"explore.contract.inputs names {', '.join(odd)}; inputs: {', '.join(known)}")
    for entry in inputs:
        told = named.get(entry["name"]) or {}
        for what in ("shape", "dtype", "range"):
            if told.get(what) is None:
                continue
            if entry.get(what) not in (None, told[what]) and what != "range":
                if what == "dtype" or not compatible(entry["shape"], told["shape"]):
                    raise Refusal(
                        f"explore.contract gives {what} {told[what]} for {entry['name']}, the "
                        f"model states {entry[what]}"
                    )
            if what == "shape" and entry["shape"] is not None:
                entry["stated_shape"] = entry["shape"]
            else:
                entry[what] = told[what]
            if what != "range":
                entry["source"] = f"{USER}, tried by running"
        if told.get("dtype") is not None:
            entry["told_dtype"] = told["dtype"]
        if told.get("shape") is not None:
            entry["dtype"] = entry["dtype"] or "float32"
            words = f"input {entry['name']}:"
            unknowns[:] = [u for u in unknowns if words not in u["what"]]


def compatible(stated: list[Any] | None, told: list[Any]) -> bool:
    """Return whether ``told`` only fills free axes of ``stated``."""
    if stated is None:
        return True
    if len(stated) != len(told):
        return False
    return all(not isinstance(s, int) or s == t for s, t in zip(stated, told))  # noqa: B905


def stated_sizes(
    inputs: list[dict[str, Any]],
    told: dict[str, Any],
    files: dict[str, Any],
    hints: Any,
) -> dict[str, tuple[int, str]]:
    """Return key of a free axis -> (size, source): the user's, given files', then metadata's.

    A symbol has one size everywhere: Raises :class:`Refusal` where two statements differ.
    """
    found: dict[str, tuple[int, str]] = {}

    def state(entry: dict[str, Any], axis: int, size: int, source: str, strict: bool) -> None:
        k = axes.key(entry, axis)
        if isinstance(k, int) or axes.symbols(k) != [k]:
            return
        before = found.get(k)
        if before and before[0] != size and strict:
            raise Refusal(
                f"{k} is one size in every input, but {size} by {source} (input {entry['name']}) "
                f"and {before[0]} by {before[1]}"
            )
        found.setdefault(k, (size, source))

    for entry in inputs:
        wanted = (told.get(entry["name"]) or {}).get("shape") or []
        for axis, size in enumerate(wanted):
            if isinstance(size, int) and entry["shape"] is not None:
                state(entry, axis, size, USER, True)
    for entry in inputs:
        file = files.get(entry["name"])
        shape = list((file or {}).get("shape") or [])
        if entry["shape"] is None or not file:
            continue
        if len(shape) == len(entry["shape"]) - 1:
            shape = [1, *shape]
        for axis, size in enumerate(shape if len(shape) == len(entry["shape"]) else []):
            state(entry, axis, int(size), f"the given file {file['name']}", False)
    for entry in inputs:
        for axis in range(len(entry["shape"] or [])):
            hint = sizes.hint_for(hints, entry, axis)
            if hint:
                state(entry, axis, int(hint["size"]), str(hint["source"]), False)
    return found


def run_shapes(
    model: Any,
    inputs: list[dict[str, Any]],
    told: dict[str, Any] | None = None,
    files: dict[str, Any] | None = None,
    hints: Any = None,
) -> dict[str, list[int]]:
    """Return a shape with batch 1 for every input that the model computes; fills the entries.

    ``told``: the user's ``contract.inputs``; ``files``: name -> shape and name of a given array;
    ``hints``: sizes that metadata states. Raises :class:`Refusal` when nothing runs.
    """
    told, files = told or {}, files or {}
    odd = [i for i in inputs if str(i["dtype"]).startswith(("seq", "map", "opt", "sparse"))]
    if odd:
        raise Refusal(
            f"input {odd[0]['name']} is a {odd[0]['dtype']}; only tensors can be made or given"
        )
    for entry in inputs:
        if entry["shape"] is None and entry["name"] in files:
            file = files[entry["name"]]
            entry.update(shape=list(file["shape"]), dtype=entry["dtype"] or file["dtype"],
                         source=f"the given file {file['name']}")  # fmt: skip
    roles.assign(model, [i for i in inputs if i["shape"] is not None], told)
    stated = stated_sizes(inputs, told, files, hints)
    known = {k: size for k, (size, _) in stated.items()}
    if any(i["shape"] is None for i in inputs):
        settle_by_trial(model, inputs, known)
        found = next(axes.plans([i for i in inputs if "trial" not in i], known))
    else:
        found = settle(model, inputs, known)
    shapes = {}
    batch = set(axes.batch_keys(inputs))
    for entry in inputs:
        tried = entry.pop("tried_shape", None)
        shapes[entry["name"]] = tried or axes.shape_with(entry, found)
        entry["sizes"] = {
            str(axis): {
                "size": shapes[entry["name"]][axis],
                "source": stated[k][1] if k in stated else "trying",
                "guessed": k not in stated,
            }
            for axis, k in enumerate(axes.keys_of(entry))
            if (guessed_axis(entry, axis) if tried else not isinstance(k, int) and k not in batch)
        }
        wanted = (told.get(entry["name"]) or {}).get("shape")
        if wanted and "stated_shape" in entry:
            entry["shape"] = [
                s if isinstance(s, int) else t
                for s, t in zip(entry["shape"], wanted)  # noqa: B905
            ]
        entry.setdefault("role", roles.DATA)
        entry.setdefault("fill", {"kind": "random", "guessed": False})
        if entry["role"] != roles.DATA and all(
            axes.NAMELESS.match(str(s)) for s in entry["shape"] if not isinstance(s, int)
        ):
            entry["sizes"] = {}  # the axis of a state that holds the batch, without a name
    return shapes


def guessed_axis(entry: dict[str, Any], axis: int) -> bool:
    """Return whether a tried size says nothing: others run too, or none like it was tried."""
    shape, trial = entry["shape"], entry["trial"]
    if axis == 0:
        return False
    if not isinstance(shape[axis], int):
        return True
    why = trial["accepted"][0]["why_tried"]
    if "over a signal" in why or "read as a table" in why:
        return True
    return len(trial["accepted"]) == 1 and len(shape) == 3 and shape[axis] in axes.LENGTHS


def batch_axes(
    model: Any, inputs: list[dict[str, Any]], shapes: dict[str, list[int]]
) -> tuple[dict[str, int | None], str]:
    """Return input -> batch axis or None, and the reason. Two items are tried, never assumed."""
    none: dict[str, int | None] = {i["name"]: None for i in inputs}
    data = [i for i in inputs if i["role"] == roles.DATA and shapes[i["name"]]]
    if not data:
        return none, "an input has no axes"
    fixed = [
        i["name"] for i in data
        if "trial" not in i and (isinstance(i["shape"][0], int) or "0" in i["sizes"])
    ]  # fmt: skip
    if fixed:
        named = next(i["shape"][0] for i in data if i["name"] == fixed[0])
        why = "is fixed by the model" if isinstance(named, int) else f"is {named}, no batch"
        return none, f"axis 0 of {', '.join(fixed)} {why}"
    said: str | None = "nothing to try"
    for found in _batch_plans(inputs, shapes, data):
        two = {
            n: [TRIAL_BATCH * s if axis == found[n] else s for axis, s in enumerate(shape)]
            for n, shape in shapes.items()
        }
        said = try_shapes(model, inputs, two)
        if said is None:
            for entry in inputs:
                if "trial" in entry:
                    entry["shape"] = ["batch", *entry["shape"][1:]]
            return found, f"a batch of {TRIAL_BATCH} was computed"
    return none, f"a batch of {TRIAL_BATCH} was refused: {said}"


def _batch_plans(
    inputs: list[dict[str, Any]], shapes: dict[str, list[int]], data: list[dict[str, Any]]
) -> list[dict[str, int | None]]:
    """Return which axes may be the batch: by name, then unnamed axes of one in the state."""
    keys = set(axes.batch_keys(data))
    by_name: dict[str, int | None] = {}
    states: dict[str, int | None] = {}
    for entry in inputs:
        named = [a for a, k in enumerate(axes.keys_of(entry)) if k in keys]
        first = 0 if "trial" in entry else None
        by_name[entry["name"]] = named[0] if named else first
        ones = [
            a for a, s in enumerate(entry["shape"])
            if not isinstance(s, int) and shapes[entry["name"]][a] == 1
        ]  # fmt: skip
        states[entry["name"]] = by_name[entry["name"]]
        if entry["role"] == roles.STATE and not named and ones:
            states[entry["name"]] = ones[0]
    return [by_name] if by_name == states else [states, by_name]


def output_batch_axes(
    model: Any,
    inputs: list[dict[str, Any]],
    shapes: dict[str, list[int]],
    found: dict[str, int | None],
) -> dict[str, int | None]:
    """Return output -> the axis that grew with the batch, None where none did."""
    two = {
        n: [TRIAL_BATCH * s if axis == found[n] else s for axis, s in enumerate(shape)]
        for n, shape in shapes.items()
    }
    one, more = model.run(feed_of(inputs, shapes)), model.run(feed_of(inputs, two))
    out: dict[str, int | None] = {}
    for name, value in more.items():
        before, after = shape_of(one.get(name)), shape_of(value)
        out[name] = None
        if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
            pairs = enumerate(zip(before, after))  # noqa: B905
            out[name] = next((a for a, (b, c) in pairs if c == TRIAL_BATCH * b), None)
    return out
