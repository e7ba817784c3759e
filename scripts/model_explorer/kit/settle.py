"""Shapes that a file does not state, settled by running: what was tried, what was accepted.

Nothing here is a guess of what the author meant: an accepted shape is a measurement, and the
contract keeps saying that the intended one is unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import dtype_name
from .folder import Refusal, first_line

SETTLE_SHAPE = (
    "the author's example call, or explore.contract.inputs: {NAME: {shape: [batch, "
    "...], dtype: ...}}"
)
SIDES = (224, 256, 128, 96, 64, 32, 384, 512, 28, 299)
SIDES_SHOWN = 6  # sides tried after the first success, to see whether the size is free
LENGTHS = (16, 128, 512)
SPATIAL_SIDE = 2  # from this axis of a picture (or map) on, a free axis is a side


def concrete(
    shape: list[Any],
    batch: int = 1,
    side: int = 224,
    batch_axis: int | None = 0,
    sizes: dict[str, Any] | None = None,
) -> list[int]:
    """Return a shape with numbers for its free axes: ``batch`` for the batch axis, a stated size
    (``sizes``: of the entry), else ``side``.
    """
    out = []
    for axis, size in enumerate(shape):
        if isinstance(size, int):
            out.append(size)
        elif axis == batch_axis:
            out.append(batch)
        else:
            out.append((sizes or {}).get(str(axis), {}).get("size", side))
    return out


def noise(
    shape: list[int], dtype: str, seed: int = 0, bounds: list[int] | None = None
) -> np.ndarray:
    """Return made-up numbers of a type: normal for floats, within ``bounds`` for integers."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "str":
        return np.full(shape, "a", dtype=object)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        low, high = bounds or (0, 1)
        return rng.integers(low, high + 1, shape).astype(kind)
    return rng.standard_normal(shape).astype(kind)


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
        out += [([1, size[1], s, s], dtype, f"weight {name} {size}") for s in SIDES]
    if sequence and not picture:
        name, size = sequence
        out += [([1, size[1], n], dtype, f"weight {name} {size}") for n in LENGTHS]
    if flat:
        name, size = flat
        out.append(([1, size[1]], dtype, f"weight {name} {size}"))
        out += [([1, n, size[1]], dtype, f"weight {name} {size}") for n in LENGTHS[:1]]
    if first:
        out += [([1, n], "int64", f"weight {first[0]} read as a table") for n in LENGTHS[:1]]
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


def try_shapes(model: Any, shapes: dict[str, list[int]], dtypes: dict[str, str]) -> str | None:
    """Return None when the model computes inputs of these shapes, else why not."""
    try:
        model.run({n: noise(s, dtypes[n]) for n, s in shapes.items()})
    except Exception as error:  # any runtime's own class: a refusal of the shape is what is asked
        return first_line(error, 160)
    return None


def settle_by_trial(model: Any) -> dict[str, Any]:
    """Return ``{"shape", "dtype", "accepted", "refused", "why"}`` of a model without stated shapes.

    All inputs get the same shape. Raises :class:`Refusal` when nothing that was tried runs.
    """
    names = [i["name"] for i in model.inputs]
    accepted: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for shape, dtype, why in candidates(state_of(model), float_of(model)):
        if accepted and (
            len(shape) != len(accepted[0]["shape"]) or len(accepted) + len(refused) > SIDES_SHOWN
        ):
            break
        said = try_shapes(model, {n: shape for n in names}, {n: dtype for n in names})
        entry = {"shape": shape, "dtype": dtype, "why_tried": why}
        (refused if said else accepted).append({**entry, **({"error": said} if said else {})})
    if not accepted:
        raise Refusal(
            f"the input shape stands nowhere in the file and no tried shape runs ({len(refused)} "
            f"tried; the first: {refused[0]['error'] if refused else 'nothing to try'}); settle it "
            f"with {SETTLE_SHAPE}"
        )
    return {**accepted[0], "accepted": accepted, "refused": refused}


def settle_free_axes(model: Any, inputs: list[dict[str, Any]]) -> int:
    """Return a size for free axes beyond the batch that the model computes.

    Raises :class:`Refusal` when none of the tried sizes runs.
    """
    said = None
    for side in (*SIDES, *LENGTHS, 1):
        shapes = {i["name"]: concrete(i["shape"], side=side, sizes=i.get("sizes")) for i in inputs}
        said = try_shapes(model, shapes, {i["name"]: i["dtype"] for i in inputs})
        if said is None:
            return side
    raise Refusal(f"no size of the free axes runs ({said}); settle it with {SETTLE_SHAPE}")
