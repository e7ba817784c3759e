"""Free axes of a model's inputs: which of them are one and the same, and what sizes are tried.

An axis is known by its key: the symbol that the file gives it (one symbol is one size in every
input), or ``input:axis`` where the file names none. Sizes that something states come first and
are never varied; the others are tried in an order of what is common, and are guesses.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from typing import Any

SIDES = (224, 256, 128, 96, 64, 32, 384, 512, 28, 299)
MORE_SIDES = (*SIDES, 48, 24, 112, 160, 192, 12, 16, 40, 72, 80, 100, 320, 331, 416, 448, 640)
SIDE_PAIRS = ((48, 320), (32, 320), (32, 100), (64, 256), (240, 320), (480, 640))
LENGTHS = (16, 128, 512)
SIGNAL_LENGTHS = (512, 576, 16000, 1536, 1024, 400, 8000, 48000, 128, 64, 32, 16)
FEATURES = (80, 40, 64, 128, 32, 96, 256, 512, 16)
CHANNELS = (3, 1, 4)
PAST = (0, 1, 16)
MOST_TRIES = 120
NAMELESS = re.compile(r"^(\?|-1|axis \d+|unk_*\d*|p2o\.\S+|DynamicDimension\.\d+|None|)$")
BATCH = re.compile(r"^(batch(_?size)?|bs|b|n|nb)$", re.IGNORECASE)
LENGTH = re.compile(r"seq|len|time|frame|sample|token|point|step|num_|boxes|width|height", re.I)
LAST_CHANNELS = (1, 3, 4)


def key(entry: dict[str, Any], axis: int) -> int | str:
    """Return an axis's number, or the key that says which free axes are the same.

    >>> key({"name": "x", "shape": ["batch", 3, "?"]}, 2)
    'x:2'
    """
    size = entry["shape"][axis]
    if isinstance(size, int):
        return size
    return f"{entry['name']}:{axis}" if NAMELESS.match(str(size)) else str(size)


def sized(shape_key: int | str, sizes: dict[str, int]) -> int:
    """Return the size of a key: a number, a known symbol, or arithmetic with symbols (``2*s0``)."""
    if isinstance(shape_key, int):
        return shape_key
    if shape_key in sizes:
        return sizes[shape_key]
    return _evaluated(ast.parse(shape_key, mode="eval").body, sizes)


def _evaluated(node: ast.AST, sizes: dict[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left, sizes), _evaluated(node.right, sizes)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.FloorDiv) and right:
            return left // right
    raise ValueError(f"no size: {ast.unparse(node)}")


def symbols(shape_key: int | str) -> list[str]:
    """Return the free symbols of a key; an expression of symbols has those that it is made of."""
    if isinstance(shape_key, int):
        return []
    try:
        tree = ast.parse(shape_key, mode="eval").body
        if not isinstance(tree, ast.BinOp):
            return [shape_key]
        _evaluated(tree, {n.id: 1 for n in ast.walk(tree) if isinstance(n, ast.Name)})
    except (SyntaxError, ValueError, KeyError, RecursionError):
        return [shape_key]
    return [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]


def keys_of(entry: dict[str, Any]) -> list[int | str]:
    """Return the key of every axis of an input."""
    return [key(entry, axis) for axis in range(len(entry["shape"]))]


def shape_with(entry: dict[str, Any], sizes: dict[str, int]) -> list[int]:
    """Return an input's shape in numbers."""
    return [sized(k, sizes) for k in keys_of(entry)]


def batch_keys(inputs: list[dict[str, Any]]) -> list[str]:
    """Return the keys that are the batch: axis 0 of data whose name does not say otherwise, and
    whatever is called so.
    """
    out: dict[str, None] = {}
    for entry in inputs:
        for axis, k in enumerate(keys_of(entry)):
            if isinstance(k, int) or symbols(k) != [k]:
                continue
            first = (
                axis == 0
                and entry.get("role") != "state"
                and not LENGTH.search(_symbol(k))
                and (len(entry["shape"]) > 1 or "float" not in str(entry["dtype"]))
            )
            if BATCH.match(k) or first:
                out[k] = None
    return list(out)


def _symbol(shape_key: str) -> str:
    return "" if ":" in shape_key else shape_key


def kind(entry: dict[str, Any], axis: int) -> str:
    """Return what a free axis is by its place: ``side``, ``channel``, ``feature``, ``length`` or
    ``state``.
    """
    shape = entry["shape"]
    rank = len(shape)
    if entry.get("role") == "state":
        return "state"
    if rank in (4, 5):
        last = shape[-1] in LAST_CHANNELS and shape[1] not in LAST_CHANNELS
        if axis in ((rank - 3, rank - 2) if last else (rank - 2, rank - 1)):
            return "side"
        return "channel"
    if rank == 3 and axis == 2 and not isinstance(shape[1], int):
        return "feature"
    return "length"


def tried(entry: dict[str, Any], axis: int) -> tuple[int, ...]:
    """Return the sizes that are tried for a free axis, the likeliest first."""
    what = kind(entry, axis)
    seen = (entry.get("graph") or {}).get("channels")
    if what == "side":
        return SIDES
    if what == "channel":
        return (seen, *CHANNELS) if seen else CHANNELS
    if what == "feature":
        return (seen, *FEATURES) if seen else FEATURES
    if what == "state":
        named = re.search(r"past|cache|seq|len", str(entry["shape"][axis]), re.I)
        return PAST if named else (1, *LENGTHS)
    if "float" in str(entry["dtype"]):
        return (seen, *SIGNAL_LENGTHS) if seen and axis else SIGNAL_LENGTHS
    return LENGTHS


def plans(inputs: list[dict[str, Any]], known: dict[str, int]) -> Iterator[dict[str, int]]:
    """Yield sizes for all keys, at most ``MOST_TRIES``: ``known`` ones fixed, a batch of one."""
    base = {**dict.fromkeys(batch_keys(inputs), 1), **known}
    free: dict[str, tuple[int, ...]] = {}
    sides: list[str] = []
    for entry in inputs:
        for axis, k in enumerate(keys_of(entry)):
            for symbol in symbols(k):
                if symbol in base or symbol in free:
                    continue
                free[symbol] = tried(entry, axis)
                if kind(entry, axis) == "side":
                    sides.append(symbol)
    seen: set[tuple[int, ...]] = set()
    for plan in itertools.islice(_varied(free, sides), MOST_TRIES * 4):
        mark = tuple(plan.values())
        if mark not in seen and len(seen) < MOST_TRIES:
            seen.add(mark)
            yield {**base, **plan}


def _varied(free: dict[str, tuple[int, ...]], sides: list[str]) -> Iterator[dict[str, int]]:
    first = {k: sizes[0] for k, sizes in free.items()}
    yield first
    for side in SIDES:
        yield {**first, **dict.fromkeys(sides, side)}
    if len(sides) > 1:
        for pair in SIDE_PAIRS:
            yield {**first, **dict(zip(sides, pair))}  # noqa: B905
    for k, sizes in free.items():
        for size in sizes:
            yield {**first, k: size}
    for size in (*SIDES, *LENGTHS, 1):
        yield dict.fromkeys(free, size)
    names = list(free)
    for sizes in itertools.product(*(s[:6] for s in free.values())):
        yield dict(zip(names, sizes))  # noqa: B905
