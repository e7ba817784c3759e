"""Quality on inputs with known answers, the user's targets, and the verdict: rules over the
JSON.
"""

from __future__ import annotations

from typing import Any

from .folder import Folder
from .steps import asked_of_networks

# name -> (unit, whether higher is better, how it is measured)
METRICS: dict[str, tuple[str, bool, str]] = {
    "latency_mean_ms": ("ms", False, "mean of the warm runs, end to end"),
    "latency_median_ms": ("ms", False, "median of the warm runs, end to end"),
    "latency_p95_ms": ("ms", False, "95th percentile of the warm runs, end to end"),
    "cold_ms": ("ms", False, "first run of a fresh process, after loading"),
    "load_s": ("s", False, "opening the model file in a fresh process"),
    "throughput_items_per_s": ("items/s", True, "best of the batch sizes, model alone"),
    "peak_ram_mib": ("MiB", False, "largest resident memory of the benchmark's process"),
    "peak_vram_mib": ("MiB", False, "largest memory that torch held on the card"),
    "accuracy_pct": ("%", True, "share of inputs with a known answer that were answered so"),
    "f1_pct": ("%", True, "mean F1 over the classes of the inputs with a known answer"),
    "recall_pct": ("%", True, "share of defective parts that were rejected"),
    "far_pct": ("%", False, "share of good parts that were rejected"),
}
NAMES = (
    "parameters", "io_contract", "inputs", "inference", "stats", "profile", "train_check",
    "quality", "verdict", "dependencies", "provenance", "environment", "steps", "figures",
)  # fmt: skip
GO, CONDITIONAL, NO_GO = "GO", "GO WITH CONDITIONS", "NO-GO"
QUALITY = ("accuracy_pct", "f1_pct", "recall_pct", "far_pct")
FEW_KNOWN = 30  # with fewer known answers a share says little
REPEAT_TOLERANCE = 1e-5
BATCH_TOLERANCE = 1e-3
UNREQUIRED = ("14_profile.py", "16_train_check.py", "20_visualize.py")


def facts_of(folder: Folder) -> dict[str, Any]:
    """Return every JSON file of ``outputs/`` by name, ``{}`` for what is not there."""
    return {name: folder.read(name, {}) for name in NAMES}


def judge(folder: Folder) -> str:
    """Write ``outputs/quality.json`` and ``outputs/verdict.json``; return the summary line."""
    folder.write("quality", quality(folder.read("inference", {}), folder.read("io_contract", {})))
    facts = facts_of(folder)
    targets = judged(facts)
    blocking, conditions = reasons(facts, targets)
    word = NO_GO if blocking else CONDITIONAL if conditions else GO
    folder.write(
        "verdict",
        {"verdict": word, "blocking": blocking, "conditions": conditions, "targets": targets},
    )
    return f"{word}: {len(blocking)} blocking, {len(conditions)} conditions"


def quality(inference: dict[str, Any], contract: dict[str, Any]) -> dict[str, Any]:
    """Return accuracy, F1 and (ChangeNet) recall and FAR over inputs with a known answer."""
    pairs = [
        (s["truth"], s["label"])
        for s in inference.get("samples", [])
        if s.get("truth") is not None and s.get("label") is not None
    ]
    rule = contract.get("postprocess") or {}
    if rule.get("kind") in ("softmax_top", "sigmoid") and not rule.get("labels"):
        # Answers are numbered classes: only numbers can be compared with them.
        pairs = [(f"class {int(t)}", label) for t, label in pairs if str(t).strip().isdigit()]
    out: dict[str, Any] = {"inputs_with_known_answer": len(pairs)}
    if not pairs:
        return out
    if rule.get("kind") == "changenet":
        pairs = [("PASS" if truth == "PASS" else "NO_PASS", label) for truth, label in pairs]
        bad = [label for truth, label in pairs if truth == "NO_PASS"]
        good = [label for truth, label in pairs if truth == "PASS"]
        out.update(defective=len(bad), good=len(good))
        if bad:
            out["recall_pct"] = 100 * bad.count("NO_PASS") / len(bad)
        if good:
            out["far_pct"] = 100 * good.count("NO_PASS") / len(good)
    else:
        truths = [truth for truth, _ in pairs]
        commonest = max(sorted(set(truths)), key=truths.count)
        share = 100 * truths.count(commonest) / len(pairs)
        out.update(commonest_answer=commonest, commonest_pct=share)
    right = sum(truth == label for truth, label in pairs)
    out.update(right=right, accuracy_pct=100 * right / len(pairs))
    classes = sorted({c for pair in pairs for c in pair})
    scores = []
    for name in classes:
        hits = sum(t == p == name for t, p in pairs)
        said, true = sum(p == name for _, p in pairs), sum(t == name for t, _ in pairs)
        scores.append(2 * hits / (said + true))
    out["f1_pct"] = 100 * sum(scores) / len(scores)
    return out


def measured(facts: dict[str, Any]) -> dict[str, float]:
    """Return every metric that this exploration measured, by its name in ``METRICS``."""
    stats, found = facts["stats"], dict(facts["quality"])
    if stats:
        total = stats["warm"]["total_ms"]
        found.update(
            latency_mean_ms=total["mean"], latency_median_ms=total["median"],
            latency_p95_ms=total["p95"], cold_ms=stats["cold"]["total_ms"],
            load_s=stats["cold"]["load_s"], peak_ram_mib=stats["memory"]["peak_ram_mib"],
            peak_vram_mib=stats["memory"]["peak_vram_mib"],
        )  # fmt: skip
        if stats["best_throughput"]:
            found["throughput_items_per_s"] = stats["best_throughput"]["items_per_s"]
    return {k: v for k, v in found.items() if k in METRICS and v is not None}


