"""Rows spread over a table, where some stand for all: neighbours are often alike."""

from __future__ import annotations

import numpy as np


def spread_rows(count: int, most: int) -> np.ndarray:
    """Return positions (m,) of at most ``most`` of ``count`` rows, evenly spread, ascending."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
