"""Whether a new model takes the place of the one in production: promote, keep, or cannot tell.

Judged on parts that chose nothing of either model, each at its own frozen threshold. To promote,

* the defects that the champion catches and the new model misses must be few: the exact upper 95 %
  bound of their share is at most the margin (misses are not inferior); and
* good parts must be better by McNemar's exact test; or defects must be, and the good parts that
  only the new model rejects be few likewise (upper 97.5 % bound).

A model that is no better in either, or inferior beyond the margin in one, is so promoted in at
most 5 % of cases, whatever the rest (docs/acceptance.md has the argument, the tests a simulation).
Worse by McNemar's test on either kind: keep. Without a champion the target itself is asked for:
promote where the bounds prove it, keep where they disprove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from deft.kpi.certify import parts_needed, proves_far, proves_recall
from deft.kpi.flips import ALPHA, BETTER, CANNOT_TELL, WORSE, Compared, compared
from deft.kpi.operating_point import CONFIDENCE, far_upper_bound, recall_lower_bound
from deft.settings.kpi_target import KpiTarget

PROMOTE, KEEP = "promote", "keep"
# Of the second way to promote: with the first way's good parts it makes 5 % in all.
ALARM_CONFIDENCE = 1 - ALPHA / 2


@dataclass(frozen=True)
class Counts:
    """The 2 x 2 table of a model's decisions against the labels."""

    tp: int
    fn: int
    fp: int
    tn: int

    @classmethod
    def of(cls, rejected: np.ndarray, ng: np.ndarray) -> Counts:
        """Count decisions; ``rejected``, ``ng``: (n,) bool, whether a part is a defect."""
        tp, fp = int((rejected & ng).sum()), int((rejected & ~ng).sum())
        return cls(tp, int(ng.sum()) - tp, fp, int((~ng).sum()) - fp)

    @property
    def good(self) -> int:
        """Good parts."""
        return self.fp + self.tn

    @property
    def defects(self) -> int:
        """Defective parts."""
        return self.tp + self.fn

    def as_dict(self) -> dict[str, Any]:
        """Return counts, rates in percent and their exact one-sided 95 % bounds, both ways."""
        out: dict[str, Any] = {"tp": self.tp, "fn": self.fn, "fp": self.fp, "tn": self.tn}
        for name, count, total in (
            ("far", self.fp, self.good),
            ("recall", self.tp, self.defects),
        ):
            out[f"{name}_pct"] = 100 * count / total if total else None
            out[f"{name}_lower95_pct"] = 100 * float(recall_lower_bound(count, total))
            out[f"{name}_upper95_pct"] = 100 * float(far_upper_bound(count, total))
        return out


@dataclass(frozen=True)
class Gate:
    """The outcome with its reasons; ``numbers`` are what it was judged by."""

    outcome: str
    reasons: tuple[str, ...]
    numbers: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        return {"outcome": self.outcome, "reasons": list(self.reasons), **self.numbers}


def judge(champion: np.ndarray, challenger: np.ndarray, ng: np.ndarray, margin_pct: float) -> Gate:
    """Judge a new model against the one in production.

    Parameters
    ----------
    champion, challenger: (n,) bool, whether each part is rejected. ng: (n,) bool, defects.
    margin_pct: above 0; the share of parts, in percent, that may newly be decided wrong.
    """
    return judge_turned(compared(champion, challenger, ng), margin_pct)


def judge_turned(found: Compared, margin_pct: float) -> Gate:
    """As :func:`judge`, from what turned."""
    good, defects, margin = found.good, found.defects, margin_pct / 100
    misses = float(far_upper_bound(defects.broke, defects.parts, CONFIDENCE))
    alarms = float(far_upper_bound(good.broke, good.parts, ALARM_CONFIDENCE))
    no_worse = misses <= margin
    gained = good.verdict == BETTER or (defects.verdict == BETTER and alarms <= margin)
    reasons = [
        f"good parts: {good.verdict} ({good.fixed} fixed, {good.broke} broke, p {good.p:.2g})",
        f"defects: {defects.verdict} ({defects.fixed} regained, {defects.broke} newly missed, "
        f"p {defects.p:.2g})",
        f"newly missed: at most {100 * misses:.2g} % of {defects.parts} defects, "
        f"{'within' if no_worse else 'not shown to be within'} the margin of {margin_pct:g} %",
    ]
    outcome = CANNOT_TELL
    if WORSE in (good.verdict, defects.verdict):
        outcome = KEEP
    elif no_worse and gained:
        outcome = PROMOTE
    more = None if no_worse else parts_needed(defects.broke, defects.parts, margin)
    numbers = {
        "margin_pct": margin_pct,
        "newly_missed_upper95_pct": 100 * misses,
        "new_false_alarms_upper975_pct": 100 * alarms,
        "more_defects": more,
    }
    return Gate(outcome, tuple(reasons), numbers)


def judge_alone(counts: Counts, target: KpiTarget) -> Gate:
    """Judge a new model where none is in production: do the bounds prove the target?"""
    told = counts.as_dict()
    far = proves_far(counts.fp, counts.good, target)
    recall = proves_recall(counts.tp, counts.defects, target.min_recall)
    beyond = counts.fp > 0 and not target.met(told["far_lower95_pct"])
    short = told["recall_upper95_pct"] < 100 * target.min_recall
    outcome = PROMOTE if far and recall else KEEP if beyond or short else CANNOT_TELL
    said = {True: "proven", False: "not proven"}
    reasons = (
        "nothing is in production: the target itself is asked for",
        f"FAR {told['far_pct']:.4g} %, {told['far_lower95_pct']:.4g} to "
        f"{told['far_upper95_pct']:.4g} %: {'ruled out' if beyond else said[far]}",
        f"recall {told['recall_pct']:.4g} %, {told['recall_lower95_pct']:.4g} to "
        f"{told['recall_upper95_pct']:.4g} %: {'ruled out' if short else said[recall]}",
    )
    return Gate(outcome, reasons, {"margin_pct": None, "more_defects": None})
