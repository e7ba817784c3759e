"""Quality on inputs with known answers: rates, how far chance may have moved them, what is too
few.
"""

from __future__ import annotations

import math
from typing import Any

from .decode import SHARES

QUALITY = ("accuracy_pct", "f1_pct", "recall_pct", "far_pct")
FEW_KNOWN = 30  # with fewer known answers a share says little
CONFIDENCE = 0.95
# rate -> (how many of them were counted, of how many)
COUNTS = {
    "accuracy_pct": ("right", "inputs_with_known_answer"),
    "f1_pct": (None, "inputs_with_known_answer"),
    "recall_pct": ("rejected_defective", "defective"),
    "far_pct": ("rejected_good", "good"),
}


def upper_bound(count: int, total: int) -> float:
    """Return the exact one-sided 95 % Clopper-Pearson upper bound of a rate (0 to 1).

    The rate at which so few would be seen with a chance of 5 %; 0 of 50: 0.0582.
    """
    if count >= total:
        return 1.0
    ways = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        for k in range(count + 1)
    ]
    low, high = count / total, 1.0
    while high - low > 1e-12:
        rate = (low + high) / 2
        logs = (math.log(rate), math.log1p(-rate))
        at_most = sum(math.exp(w + k * logs[0] + (total - k) * logs[1]) for k, w in enumerate(ways))
        low, high = (rate, high) if at_most > 1 - CONFIDENCE else (low, rate)
    return high


def lower_bound(count: int, total: int) -> float:
    """Return the lower bound, as :func:`upper_bound`; 50 of 50: 0.9418."""
    return 1 - upper_bound(total - count, total)


def quality(inference: dict[str, Any], contract: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy, F1 and (ChangeNet) recall and FAR over inputs with a known answer, in per
    cent, and the one-sided 95 % bounds of the rates (``bounds``: name -> [lower, upper]).
    """
    pairs = [
        (s["truth"], s["label"])
        for s in inference.get("samples", [])
        if s.get("truth") is not None and s.get("label") is not None
    ]
    rule = contract.get("postprocess") or {}
    if rule.get("kind") in SHARES and not rule.get("labels"):
        # Answers are numbered classes: only numbers can be compared with them.
        pairs = [(f"class {int(t)}", label) for t, label in pairs if str(t).strip().isdecimal()]
    out: dict[str, Any] = {"inputs_with_known_answer": len(pairs)}
    if not pairs:
        return out
    if rule.get("kind") == "changenet":
        pairs = [("PASS" if truth == "PASS" else "NO_PASS", label) for truth, label in pairs]
        bad = [label for truth, label in pairs if truth == "NO_PASS"]
        good = [label for truth, label in pairs if truth == "PASS"]
        out.update(defective=len(bad), good=len(good))
        if bad:
            out["rejected_defective"] = bad.count("NO_PASS")
        if good:
            out["rejected_good"] = good.count("NO_PASS")
    else:
        truths = [truth for truth, _ in pairs]
        commonest = max(sorted(set(truths)), key=truths.count)
        share = 100 * truths.count(commonest) / len(pairs)
        out.update(commonest_answer=commonest, commonest_pct=share)
    out["right"] = sum(truth == label for truth, label in pairs)
    out["bounds"] = {}
    for name, (counted, total) in COUNTS.items():
        if counted in out:
            hits, of = out[counted], out[total]
            out[name] = 100 * hits / of
            out["bounds"][name] = [100 * lower_bound(hits, of), 100 * upper_bound(hits, of)]
    scores = []
    for name in sorted({c for pair in pairs for c in pair}):
        hits = sum(t == p == name for t, p in pairs)
        said, true = sum(p == name for _, p in pairs), sum(t == name for t, _ in pairs)
        scores.append(2 * hits / (said + true))
    out["f1_pct"] = 100 * sum(scores) / len(scores)
    return out


def known_of(name: str, found: dict[str, Any]) -> int:
    """Return on how many known answers a rate stands."""
    return int(found.get(COUNTS[name][1]) or 0)


def rate(name: str, found: dict[str, Any]) -> str:
    """Return a rate with its count and its bounds, each of them with 95 % confidence."""
    counted, total = COUNTS[name]
    if counted is None:
        return f"{found[name]:.1f} % (over {plural_answers(found[total])})"
    low, high = found["bounds"][name]
    return (
        f"{found[name]:.1f} % ({found[counted]} of {found[total]}; with 95 % confidence each: at "
        f"least {low:.1f} %, at most {high:.1f} %)"
    )


def plural_answers(count: int) -> str:
    """Return ``1 known answer`` or ``3 known answers``."""
    return f"{count} known answer{'' if count == 1 else 's'}"
