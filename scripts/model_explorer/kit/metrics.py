"""What can be a target, how each is measured, and what to tell so that it is."""

from __future__ import annotations

import math
from typing import Any

from . import sizes
from .outcomes import OpenInput

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
PARTS = ("preprocess", "model", "postprocess")
SIZELESS = ("load_s",)  # what the size of an input does not change


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


def shares(warm: dict[str, Any]) -> dict[str, float]:
    """Return part -> its share of a warm run (0 to 1), by the parts' medians.

    Their sum is another number than the median of whole runs, which is the time of one item.
    """
    medians = {part: warm[f"{part}_ms"]["median"] for part in PARTS}
    whole = sum(medians.values()) or 1.0
    return {part: value / whole for part, value in medians.items()}


def known_answers(facts: dict[str, Any], *, more: bool = False) -> list[dict[str, Any]]:
    """Return the open inputs that measuring quality wants; ``more``: there are some already.

    Without ``more`` nothing is asked for that the user gave.
    """
    what = "more inputs with known answers" if more else "inputs with known answers"
    count = OpenInput("how many of them are run", "samples", 200).as_dict()
    if (facts["io_contract"].get("postprocess") or {}).get("kind") == "changenet":
        table = "a ChangeNet table of labelled rows that it has never seen"
        return [OpenInput(table, "inputs", "kpi/unseen_set.csv").as_dict(), count]
    answers = OpenInput("their answers (columns file,label)", "labels", "known_answers.csv")
    told = {} if more else facts["parameters"].get("given") or {}
    given = told.get("inputs") or not more and (facts["inputs"] or {}).get("kind") == "found"
    inputs = [] if given else [OpenInput(what, "inputs", "my_inputs").as_dict()]
    if told.get("labels"):
        return [*inputs, count] if inputs else []
    return [*inputs, answers.as_dict(), count]


def suggested_targets(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return targets to set, from what was measured."""
    values = measured(facts)
    out = []
    if "latency_p95_ms" in values and not sizes.guessed(facts["io_contract"]):
        goal = math.ceil(values["latency_p95_ms"])
        out.append(OpenInput("the time that is allowed", "targets.latency_p95_ms", goal).as_dict())
    if (facts["io_contract"].get("postprocess") or {}).get("kind") in ("boxes", "embedding"):
        return out
    return [*out, OpenInput("the quality that is enough", "targets.accuracy_pct", 95).as_dict()]
