"""The loop's own records, read strictly: by schema, and by what their numbers say of each other.

A record that was cut, edited or exchanged for another phase's is a HardStop ``missing_input`` that
names the file and how it is made again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NoReturn

from deft.core.errors import HardStop
from deft.core.files import made_again, read_json
from deft.core.layout import Run, phase_name, phase_number
from deft.core.schemas import checked
from deft.kpi.decision import CUTOFF, POOL_EXHAUSTED
from deft.settings.metric_contract import Contract

METRIC_OF = "measured"  # of metric_result.json: what the loop says of an evaluator's answer
NEAR_PCT = 1e-9  # a rate and the counts it was made of, percent


def read_record(name: str, path: Path) -> dict[str, Any]:
    """Return a record after its schema ``name``."""
    return checked(name, read_json(path), path, made_again(path))


def refuse(path: Path, what: str) -> NoReturn:
    """Raise the stop for a record that contradicts itself or another one."""
    raise HardStop(
        "missing_input",
        f"the record is damaged: {what}",
        file=path,
        fix=made_again(path),
    )


def read_metrics(path: Path) -> dict[str, Any]:
    """Return ``metrics.json`` of a phase; its phase must be that of its folder, its rates those of
    its counts.
    """
    phase = path.absolute().parent.name
    metrics = read_record("metrics", path)
    if metrics["phase"] != phase:
        refuse(path, f"it is that of {metrics['phase']}, and lies in the folder of {phase}")
    counts = metrics["counts"]
    for kind, found in metrics["kinds"].items():
        point = found["recall_point"]
        for name, hits, misses, total in (
            ("far_pct", "fp", "tn", "pass"),
            ("recall_pct", "tp", "fn", "ng"),
        ):
            rows = point[hits] + point[misses]
            rate = 100 * point[hits] / rows if rows else math.nan
            if rows != counts[total] or not abs(rate - point[name]) <= NEAR_PCT:
                refuse(
                    path,
                    f"{kind} has {name} {point[name]}, {hits} {point[hits]} and {misses} "
                    f"{point[misses]}, of {counts[total]} parts",
                )
    return metrics


def read_metric_result(path: Path, contract: Contract, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return ``metric_result.json`` of the phase that ``metrics`` is of; it must answer the
    contract, and speak of the weights that were chosen.
    """
    result = read_json(path, {METRIC_OF: {"phase": str, "weights_sha256": str}})
    problem = contract.check(result)
    if problem:
        refuse(path, problem)
    told = result[METRIC_OF]
    for key, wanted in (
        ("phase", metrics["phase"]),
        ("weights_sha256", metrics["weights"]["sha256"]),
    ):
        if told[key] != wanted:
            refuse(path, f"{key} is {told[key]}, and in metrics.json {wanted}")
    return dict(result)


def read_weights(run: Run, phase: str) -> dict[str, Any]:
    """Return ``weights.json`` of a phase; the files that it chooses must be in its list."""
    path = run.phase(phase) / "train" / "weights.json"
    table = read_record("weights", path)
    if table.get("phase", phase) != phase:
        refuse(path, f"it is that of {table['phase']}, and lies in the folder of {phase}")
    names = {entry["path"] for entry in table["files"]}
    for kind in ("best_val", "latest"):
        if table[kind] not in names:
            refuse(path, f"{kind} is {table[kind]!r}, and it lists {', '.join(sorted(names))}")
    return table


def read_decision(path: Path) -> dict[str, Any]:
    """Return a decision; its phase must be that of its folder."""
    decision = read_record("decision", path)
    phase = path.absolute().parent.parent.name
    if decision["phase"] != phase:
        refuse(path, f"it is that of {decision['phase']}, and lies in the folder of {phase}")
    return decision


def decided_phases(decision: dict[str, Any]) -> list[str]:
    """Return the phases that a decision compared: those that were evaluated when it was made."""
    last = phase_number(decision["phase"])
    if decision["reason"] in (POOL_EXHAUSTED, CUTOFF):  # decided before the lap's training
        last -= 1
    return [phase_name(n) for n in range(last + 1)]
