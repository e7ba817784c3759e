"""The end of the loop: hand-off, lab record, the last log line and report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

from deft.core.layout import Run
from deft.record.artifacts import check_records, write_artifacts
from deft.record.best import read_best
from deft.record.handoff import write_handoff
from deft.record.model_card import write_card
from deft.record.records import read_decision
from deft.run.state import log_stage, read_log, update_state
from deft.run.state_format import COMPLETE, own_part

REASONS = {
    "kpi_met": "target met",
    "max_iterations": "no iteration left",
    "pool_exhausted": "the pool has nothing new that mining's settings let pass: add production "
    "samples, or do what the lap's mining_summary.txt advises",
    "similarity_cutoff": "min_similarity rejects every new neighbour: see the lap's "
    "mining_summary.txt for the numbers",
}


def finish(run: Run, decision_path: Path, *, seed: int, code_dir: Path) -> str:
    """Write the hand-off and the lab record, log the end of the loop; returns the reason."""
    decision = read_decision(decision_path)
    read_best(run.dir, run.workspace, decision_path)
    check_records(run.dir, run.workspace)  # all is read before anything is written
    best = write_handoff(run.dir, run.workspace, decision_path)
    reason = REASONS[decision["reason"]]

    def ended(state: dict[str, Any]) -> None:
        state["status"] = COMPLETE
        own_part(state)["stop_reason"] = decision["reason"]

    update_state(run.dir, ended)
    summary = (
        f"{decision['reason']}: {reason}; best {best['iteration']} at FAR {best['far_pct']:.2f}%"
    )
    if not _logged(run, summary):
        log_stage(run.dir, decision["phase"], "loop_stop", summary)
    write_artifacts(
        run.dir,
        run.workspace,
        command=" ".join(shlex.quote(a) for a in sys.argv),
        seed=seed,
        code_dir=code_dir,
    )
    write_card(run.dir, run.workspace, decision_path)
    return summary


def _logged(run: Run, summary: str) -> bool:
    ends = [e["summary"] for e in read_log(run.dir) if e["stage"] == "loop_stop"]
    return summary in ends[-1:]
