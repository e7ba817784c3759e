"""What an input is for (data, a state that is fed back, one value), and numbers that suit it.

Types, shapes and names are all there is to go by; what is only taken from a name is a guess and
is asked for.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .folder import Refusal

DATA, STATE, VALUE = "data", "state", "value"
WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
# Words that tell a state going in from the same state coming out.
IN_OUT = frozenset(
    "in out input output new next prev previous past present cur current old last n i o t updated "
    "init initial".split()
)
STATE_NAME = re.compile(
    r"state|hidden|cache|past|memory|^prev|^(h|c|hx|cx|hn|cn|r|z)\d*_?(0|in|i|prev)?$", re.I
)
RATE = re.compile(r"^(sr|fs|(sample|sampling)?_?rate|(sample|sampling)_?(rate|frequency))$", re.I)
LENGTHS_OF = re.compile(r"(^|_)(len|lens|length|lengths)($|_)", re.I)
PYTHON = {"int": "int64", "float": "float64", "bool": "bool", "str": "str"}
TRIED: dict[str, tuple[Any, ...]] = {
    "b": (True, False), "i": (1, 0, 2, 10, 100), "u": (1, 0, 2, 10, 100), "f": (0.5, 1.0, 0.0),
    "s": ("a",),
}  # fmt: skip
RATES = (16000, 8000, 22050, 24000, 32000, 44100, 48000)
PIXELS = [0, 255]


def stem(name: str) -> str:
    """Return a state's name without what says in or out.

    >>> stem("stateN"), stem("h_out"), stem("hn"), stem("r1i"), stem("present.0.key")
    ('state', 'h', 'h', 'r1', '0key')
    """
    words = [w.lower() for w in WORDS.findall(name.replace("key_values", ""))]
    kept = [w for w in words if w not in IN_OUT]
    if len(kept) == 1 and len(kept[0]) == 2 and kept[0][1] in "nio":
        kept = [kept[0][0]]
    return "".join(kept)


def assign(model: Any, inputs: list[dict[str, Any]], given: dict[str, Any]) -> None:
    """Fill ``role``, ``state_from``, ``fill``, ``range`` of every input with a known rank.

    ``given`` is the user's ``contract.inputs``. Raises :class:`Refusal` for a ``state_from`` that
    is no output.
    """
    outputs = {o["name"]: o for o in model.outputs}
    taken: set[str] = set()
    like = [e["name"] for e in inputs if e["shape"] and STATE_NAME.search(e["name"])]
    others = [e for e in inputs if e["shape"] != [] and e["name"] not in like]
    for entry in inputs:
        told = given.get(entry["name"]) or {}
        entry["role"] = DATA
        if entry["shape"] == []:
            entry["role"] = VALUE
        named = told.get("state_from")
        if named is not None and outputs and named not in outputs:
            raise Refusal(
                f"explore.contract.inputs.{entry['name']}.state_from is {named}; outputs: "
                + ", ".join(outputs)
            )
        if named is None and others and entry["name"] in like:
            named = fed_from(entry, outputs, taken)
            entry["begins"] = True
        if named:
            taken.add(named)
            entry.update(role=STATE, state_from=named)
        entry["fill"] = _fill(entry, told)
        _range(entry, told)


def fed_from(entry: dict[str, Any], outputs: dict[str, dict[str, Any]], taken: Any) -> str | None:
    """Return the output that is this input's next state: of its type, shape and name."""
    own = stem(entry["name"])
    if not entry["shape"] or not own:
        return None
    for name, output in outputs.items():
        if name in taken or output.get("dtype") != entry["dtype"] or stem(name) != own:
            continue
        shape = output.get("shape")
        if shape is not None and len(shape) == len(entry["shape"]) and all(
            s == t or not (isinstance(s, int) and isinstance(t, int))
            for s, t in zip(shape, entry["shape"])  # noqa: B905
        ):  # fmt: skip
            return name
    return None


