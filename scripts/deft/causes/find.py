"""Which causes go with wrong decisions, and how surely: shares, lift, an exact corrected p.

Defects and good parts are two questions. Of each, the parts that hold of a cause are compared with
the rest by Fisher's exact test, one-sided; p is corrected for all questions asked (Holm). A cause
is *named* where that is below :data:`LEVEL`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from deft.causes.catalogue import BY_ID, CAUSES, GROUP, GROUP_CURES, GROUPS, MECHANISM, SEPARATOR
from deft.causes.statistics import enrichment_p, holm

VERSION = 1
LEVEL = 0.01
# What is looked at where fewer parts are wrong: so many at least, or this share of the defects and
# of the good parts; and the greatest share of good parts.
LEAST_WEAK, WEAK_DEFECTS, WEAK_GOOD, MOST_GOOD = 5, 0.1, 0.025, 0.25
GROUP_LEAST = 5  # parts of a board, a type, … that make it a group
EXAMPLES = 3
MISSES, FALSE_ALARMS = "misses", "false_alarms"
WORDS = {MISSES: "missed or weakest defects", FALSE_ALARMS: "false alarms"}
RULES = {
    MISSES: "defects at or below the threshold; where these are fewer than 10 % of the defects (at "
    "least five), the lowest-scored 10 %, which hold the threshold down",
    FALSE_ALARMS: "good parts above the threshold; where these are fewer than 2.5 % of the good "
    "parts (at least five) or more than a quarter, so many of the highest-scored",
}


@dataclass(frozen=True)
class Side:
    """One question: of the parts ``mask`` (n,) bool, those that are ``wrong`` (n,) bool."""

    name: str
    mask: np.ndarray
    wrong: np.ndarray


def sides_of(scores: np.ndarray, ng: np.ndarray, threshold: float) -> list[Side]:
    """Return the wrong defects and the wrong good parts, see ``RULES``; a side may have none."""
    rejected = scores.astype(np.float32) > np.float32(threshold)
    missed, false = ng & ~rejected, ~ng & rejected
    few = _so_many(int(ng.sum()), WEAK_DEFECTS)
    if missed.sum() < few:
        missed = _worst(scores, ng, few)
    good = int((~ng).sum())
    few, many = _so_many(good, WEAK_GOOD), max(LEAST_WEAK, math.ceil(MOST_GOOD * good))
    if not few <= false.sum() <= many:
        false = _worst(-scores, ~ng, few if false.sum() < few else many)
    return [Side(MISSES, ng, missed), Side(FALSE_ALARMS, ~ng, false)]


def _so_many(parts: int, share: float) -> int:
    return min(max(LEAST_WEAK, math.ceil(share * parts)), parts // 2)


def _worst(scores: np.ndarray, among: np.ndarray, count: int) -> np.ndarray:
    """Return which parts (n,) bool are the ``count`` lowest ``among`` some; equal ones in order."""
    order = np.lexsort([np.arange(len(scores)), scores, ~among])
    return np.isin(np.arange(len(scores)), order[:count])


def find_causes(
    scores: np.ndarray, ng: np.ndarray, threshold: float, flags: pd.DataFrame, groups: pd.DataFrame
) -> dict[str, Any]:
    """Return ``causes.json`` but for the facts about its making.

    Parameters
    ----------
    scores: (n,) high = defective. ng: (n,) bool. flags: (n, causes) bool, columns of the catalogue.
    groups: (n, any of ``GROUPS``) text; a value that few parts share, or all, is no group. Parts
    with a flag do not count in a group: what is known of them says more than where they come from.
    """
    sides = sides_of(scores, ng, threshold)
    found: list[dict[str, Any]] = [
        {"id": c.id, "kind": MECHANISM, "title": c.title, "cure": c.cure, "_on": flags[c.id]}
        for c in CAUSES
    ]
    found += _groups(groups, np.asarray(flags.to_numpy(bool).any(axis=1)))
    asked: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for one in found:
        on, counted = one.pop("_on").to_numpy(bool), one.pop("_of", None)
        one["flagged"] = int(on.sum())
        worst = np.zeros(0, np.intp)
        for side in sides:
            among = side.mask if counted is None else side.mask & counted
            one[side.name] = counts(on, side.wrong, among)
            if one[side.name] is not None:
                asked.append((one, one[side.name]))
            worst = np.concatenate([worst, np.flatnonzero(on & side.wrong)])
        distance = np.where(ng, -1.0, 1.0) * (scores - threshold)
        first = np.lexsort([worst, -distance[worst]])
        one["examples"] = worst[first][:EXAMPLES].tolist()
    for (_, each), p in zip(asked, holm([each["p"] for _, each in asked]), strict=True):
        each["p_corrected"] = p
    for one in found:
        sure = [float(one[side.name]["p_corrected"]) for side in sides if one[side.name]]
        raw = [float(one[side.name]["p"]) for side in sides if one[side.name]]
        one["p_corrected"] = min(sure, default=1.0)
        one["named"] = one["p_corrected"] < LEVEL
        one["_rank"] = min(raw, default=1.0)
    # Mechanisms first: they say why, a group only says where.
    order = sorted(
        range(len(found)),
        key=lambda i: (not found[i]["named"], found[i]["kind"] == GROUP, found[i]["_rank"], i),
    )
    kept = [found[i] for i in order if found[i]["named"] or found[i]["kind"] == MECHANISM]
    for one in found:
        del one["_rank"]
    return {
        "version": VERSION,
        "threshold": threshold,
        "level": LEVEL,
        "tests": len(asked),
        "rules": RULES,
        "looked_at": {
            side.name: {"parts": int(side.mask.sum()), "wrong": int(side.wrong.sum())}
            for side in sides
        },
        "named": [one["id"] for one in kept if one["named"]],
        "causes": kept,
    }


def _groups(groups: pd.DataFrame, flagged: np.ndarray) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for column, word in GROUPS.items():
        if column not in groups:
            continue
        values = groups[column].astype(str)
        sizes = values[~flagged].value_counts()
        if values.nunique() < 2:
            continue
        for value in sorted(v for v in sizes.index if v and sizes[v] >= GROUP_LEAST):
            found.append(
                {
                    "id": f"{column}:{value}",
                    "kind": GROUP,
                    "title": f"{word} {value}",
                    "cure": GROUP_CURES[column],
                    "_on": (values == value) & ~flagged,
                    "_of": ~flagged,
                }
            )
    return found


def counts(on: np.ndarray, wrong: np.ndarray, among: np.ndarray) -> dict[str, Any] | None:
    """Return the two-by-two table of a cause on one side, with shares in percent and exact p.

    None where there is nothing to compare: no wrong part, or all or none of them flagged.
    ``lift``: how many times more often the flagged are wrong than the rest; None where no other
    part is.
    """
    total, flagged = int(among.sum()), int((on & among).sum())
    bad, both = int((wrong & among).sum()), int((on & wrong & among).sum())
    if not bad or bad == total or not flagged or flagged == total:
        return None
    rate, rest = both / flagged, (bad - both) / (total - flagged)
    return {
        "parts": total,
        "wrong": bad,
        "flagged": flagged,
        "flagged_wrong": both,
        "share_pct": round(100 * both / bad, 4),
        "rate_pct": round(100 * rate, 4),
        "rest_rate_pct": round(100 * rest, 4),
        "lift": round(rate / rest, 4) if rest else None,
        "p": enrichment_p(both, flagged, bad, total),
    }


def cells(found: dict[str, Any], flags: pd.DataFrame) -> list[str]:
    """Return of each part the named mechanisms that hold of it, the surest first, as one cell."""
    named = [name for name in found["named"] if name in BY_ID]
    rows = flags[named].to_numpy(bool) if named else np.zeros((len(flags), 0), bool)
    return [
        SEPARATOR.join(n for n, on in zip(named, row, strict=True) if on) for row in rows.tolist()
    ]
