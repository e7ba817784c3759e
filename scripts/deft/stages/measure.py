"""The metric of a phase by the user's contract: asked for once, then a file of the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.core.files import sha256_file, write_json_atomic
from deft.kpi.measuring import measure as ask
from deft.record.records import METRIC_OF, read_metrics
from deft.run.stage_files import read, written
from deft.settings.metric_contract import Contract
from deft.stages.context import Context
from deft.stages.run_tables import scored_table


@dataclass(frozen=True)
class Files:
    """What :func:`measure` reads and writes."""

    metrics: Path = read("metrics.json of the phase, which chose the weights")
    inference: Path = read("inference.json, its tables in folders beside it")
    result: Path = written("metric_result.json of the phase")


def measure(context: Context, files: Files, phase: str, contract: Contract, timeout_s: int) -> str:
    """Write the evaluator's answer on the scores of the phase's chosen weights."""
    metrics = read_metrics(files.metrics)
    kind = metrics["chosen"]
    table = Path(context.absolute(scored_table(context, files.inference, kind)))
    result = ask(contract, phase, table.resolve(), timeout_s)
    point = metrics["kinds"][kind]["recall_point"]
    result[METRIC_OF] = {
        "phase": phase,
        "kind": kind,
        "inference_csv": context.relative(table),
        "inference_csv_sha256": sha256_file(table),
        "weights_sha256": metrics["weights"]["sha256"],
        "far_pct": point["far_pct"],
        "recall_pct": point["recall_pct"],
    }
    write_json_atomic(files.result, result)
    values = [
        f"{bound.display_name} {contract.value_of(result, bound):g} {bound.unit}".rstrip()
        + f" (target {bound.operator} {bound.target:g})"
        for bound in contract.bounds
    ]
    return f"{', '.join(values)}; FAR {point['far_pct']:.2f}% beside it"
