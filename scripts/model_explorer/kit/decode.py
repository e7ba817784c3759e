"""From raw outputs to an answer, where the contract says how; else the numbers described."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import describe

TOP = 5
VALUES_SHOWN = 16
SHARES = ("softmax_top", "sigmoid", "probabilities")
LEAST_SCORE, MOST_OVERLAP = 0.25, 0.45  # Ultralytics's defaults for a prediction
MOST_BOXES = 300


def answer(contract: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """Return one item's decoded answer: ``kind``, ``label`` where there is one, and values."""
    rule = contract["postprocess"]
    first = next(iter(raw.values()))
    kind = rule["kind"]
    if kind in SHARES and isinstance(first, np.ndarray) and first.size:
        return ranked(first, rule, kind)
    if kind == "boxes" and isinstance(first, np.ndarray) and first.ndim == 3:
        return boxes(first, rule)
    if kind == "changenet":
        return verdict(first, rule)
    if kind == "embedding":
        return {"kind": kind, "outputs": {n: _length(v) for n, v in raw.items()}}
    return {"kind": "undecoded", "outputs": {n: _values(v) for n, v in raw.items()}}


def ranked(logits: np.ndarray, rule: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the classes with the highest probability, best first."""
    numbers = logits.reshape(-1).astype(np.float64)
    if kind == "softmax_top":
        shares = np.exp(numbers - numbers.max())
        shares /= shares.sum()
    elif kind == "probabilities":
        shares = numbers
    else:
        shares = 1 / (1 + np.exp(-numbers))
    best = np.argsort(-shares, kind="stable")[:TOP]
    labels = rule.get("labels") or []
    top = [
        {"index": int(i), "probability": float(shares[i]), "label": _name(labels, int(i))}
        for i in best
    ]
    return {"kind": kind, "label": top[0]["label"], "score": top[0]["probability"], "top": top}


def boxes(output: np.ndarray, rule: dict[str, Any]) -> dict[str, Any]:
    """Return the boxes of a YOLO detector, best first, overlapping ones of a class taken out.

    ``output``: (1, 4 + classes, places): centre x, y, width, height in pixels, then the scores.
    """
    rows = output[0].astype(np.float64)
    scores, labels = rows[4:], rule.get("labels") or []
    best, top = scores.argmax(0), scores.max(0)
    found: list[dict[str, Any]] = []
    for place in np.argsort(-top, kind="stable"):
        if top[place] < LEAST_SCORE or len(found) == MOST_BOXES:
            break
        box, number = rows[:4, place], int(best[place])
        if all(f["index"] != number or _overlap(f["box"], box) <= MOST_OVERLAP for f in found):
            found.append({"index": number, "score": float(top[place]), "box": box.tolist(),
                          "name": _name(labels, number)})  # fmt: skip
    return {"kind": "boxes", "boxes": found, "least_score": LEAST_SCORE,
            "most_overlap": MOST_OVERLAP}  # fmt: skip


def _overlap(left: Any, right: Any) -> float:
    """Return the intersection over union of two boxes (centre x, y, width, height)."""
    shared = 1.0
    for axis in (0, 1):
        ends = [(b[axis] - b[axis + 2] / 2, b[axis] + b[axis + 2] / 2) for b in (left, right)]
        shared *= max(0.0, min(e[1] for e in ends) - max(e[0] for e in ends))
    union = left[2] * left[3] + right[2] * right[3] - shared
    return float(shared / union) if union > 0 else 0.0


def verdict(output: np.ndarray, rule: dict[str, Any]) -> dict[str, Any]:
    """Return a ChangeNet's score (high = defective) and PASS or NO_PASS."""
    numbers = output.reshape(-1).astype(np.float64)
    if rule["output"] == "logits":
        score = float(np.float32(1 / (1 + np.exp(numbers[0] - numbers[1]))))
    else:
        score = float(np.float32(numbers[0]))
    bad = score > float(np.float32(rule["threshold"]))
    return {
        "kind": "changenet", "score": score, "threshold": rule["threshold"],
        "label": "NO_PASS" if bad else "PASS",
    }  # fmt: skip


def words(decoded: dict[str, Any]) -> str:
    """Return a decoded answer in a few words."""
    if decoded.get("label") is not None:
        return f"{decoded['label']} ({decoded['score']:.4g})"
    if decoded["kind"] == "boxes":
        shown = [f"{b['name']} ({b['score']:.4g})" for b in decoded["boxes"][:TOP]]
        return f"{len(decoded['boxes'])} boxes: {', '.join(shown)}" if shown else "no box"
    parts = []
    for name, value in decoded["outputs"].items():
        if "norm" in value:
            parts.append(f"{name}: {value['shape']}, length {value['norm']:.4g}")
        elif "values" in value:
            parts.append(f"{name}: {value['values']}")
        else:
            parts.append(f"{name}: {value['shape']}, {_range(value)}")
    return "; ".join(parts)


def _range(value: dict[str, Any]) -> str:
    return f"{value['min']:.4g} … {value['max']:.4g}" if "min" in value else value["dtype"]


def _name(labels: list[str], index: int) -> str:
    return labels[index] if index < len(labels) else f"class {index}"


def _length(value: Any) -> dict[str, Any]:
    out = describe(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        out["norm"] = float(np.linalg.norm(value.astype(np.float64)))
    return out


def _values(value: Any) -> dict[str, Any]:
    out = describe(value)
    if isinstance(value, np.ndarray):
        if value.size <= VALUES_SHOWN:
            out["values"] = [_short(v) for v in value.reshape(-1).tolist()]
    elif len(str(value)) <= 40 * VALUES_SHOWN:
        out["values"] = value
    return out


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
