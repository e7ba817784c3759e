"""Shares of the labels: merging orders by them, and keeping an order within them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deft.tables.changenet_table import is_ng

SLACK = 1e-9  # a share of 0.3 of 10 parts is 3, whatever the last bit says


def balanced_shares(labels: list[str], good_share: float) -> dict[str, float]:
    """Return ``good_share`` (0 to 1) for PASS and the rest evenly over the other labels.

    Without PASS, or with nothing else, what there is gets all.
    """
    bad = sorted(label for label in labels if is_ng(label))
    good = sorted(label for label in labels if not is_ng(label))
    if not bad or not good:
        return {label: 1.0 / len(labels) for label in sorted(labels)}
    return {k: good_share / len(good) for k in good} | {k: (1 - good_share) / len(bad) for k in bad}


def merged(
    orders: Mapping[str, np.ndarray], shares: Mapping[str, float], length: int
) -> np.ndarray:
    """Merge each label's order into one of which every beginning has the shares, to within one.

    Parameters
    ----------
    orders: label -> positions, best first. shares: label -> weight, 0 or more; a label of weight 0
    comes only when all others have run out. length: stop after so many.

    Returns
    -------
    (m,) int64; the label furthest behind its share is next, ties by label. A label that runs out
    leaves its places to the others in proportion.

    Raises
    ------
    ValueError for a negative share.
    """
    if any(share < 0 for share in shares.values()):
        raise ValueError("a share is below 0")
    names = sorted(orders)
    weight = np.array([shares.get(name, 0.0) for name in names])
    count = np.array([len(orders[name]) for name in names])
    given = np.zeros(len(names), np.int64)
    out: list[int] = []
    while len(out) < length and (given < count).any():
        open_ = given < count
        if not (weight[open_] > 0).any():
            weight = np.where(open_, 1.0, weight)
        # The next place of label l lies at (given + 1/2) / weight; the earliest place is next
        # (Webster's divisor method, which divides seats evenly at every length).
        with np.errstate(divide="ignore"):
            place = np.where(open_ & (weight > 0), (given + 0.5) / weight, np.inf)
        best = int(place.argmin())
        out.append(int(orders[names[best]][given[best]]))
        given[best] += 1
    return np.array(out, np.int64)


def within_quota(
    order: np.ndarray, labels: np.ndarray, quota: Mapping[str, float], budget: int
) -> np.ndarray:
    """Return ``order`` (positions, best first) without what exceeds a label's share of ``budget``.

    ``quota``: label -> highest share (0 to 1); labels that it does not name are not limited.
    """
    keep = np.ones(len(order), bool)
    named = np.asarray(labels)[order]
    for label, share in quota.items():
        of_label = np.flatnonzero(named == label)
        keep[of_label[int(np.floor(share * budget + SLACK)) :]] = False
    return order[keep]
