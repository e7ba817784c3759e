"""Arrays in and out of a model: types, names, descriptions."""

from __future__ import annotations

from typing import Any

import numpy as np

# Names as torch, ONNX and numpy write them -> numpy's.
DTYPES = {
    "float": "float32", "double": "float64", "half": "float16", "long": "int64", "int": "int32",
    "string": "str", "str": "str", "boolean": "bool",
}  # fmt: skip


def dtype_name(text: Any) -> str:
    """Return numpy's name of a type: ``torch.float32``, ``tensor(float)``, ``int64`` …"""
    name = str(text).replace("torch.", "")
    if name.startswith("tensor("):
        name = name[len("tensor(") : -1]
    return DTYPES.get(name, name)


def flatten(value: Any, name: str = "output") -> dict[str, Any]:
    """Return named leaves of a network's answer: tensors, tuples, dictionaries, records.

    >>> list(flatten((1.0, {"a": 2.0})))
    ['output_0', 'output_1.a']
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "to_tuple") and hasattr(value, "keys"):
        value = dict(value)
    if isinstance(value, dict):
        prefix = "" if name == "output" else f"{name}."
        parts = [(f"{prefix}{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{name}_{i}", item) for i, item in enumerate(value)]
    else:
        return {name: value}
    out: dict[str, Any] = {}
    for key, item in parts:
        if item is not None:
            out.update(flatten(item, key))
    return out


def shape_of(value: Any) -> list[int] | str:
    """Return an output's shape; of what is no array (a list of maps, …) its kind and length."""
    if hasattr(value, "shape"):
        return [int(n) for n in value.shape]
    if isinstance(value, list):
        inner = type(value[0]).__name__ if value else "nothing"
        return f"list of {len(value)} {inner}"
    return type(value).__name__


def type_of(value: Any) -> str:
    """Return an output's element type, or its Python type."""
    return dtype_name(value.dtype) if hasattr(value, "dtype") else type(value).__name__


def describe(value: Any) -> dict[str, Any]:
    """Return shape, type and, for numbers, range and how many are not finite."""
    out: dict[str, Any] = {"shape": shape_of(value), "dtype": type_of(value)}
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiub":
        numbers = value.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        out["not_finite"] = int(numbers.size - finite.size)
        if finite.size:
            out.update(
                min=float(finite.min()), max=float(finite.max()), mean=float(finite.mean()),
                std=float(finite.std()),
            )  # fmt: skip
    return out


def difference(left: Any, right: Any) -> float | None:
    """Return the largest absolute difference of two answers, None where it means nothing."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        if left.shape != right.shape:
            return None
        if left.dtype.kind in "fiub":
            gap = np.abs(left.astype(np.float64) - right.astype(np.float64))
            gap = gap[np.isfinite(gap)]
            return float(gap.max()) if gap.size else 0.0
        return 0.0 if (left == right).all() else float("inf")
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        pairs = [difference(np.asarray(left[k]), np.asarray(right[k])) for k in left]
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = [difference(a, b) for a, b in zip(left, right)]  # noqa: B905
    else:
        return 0.0 if left == right else None
    known = [p for p in pairs if p is not None]
    return max(known) if known else None


def alike(feeds: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Return the items whose shapes are the first one's: only these can share a batch."""
    wanted = {name: value.shape for name, value in feeds[0].items()}
    return [f for f in feeds if {n: v.shape for n, v in f.items()} == wanted]


def stack(feeds: list[dict[str, np.ndarray]], axes: dict[str, int | None]) -> dict[str, np.ndarray]:
    """Join prepared items into one batch along each input's batch axis (None: shared, first's)."""
    out = {}
    for name, first in feeds[0].items():
        axis = axes.get(name)
        out[name] = first if axis is None else np.concatenate([f[name] for f in feeds], axis=axis)
    return out
