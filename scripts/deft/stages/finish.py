"""The end of the loop: hand-off, lab record, the last log line and report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from deft.core.errors import HardStop
from deft.record.artifacts import check_records, write_artifacts
from deft.record.handoff import read_best, write_handoff
from deft.record.records import read_decision
from deft.report import render_report
from deft.run.state import log_stage, read_log, read_state, update_state
from deft.stages.context import Context

REASONS = {
    "kpi_met": "target met",
    "max_iterations": "no iteration left",
    "pool_exhausted": "the pool has nothing new that mining's settings let pass: add production "
    "samples, or do what the lap's mining_summary.txt advises",
}


def finish(context: Context, decision_path: Path, *, seed: int, code_dir: Path) -> str:
    """Write the hand-off and the lab record, log the end of the loop; returns the reason."""
    decision = read_decision(context.workspace / decision_path)
    read_best(context.run.dir, context.workspace, decision_path)
    check_records(context.run.dir, context.workspace)  # all is read before anything is written
    best = write_handoff(context.run.dir, context.workspace, decision_path)
    reason = REASONS[decision["reason"]]
    update_state(
        context.run.dir,
        lambda state: state.update(status="completed", stop_reason=decision["reason"]),
    )
    summary = (
        f"{decision['reason']}: {reason}; best {best['iteration']} at FAR {best['far_pct']:.2f}%"
    )
    if not _logged(context, summary):
        log_stage(context.run.dir, decision["phase"], "loop_stop", summary)
    write_artifacts(
        context.run.dir,
        context.workspace,
        command=" ".join(shlex.quote(a) for a in sys.argv),
        seed=seed,
        code_dir=code_dir,
    )
    return summary


def _logged(context: Context, summary: str) -> bool:
    ends = [e["summary"] for e in read_log(context.run.dir) if e["stage"] == "loop_stop"]
    return summary in ends[-1:]


def close_failed(context: Context) -> str:
    """Log ``loop_stop`` of a failed run, set the state to failed, render what there is."""
    try:
        state = read_state(context.run.dir)
    except HardStop as stop:  # the command has stopped for it, or for something worse
        return f"the end is not recorded: {stop.message}"
    if not state:
        return "nothing was started"
    log = read_log(context.run.dir)
    if log and log[-1]["stage"] != "loop_stop":
        stop = state.get("hard_stop") or {}
        why = stop.get("code", "a job failed; its log names the reason")
        log_stage(context.run.dir, log[-1]["iter"], "loop_stop", why, status="error")
    update_state(context.run.dir, lambda s: s.update(status="failed"))
    render_report(context.run.dir, context.workspace)
    return f"the run stopped; report: {context.run.dir / 'DEFT_Loop_Report.html'}"
