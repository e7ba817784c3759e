"""Logging a run to MLflow, after a lap or at its end."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from deft.core.files import write_json_atomic
from deft.core.layout import Run
from deft.record.lenient import load_run
from deft.record.tracker import log_run, open_client
from deft.record.tracking import tracked


def track(run: Run, uri: str, experiment: str, record: Path | None = None) -> str:
    """Log a run, write where it stands to ``record``; returns a line for the terminal.

    Raises HardStop as :func:`deft.record.tracker.open_client` and ``log_run`` do.
    """
    client = open_client(uri, Path(run.workspace))
    with FileLock(run.dir / ".mlflow.lock"):  # else two laps' jobs would each begin a run there
        told = tracked(load_run(run.dir, run.workspace))
        found = log_run(client, uri, experiment, told)
    if record is not None:
        place = {"mlflow_uri": uri, "experiment": experiment, "run_id": found.run_id}
        steps = sorted({m.step for m in told.metrics})
        write_json_atomic(record, {"schema_version": 1, **place, "steps": steps})
    text = f"MLflow: {told.name} is run {found.run_id} of experiment {experiment!r} ({uri}); new "
    text += f"there: {found.metrics} numbers, {found.params} parameters, {found.files} files"
    if found.changed:
        text += f"; changed since and kept as tags deft.changed.*: {', '.join(found.changed)}"
    return text