def _fill(entry: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Return how the input is filled: ``kind`` with ``value``, and whether that is a guess."""
    values = told.get("values")
    if isinstance(values, list):
        return {"kind": "choices", "value": values, "guessed": False}
    if values is not None:
        return {"kind": "value", "value": values, "guessed": False}
    name, code = entry["name"], code_of(entry["dtype"])
    if entry["role"] == STATE or entry.pop("begins", False):
        return {"kind": "value", "value": 0, "guessed": True}
    if code in "iub" and "mask" in name.lower():
        return {"kind": "value", "value": 1, "guessed": True}
    if code in "iu" and re.search(r"token_?type|segment", name, re.I):
        return {"kind": "value", "value": 0, "guessed": True}
    if code in "iu" and re.search(r"position", name, re.I):
        return {"kind": "positions", "guessed": True}
    if code in "iu" and entry["role"] == DATA and LENGTHS_OF.search(name):
        return {"kind": "length", "guessed": True}
    if entry["role"] == VALUE:
        return {"kind": "value", "value": candidates(entry)[0], "guessed": True}
    return {"kind": "random", "guessed": False}


def candidates(entry: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values that are tried for a scalar, the likeliest first."""
    code = code_of(entry["dtype"])
    if code in "iuf" and RATE.match(entry["name"]):
        return RATES
    bounds = entry.get("range")
    return tuple(bounds) if bounds else TRIED[code]


def code_of(dtype: Any) -> str:
    """Return a type's kind: i, u, f, b, or s for strings."""
    return "s" if dtype == "str" else np.dtype(dtype).kind


def _range(entry: dict[str, Any], told: dict[str, Any]) -> None:
    if told.get("range") is not None or entry.get("range") is not None:
        return
    rows = (entry.get("graph") or {}).get("table_rows")
    if rows and code_of(entry["dtype"]) in "iu":
        entry.update(range=[0, rows - 1], range_source=f"a table of {rows} rows that it is looked "
                     "up in")  # fmt: skip
    elif entry["dtype"] == "uint8" and len(entry["shape"] or []) >= 3:
        entry.update(range=PIXELS, range_source="the type: pixels")


def made(
    entry: dict[str, Any], shape: list[int], seed: int = 0, length: int | None = None
) -> np.ndarray:
    """Return made-up numbers for an input: as ``fill`` says, else normal, or within ``range``.

    ``length``: what an input of lengths is filled with.
    """
    fill = entry.get("fill") or {"kind": "random"}
    dtype = object if entry["dtype"] == "str" else np.dtype(entry["dtype"])
    rng = np.random.default_rng(seed)
    if fill["kind"] == "value":
        return np.full(shape, fill["value"], dtype=dtype)
    if fill["kind"] == "choices":
        picks = rng.integers(0, len(fill["value"]), shape)
        return np.asarray(np.array(fill["value"], dtype=dtype)[picks], dtype=dtype)
    if fill["kind"] == "positions":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    if fill["kind"] == "length":
        return np.full(shape, length or 1, dtype=dtype)
    return noise(shape, entry["dtype"], seed, entry.get("range"))


def noise(
    shape: list[int], dtype: str, seed: int = 0, bounds: list[Any] | None = None
) -> np.ndarray:
    """Return made-up numbers of a type: within ``bounds``, else normal for floats, 0 and 1 for
    integers.
    """
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return np.asarray(rng.integers(0, 2, shape)).astype(bool)
    if dtype == "str":
        return np.full(shape, "a", dtype=object)
    form = np.dtype(dtype)
    if form.kind in "iu":
        low, high = bounds or (0, 1)
        return np.asarray(rng.integers(int(low), int(high) + 1, shape)).astype(form)
    if bounds:
        return np.asarray(rng.uniform(bounds[0], bounds[1], shape)).astype(form)
    return np.asarray(rng.standard_normal(shape)).astype(form)
