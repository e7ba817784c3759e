"""What decisions on the acceptance set say: what turned, each label, what is still wanting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deft.kpi import certify
from deft.kpi.flips import compared
from deft.kpi.operating_point import far_upper_bound, recall_lower_bound
from deft.kpi.promotion import Counts, Gate
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import is_ng


def paired(before: np.ndarray, now: np.ndarray, ng: np.ndarray) -> dict[str, Any]:
    """Return what turned, and the 2 x 2 tables of champion against challenger by kind of part.

    ``before``, ``now``: (n,) bool, whether each part is rejected; ``ng``: (n,) bool, defects.
    """
    tables = {}
    for name, of in (("good", ~ng), ("defects", ng)):
        tables[name] = {
            "both_pass": int((of & ~before & ~now).sum()),
            "both_reject": int((of & before & now).sum()),
            "champion_alone_rejects": int((of & before & ~now).sum()),
            "challenger_alone_rejects": int((of & ~before & now).sum()),
        }
    return {**compared(before, now, ng).as_dict(), "tables": tables}


def by_label(labels: Sequence[str], rejected: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return per label how many parts there are and how many are rejected, with the bound."""
    out: dict[str, dict[str, Any]] = {}
    names = np.array(labels, object)
    for label in sorted(set(labels)):
        of = names == label
        count, above = int(of.sum()), int((of & rejected).sum())
        told: dict[str, Any] = {"count": count}
        if is_ng(label):
            told |= {"caught": above}
            told["recall_lower95_pct"] = 100 * float(recall_lower_bound(above, count))
        else:
            told |= {"rejected": above}
            told["far_upper95_pct"] = 100 * float(far_upper_bound(above, count))
        out[label] = told
    return out


def wanting(
    labels: dict[str, dict[str, Any]], counts: Counts, target: KpiTarget, gate: Gate
) -> dict[str, Any]:
    """Return how many more parts would certify the target, in all and per label; None: no number.

    ``labels``: of :func:`by_label`. Of a label whose required recall no number proves (100 %) the
    needed parts are those of ``CERTIFY_RECALL``.
    """
    recall = target.min_recall if target.min_recall < 1 else certify.CERTIFY_RECALL
    return {
        "recall_pct": 100 * recall,
        "more_good": certify.good_parts_needed(counts.fp, counts.good, target),
        "more_defects": certify.defects_needed(counts.tp, counts.defects, recall),
        "more_defects_to_promote": gate.numbers["more_defects"],
        "labels": {
            label: certify.defects_needed(told["caught"], told["count"], recall)
            for label, told in labels.items()
            if is_ng(label)
        },
    }
