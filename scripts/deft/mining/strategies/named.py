"""The strategies by name: each turns a problem into an order of parts, the preferred first.

``Rules`` hold for all of them and are applied to the order afterwards (:func:`choose`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from deft.core.errors import HardStop
from deft.mining.strategies.problem import Problem
from deft.mining.strategies.quotas import balanced_shares, merged, within_quota
from deft.mining.strategies.spread import keep_apart
from deft.tables.labels import is_ng, label_key

GOOD_SHARE = 0.5  # as the trainer draws them


@dataclass(frozen=True)
class Rules:
    """What can be combined with every strategy; the defaults change nothing.

    Attributes
    ----------
    good_share: share of PASS among the chosen (``balanced``, ``places``), 0 to 1.
    min_similarity: lowest cosine to a weak sample (``nearest``).
    min_distance: 1 - cosine that two chosen parts keep at least; 0 = off.
    label_quota: label -> highest share of the budget; the label in any spelling, kept in the form
    that the pool has. Two spellings of one label are ``config_invalid``.
    skip_known: leave out parts of the training table before the neighbours are searched.
    copies_bits: leave out near-copies of another pool picture: bits of the difference hash that
    may differ, 0 to 3; None = off.
    """

    good_share: float = GOOD_SHARE
    min_similarity: float = -1.0
    min_distance: float = 0.0
    label_quota: Mapping[str, float] = field(default_factory=dict)
    skip_known: bool = False
    copies_bits: int | None = None

    def __post_init__(self) -> None:
        clean: dict[str, float] = {}
        for label, share in self.label_quota.items():
            if clean.setdefault(label_key(str(label)), share) != share:
                raise HardStop(
                    "config_invalid",
                    f"mining_label_quota names the label {label!r} twice, with different shares",
                    fix="keep one spelling of it",
                )
        object.__setattr__(self, "label_quota", clean)

    @property
    def limited(self) -> bool:
        """Whether parts can drop out of a strategy's order."""
        return self.min_distance > 0 or bool(self.label_quota)


Strategy = Callable[[Problem, Rules, int], np.ndarray]


def nearest(problem: Problem, rules: Rules, length: int) -> np.ndarray:
    """Return the neighbours of the weak samples, nearest first; equally near ones by key."""
    found = np.flatnonzero(problem.free & (problem.nearness >= rules.min_similarity))
    return found[np.argsort(-problem.nearness[found], kind="stable")][:length]


def random(problem: Problem, rules: Rules, length: int) -> np.ndarray:
    """Return free parts blindly: the control arm."""
    free = np.flatnonzero(problem.free)
    return free[np.random.default_rng(problem.seed).permutation(len(free))][:length]


def none(problem: Problem, rules: Rules, length: int) -> np.ndarray:
    """Return nothing: the control arm that only trains on."""
    return np.zeros(0, np.int64)


def balanced(problem: Problem, rules: Rules, length: int) -> np.ndarray:
    """Return ``good_share`` PASS parts and as many of each defect label, at random within a label.

    The trainer draws good and bad parts alike often whatever the table holds, so the table decides
    only how the bad ones divide into labels. FAR at a high recall hangs on the worst label; a
    random choice gives rare labels few rows.
    """
    rng = np.random.default_rng(problem.seed)
    orders = {k: v[rng.permutation(len(v))] for k, v in problem.free_by_label().items()}
    return merged(orders, balanced_shares(list(orders), rules.good_share), length)


def places(problem: Problem, rules: Rules, length: int) -> np.ndarray:
    """Return as :func:`balanced`, but a label's defects spread over where they lie in the picture.

    The classifier knows no defect at a place where training had none (:mod:`.place`); most defects
    lie where a window is centred, so a random choice has few elsewhere, and these are the ones that
    set the threshold at a high recall. A place gets the square root of its share of the pool
    (Bankier's power allocation, 1988, between proportional and even); inside it, chance decides.
    """
    rng = np.random.default_rng(problem.seed)
    orders = {}
    for label, free in problem.free_by_label().items():
        order = free[rng.permutation(len(free))]
        if is_ng(label):
            cell = problem.cells(order)
            by_cell = {f"{c:+06d}": order[cell == c] for c in np.unique(cell).tolist()}
            shares = {name: len(mine) ** 0.5 for name, mine in by_cell.items()}
            order = merged(by_cell, shares, len(order))
        orders[label] = order
    return merged(orders, balanced_shares(list(orders), rules.good_share), length)


STRATEGIES: dict[str, Strategy] = {
    "nearest": nearest,
    "random": random,
    "none": none,
    "balanced": balanced,
    "places": places,
}


def choose(name: str, problem: Problem, rules: Rules) -> np.ndarray:
    """Return up to ``problem.budget`` positions (m,) int64: the strategy's order within the rules.

    Raises
    ------
    KeyError for an unknown name.
    """
    length = len(problem.labels) if rules.limited else problem.budget
    order = STRATEGIES[name](problem, rules, length)
    order = within_quota(order, problem.labels, rules.label_quota, problem.budget)
    if rules.min_distance > 0 and len(order):
        order = order[keep_apart(problem.vectors, order, rules.min_distance, problem.budget)]
    return order[: problem.budget]
