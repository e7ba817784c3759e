"""The sections of the experiment report that hold measurements."""

from __future__ import annotations

from typing import Any

from . import sizes
from .markdown import cell, number, table

NOT_RUN = "Not available: this step did not run to its end (see logs/)."


def figure(facts: dict[str, Any], name: str) -> list[str]:
    """Return a figure's lines, none when it was not drawn."""
    found = next((f for f in facts["figures"] or [] if f["name"] == name), None)
    if not found:
        return []
    # Brackets of a size would end the text before its time.
    alt = found["caption"].replace("[", "(").replace("]", ")")
    return [f"![{alt}](figures/{name}.png)", "", f"*{found['caption']}.*", ""]


def speed(facts: dict[str, Any]) -> list[str]:
    """Return the tables of times, batch sizes and memory."""
    stats = facts["stats"]
    lines = ["## Speed and memory", ""]
    if not stats:
        return [*lines, NOT_RUN, ""]
    cold, warm = stats["cold"], stats["warm"]
    size = sizes.phrase(facts["io_contract"])
    lines += [
        f"Device {stats['device']} ({stats['provider']}), threads {stats['threads']}. Fresh "
        "process: "
        f"runtime imported in {number(cold['import_s'])} s, model loaded in "
        f"{number(cold['load_s'])} s.",
        "",
        *([f"Measured{size}.", ""] if size else []),
        *figure(facts, "latency"),
    ]
    rows = []
    for part in ("preprocess_ms", "model_ms", "postprocess_ms", "total_ms"):
        row = warm[part]
        rows.append(
            (part.replace("_ms", ""), number(cold[part]), number(row["mean"]),
             number(row["median"]), number(row["p95"]), number(row["min"]), number(row["max"]))
        )  # fmt: skip
    head = (
        "ms per item",
        "cold",
        f"warm mean ({warm['runs']} runs)",
        "median",
        "p95",
        "min",
        "max",
    )
    lines += table(head, rows)
    lines += figure(facts, "throughput")
    lines += table(
        ("batch size", "ms per batch (median of 3)", "items/s", "note"),
        [(t["batch_size"], number(t.get("batch_ms_median")), number(t.get("items_per_s")),
          t.get("why")) for t in stats["throughput"]],
    )  # fmt: skip
    memory = stats["memory"]
    lines += table(
        ("memory", "MiB"),
        [("largest RAM of the process", number(memory["peak_ram_mib"])),
         ("RAM before the runtime was imported", number(memory["ram_before_load_mib"])),
         ("largest VRAM (torch)", number(memory["peak_vram_mib"]))],
    )  # fmt: skip
    return lines


def profile(facts: dict[str, Any]) -> list[str]:
    """Return the operators with the most time."""
    found = facts["profile"]
    if not found:
        return ["## Profile", "", NOT_RUN, ""]
    size = sizes.phrase(facts["io_contract"])
    rows = [(t["operator"], number(t["self_ms"]), number(t["calls"]), f"{t['share_pct']:.1f}")
            for t in found["top"]]  # fmt: skip
    return [
        "## Profile",
        "",
        f"By {found['tool']}, mean of {found['runs']} runs{size}; the whole trace is "
        f"`{found['trace']}`.",
        "",
        *figure(facts, "operators"),
        *table(("operator", "own time, ms per run", "calls per run", "share, %"), rows),
    ]


def training(facts: dict[str, Any]) -> list[str]:
    """Return the training check, nothing when it was not asked for."""
    found = facts["train_check"]
    if not found:
        return []
    lines = ["## Training check", "", f"Assumptions: {found['assumptions']}.", ""]
    if not found["runs"]:
        return [*lines, f"It does not run: {cell(found['why'])}.", ""]
    keys = ("optimizer", "loss", "precision", "mode", "batch_size", "trainable_parameters")
    rows = [(k, found[k]) for k in keys] + [("learning_rate", found["settings"]["learning_rate"])]
    losses = found["losses"]
    rows += [("first loss", number(losses[0])), ("last loss", number(losses[-1])),
             ("steps", len(losses)), ("the loss fell", yes(found["fell"]))]  # fmt: skip
    return [*lines, *figure(facts, "training"), *table(("what", "value"), rows)]


def yes(value: bool | None) -> str | None:
    """Return yes, no, or None where it is not known."""
    return None if value is None else "yes" if value else "no"
