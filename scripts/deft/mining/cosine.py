"""The one rule for cosines of the search: float64, rounded; and what float32 may differ from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

SIMILARITY_DECIMALS = 6
ROUNDING = 10.0**-SIMILARITY_DECIMALS  # two equal rounded cosines differ by at most this
UNIT_TOLERANCE = 1e-5  # a row's length is 0 or within this of 1


def exact_cosine(target: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Return float64 cosines (n,) of one target (d,) and rows (n, d), rounded; 0 for zero rows."""
    a = target.astype(np.float64)
    return rounded_cosine(a, float(np.linalg.norm(a)), sources.astype(np.float64))


def rounded_cosine(a: np.ndarray, a_length: np.ndarray | float, b: np.ndarray) -> np.ndarray:
    """Return the rounded cosines (n,) of rows a (d,) or (n, d) of known length and b (n, d)."""
    # numpy sums each row by itself in one fixed order, so a pair has one value in any company.
    length = a_length * np.sqrt((b * b).sum(axis=1))
    dot = (b * a).sum(axis=1)
    cosine = np.divide(dot, length, out=np.zeros_like(dot), where=length > 0)
    rounded: np.ndarray = np.round(cosine, SIMILARITY_DECIMALS)
    return rounded


def product_error(dim: int) -> float:
    """Return by how much a float32 product of two rows can differ from their cosine.

    The bound of Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, for a sum in
    any order, ``d u / (1 - d u)`` with u = 2^-24; and what the rows' lengths may be off.
    """
    unit = dim * 2.0**-24
    return unit / (1 - unit) + 2.5 * UNIT_TOLERANCE


def check_unit(vectors: torch.Tensor, what: str, start: int) -> None:
    """Raise ValueError, naming row ``start`` + i, unless rows (n, d) have length 1 or 0."""
    import torch

    length = torch.linalg.vector_norm(vectors, dim=1)
    good = ((length - 1).abs() <= UNIT_TOLERANCE) | (length == 0)
    if not bool(good.all()):
        i = int((~good).nonzero()[0])
        raise ValueError(
            f"{what} row {start + i} has length {float(length[i]):.6g}; rows are normalised or zero"
        )


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep products in float32: TF32 or bfloat16 would exceed :func:`product_error`."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
