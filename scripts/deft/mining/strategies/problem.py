"""What a strategy chooses from: the parts of the pool, how near they are, how many are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from deft.mining.neighbours import part_keys

Key = tuple[str, ...]
Vectors = Callable[[np.ndarray], np.ndarray]
Cells = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A pool of n parts; every array is in the order of their sorted keys, which breaks ties.

    Attributes
    ----------
    labels: (n,) str. free: (n,) bool, False = not to be chosen (in the training table already, a
    copy of another part). nearness: (n,) float64, the highest cosine to a weak sample as far as the
    search found one, else -inf. vectors: positions (m,) -> (m, d) float32 unit rows. cells:
    positions (m,) -> (m,) int64, where a part differs from its golden (:mod:`.place`); asked for
    only by strategies that need it, since it reads the pictures.
    budget: parts wanted. seed: of everything drawn.
    """

    labels: np.ndarray
    free: np.ndarray
    nearness: np.ndarray
    vectors: Vectors
    cells: Cells
    budget: int
    seed: int

    def free_by_label(self) -> dict[str, np.ndarray]:
        """Return label -> positions of its free parts, ascending; labels in order."""
        found = {}
        for label in sorted(set(self.labels[self.free].tolist())):
            found[label] = np.flatnonzero(self.free & (self.labels == label))
        return found


def parts_of(rows: pd.DataFrame) -> tuple[list[Key], np.ndarray]:
    """Return the distinct parts of per-light rows, sorted, and each row's position among them."""
    keys = part_keys(rows)
    distinct = sorted(set(keys))
    position = {key: i for i, key in enumerate(distinct)}
    return distinct, np.array([position[key] for key in keys], np.int64)