def judged(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each target with what was measured, by how far, and whether it is met.

    ``met`` is None for what was not measured.
    """
    values = measured(facts)
    out = []
    for name, goal in sorted((facts["parameters"].get("targets") or {}).items()):
        unit, higher, how = METRICS.get(name, ("", True, ""))
        value = values.get(name)
        met = None if value is None else (value >= goal if higher else value <= goal)
        entry: dict[str, Any] = {
            "name": name, "target": goal, "unit": unit, "measured": value, "met": met,
            "rule": "at least" if higher else "at most", "how": how,
            "delta": None if value is None else value - goal,
        }  # fmt: skip
        if value is None:
            entry["settle"] = _settle(name, how)
        out.append(entry)
    return out


def _settle(name: str, how: str) -> str:
    if name in QUALITY:
        return "inputs with known answers: explore.inputs and explore.labels (or a KPI table)"
    if name == "peak_vram_mib":
        return "a run on a graphics card with PyTorch"
    if not how:
        return f"an evaluation script for {name}; this command measures {', '.join(METRICS)}"
    return "a benchmark that runs to its end"


def reasons(facts: dict[str, Any], targets: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return what speaks against use, and what must be settled before it."""
    blocking = [
        f"it does not run here: {r['what']} failed ({r.get('said')})"
        for r in facts["steps"] or []
        if r["status"] in ("failed", "refused") and r["script"] not in UNREQUIRED
        and r["script"] < "18"
    ]  # fmt: skip
    if not blocking and not facts["stats"]:
        blocking.append("it was not run to its end")
    inference = facts["inference"]
    if inference.get("not_finite"):
        blocking.append(
            f"{inference['not_finite']} output numbers are not finite (NaN or infinite)"
        )
    for target in targets:
        if target["met"] is False:
            blocking.append(
                f"target missed: {target['name']} is {target['measured']:.4g}, wanted "
                f"{target['rule']} {target['target']:.4g}"
            )
    training = facts["train_check"]
    if training and not training.get("runs"):
        blocking.append(f"it cannot be trained here: {training.get('why')}")
    elif training and not training.get("fell"):
        blocking.append("the loss does not fall in the training check")
    return blocking, conditions(facts, targets)


def conditions(facts: dict[str, Any], targets: list[dict[str, Any]]) -> list[str]:
    """Return what must be settled before use although nothing speaks against it."""
    out = []
    inference, contract = facts["inference"], facts["io_contract"]
    unknown = contract.get("unknown") or []
    if unknown:
        many = len(unknown) > 1
        count = f"{len(unknown)} facts" if many else "one fact"
        out.append(f"{count} about inputs and outputs {'are' if many else 'is'} unknown")
    if facts["inputs"] and facts["inputs"]["kind"] == "synthesised":
        out.append("it ran on made-up inputs only, so nothing says that its answers are right")
    elif inference and not facts["quality"].get("inputs_with_known_answer"):
        out.append("no input had a known answer, so nothing says that its answers are right")
    else:
        out += quality_conditions(facts["quality"], targets)
    out += asked_of_networks(facts["steps"] or [])
    if not targets:
        out.append("no target was set, so speed and quality are described and not judged")
    open_targets = [t["name"] for t in targets if t["met"] is None]
    if open_targets:
        out.append(f"not measured: {', '.join(open_targets)}")
    if inference.get("answers_differ") is False:
        out.append("different inputs gave exactly the same answer")
    if (inference.get("repeat_difference") or 0) > REPEAT_TOLERANCE:
        out.append(f"the same input gave answers {inference['repeat_difference']:.2g} apart")
    if (inference.get("batch_difference") or 0) > BATCH_TOLERANCE:
        out.append(
            f"an item's answer moves by {inference['batch_difference']:.2g} when others share its "
            "batch"
        )
    if (facts["parameters"].get("model") or {}).get("allow_code"):
        out.append(
            "its file runs code when it is loaded (explore.allow_code); trust it or convert it"
        )
    odd = [d for d in (facts["dependencies"].get("list") or []) if d.get("satisfies") is False]
    if odd:
        named = ", ".join(
            f"{d['distribution']} {d['found']} (documented {d['wanted']})" for d in odd[:3]
        )
        out.append(f"versions other than documented: {named}{' …' if len(odd) > 3 else ''}")
    return out


def quality_conditions(quality: dict[str, Any], targets: list[dict[str, Any]]) -> list[str]:
    """Return what the measured quality leaves open."""
    known = quality.get("inputs_with_known_answer", 0)
    if not known:
        return []
    out = []
    accuracy = quality["accuracy_pct"]
    if known < FEW_KNOWN:
        out.append(f"only {known} input{'s' * (known > 1)} had a known answer")
    if accuracy <= quality.get("commonest_pct", -1):
        out.append(
            f"it is right in {accuracy:.1f} %, no more often than always answering "
            f"{quality['commonest_answer']} ({quality['commonest_pct']:.1f} %)"
        )
    if not any(t["name"] in QUALITY for t in targets):
        out.append(f"no target says which quality is enough (right in {accuracy:.1f} % here)")
    return out
