"""Whether the loop stops: at a phase's KPI, or because mining found nothing new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic
from deft.kpi.decided import decisions, same_parts
from deft.kpi.decision import (
    PROVEN,
    Judged,
    best_phase,
    choice_of,
    decide_kpi,
    decide_pool,
    proven_phase,
)
from deft.kpi.operating_point import parse_kpi
from deft.record.records import read_decision, read_metric_result, read_metrics
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.run.state_format import COMPLETE
from deft.settings.metric_contract import Contract
from deft.stages.context import Context
from deft.stages.run_tables import kpi_correct, scored_table

NO_CONTRACT = "best_phase=proven compares decisions at the recall of kpi, not a metric_contract"
NO_CONTRACT_FIX = "leave one of the two out"


@dataclass(frozen=True)
class Files:
    """What :func:`decide` reads (by its question) and writes."""

    decision: Path = written("the decision")
    metrics: tuple[Path, ...] = read("metrics.json of all phases so far (kpi)", default=())
    inference: tuple[Path, ...] = read(
        "inference.json of these phases, where only a proven one is best", default=()
    )
    results: tuple[Path, ...] = read("metric_result.json of these phases", default=())
    mining: Path | None = read("mining.json of the lap (pool)", default=None)
    previous: Path | None = read("the decision on the KPI before the lap (pool)", default=None)


def decide(
    context: Context,
    files: Files,
    phase: str,
    question: str,
    kpi_sentence: str,
    max_iterations: int,
    contract: Contract | None = None,
    best_by: str = "lowest_far",
) -> str:
    """Write the decision on ``kpi`` or ``pool``; the first marks the phase complete.

    ``contract``: what the phases were measured by; None = FAR as ``kpi_sentence`` says.
    ``best_by``: ``lowest_far`` or ``proven``.
    """
    if question == "kpi":
        if best_by == PROVEN and contract is not None:
            raise HardStop("config_invalid", NO_CONTRACT, fix=NO_CONTRACT_FIX)
        metrics = [read_metrics(path) for path in files.metrics]
        judged = None
        if contract is not None:
            found = zip(files.results, metrics, strict=True)
            results = [read_metric_result(path, contract, of) for path, of in found]
            judged = Judged(contract, tuple(results))
        proven = None
        if best_by == PROVEN:
            proven = _proven(context, files, metrics)
        target = parse_kpi(kpi_sentence)
        decision = decide_kpi(metrics, target, max_iterations, judged, proven)
        decision |= choice_of(best_phase(metrics, judged) if proven is None else metrics[proven])
        update_phase(context.run.dir, phase, status=COMPLETE)
    else:
        assert files.mining and files.previous, "the question on the pool has both"
        decision = decide_pool(read_json(files.mining), read_decision(files.previous), phase)
    write_json_atomic(files.decision, decision)
    return f"{decision['reason']} (best so far {decision['best_phase']})"


def _proven(context: Context, files: Files, metrics: list[dict[str, Any]]) -> int:
    """Return the place of the best proven phase of those so far."""
    sides = []
    for record, told in zip(files.inference, metrics, strict=True):
        correct = kpi_correct(context, told.get("corrections", []))
        sides.append(decisions(scored_table(context, record, told["chosen"]), told, correct))
    for side, path in zip(sides, files.inference, strict=True):
        if not same_parts(side, sides[-1]):
            raise HardStop(
                "csv_invalid",
                "two phases were scored on other parts, so neither is proven better",
                file=path,
                fix="score both on the KPI table as it is now: delete that phase's inference.json",
            )
    return proven_phase([side.rejected for side in sides], sides[-1].ng)
