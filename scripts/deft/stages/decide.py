"""Whether the loop stops: at a phase's KPI, or because mining found nothing new."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.core.files import read_json, write_json_atomic
from deft.kpi.decision import Judged, best_phase, choice_of, decide_kpi, decide_pool
from deft.kpi.operating_point import parse_kpi
from deft.record.records import read_decision, read_metric_result, read_metrics
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.run.state_format import COMPLETE
from deft.settings.metric_contract import Contract
from deft.stages.context import Context


@dataclass(frozen=True)
class Files:
    """What :func:`decide` reads (by its question) and writes."""

    decision: Path = written("the decision")
    metrics: tuple[Path, ...] = read("metrics.json of all phases so far (kpi)", default=())
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
) -> str:
    """Write the decision on ``kpi`` or ``pool``; the first marks the phase complete.

    ``contract``: what the phases were measured by; None = FAR as ``kpi_sentence`` says.
    """
    if question == "kpi":
        metrics = [read_metrics(path) for path in files.metrics]
        judged = None
        if contract is not None:
            found = zip(files.results, metrics, strict=True)
            results = [read_metric_result(path, contract, of) for path, of in found]
            judged = Judged(contract, tuple(results))
        decision = decide_kpi(metrics, parse_kpi(kpi_sentence), max_iterations, judged)
        decision |= choice_of(best_phase(metrics, judged))
        update_phase(context.run.dir, phase, status=COMPLETE)
    else:
        assert files.mining and files.previous, "the question on the pool has both"
        decision = decide_pool(read_json(files.mining), read_decision(files.previous), phase)
    write_json_atomic(files.decision, decision)
    return f"{decision['reason']} (best so far {decision['best_phase']})"
