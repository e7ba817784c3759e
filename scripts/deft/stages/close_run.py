"""The end of a run whose command failed: its log line, its state, its report."""

from __future__ import annotations

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.report.render import render_report
from deft.run.state import log_stage, read_log, read_state, update_state
from deft.run.state_format import FAILED, own
from deft.stages.track import track


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
        stop = own(state).get("hard_stop") or {}
        why = stop.get("code", "a job failed; its log names the reason")
        log_stage(run.dir, log[-1]["iter"], "loop_stop", why, status="error")
    update_state(run.dir, lambda s: s.update(status=FAILED))
    render_report(run.dir, run.workspace)
    return f"the run stopped; report: {run.dir / 'DEFT_Loop_Report.html'}"


def track_failed(run: Run, uri: str, experiment: str) -> str:
    """Log a failed run to MLflow as far as it came; a store that is away is only told of."""
    try:
        return track(run, uri, experiment)
    except HardStop as stop:
        return f"the failed run is not in MLflow: {stop.message}"
