"""The end of a run whose command failed: its log line, its state, its report."""

from __future__ import annotations

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.report import render_report
from deft.run.state import log_stage, read_log, read_state, update_state


def close_run(run: Run) -> str:
    """Log ``loop_stop`` of a failed run, set the state to failed, render what there is."""
    try:
        state = read_state(run.dir)
    except HardStop as error:  # the command has stopped for it, or for something worse
        return f"the end is not recorded: {error.message}"
    if not state:
        return "nothing was started"
    log = read_log(run.dir)
    if log and log[-1]["stage"] != "loop_stop":
        stop = state.get("hard_stop") or {}
        why = stop.get("code", "a job failed; its log names the reason")
        log_stage(run.dir, log[-1]["iter"], "loop_stop", why, status="error")
    update_state(run.dir, lambda s: s.update(status="failed"))
    render_report(run.dir, run.workspace)
    return f"the run stopped; report: {run.dir / 'DEFT_Loop_Report.html'}"
