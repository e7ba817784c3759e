"""A run in MLflow: one run there for one of ours, brought up to date each time it is logged.

MLflow is no dependency of the project: whoever asks for it installs it, and without it the command
stops and says how.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.credentials import credential
from deft.core.errors import HardStop
from deft.record.tracking import IDENTITY, MODEL_TAG, PREFIX, Metric, Tracked, is_model
from deft.settings.tracking import is_folder, is_http, packages_for, pip_line, require_uri

# Read by MLflow's client alone; the workspace's .env may hold them.
LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
# No report of its use over the network; a server that is away is given up in a minute, not in ten.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "GIT_PYTHON_REFRESH": "quiet",
}
STATES = {"complete": "FINISHED", "failed": "FAILED"}  # else it is running
BATCH = 100  # of MLflow's batches: its own limits are 100 parameters and tags, 1000 metrics


@dataclass(frozen=True)
class Logged:
    """What was sent: the run's id in MLflow, and counts of what was new."""

    run_id: str
    metrics: int
    params: int
    files: int
    changed: list[str]  # parameters whose first value stands, since MLflow changes none


def open_client(uri: str, workspace: Path) -> Any:
    """Return MLflow's client for a tracking store.

    Raises HardStop ``missing_input`` where a package is missing, ``config_invalid`` where the
    store is not one that MLflow knows or none is given.
    """
    require_uri(uri)
    os.environ.update({k: v for k, v in QUIET.items() if k not in os.environ})
    for name in LOGIN:
        found = credential(workspace, name)
        if found:
            os.environ[name] = found
    if is_folder(uri):  # MLflow 3.7 and later want to be told that this is meant
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    for package, module in packages_for(uri).items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise HardStop(
                "missing_input",
                f"mlflow_uri is set, and {package} is not installed ({error})",
                fix=pip_line(uri),
            ) from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
    tracking = importlib.import_module("mlflow.tracking")
    try:
        return tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
    except Exception as error:  # MLflow's, SQLAlchemy's: no common base
        raise unusable(uri, error) from None


def unusable(uri: str, error: Exception) -> HardStop:
    """Return the stop for a store that does not answer."""
    told = " ".join(str(error).split())[:300] or type(error).__name__
    return HardStop(
        "config_invalid",
        f"MLflow cannot work with mlflow_uri {uri}: {told}",
        fix="see that the server runs and lets you in (MLFLOW_TRACKING_USERNAME and _PASSWORD, or "
        "_TOKEN), or give sqlite:///PATH; then give the same command again",
    )


def ask_server(uri: str, workspace: Path, name: str) -> bool | None:
    """Return whether a server knows an experiment, None where the store is no server.

    Makes nothing there. Raises HardStop as :func:`open_client` and :func:`experiment_of` do.
    """
    client = open_client(uri, workspace)
    if not is_http(uri):
        return None
    try:
        return client.get_experiment_by_name(name) is not None
    except Exception as error:
        raise unusable(uri, error) from None


def experiment_of(client: Any, uri: str, name: str) -> str:
    """Return the id of an experiment, made where it is not there.

    Raises HardStop ``config_invalid`` for a deleted one, and where the store does not answer.
    """
    try:
        found = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name))
    except Exception as error:
        raise unusable(uri, error) from None
    if found.lifecycle_stage != "active":
        raise HardStop(
            "config_invalid",
            f"mlflow_experiment {name!r} was deleted in MLflow",
            fix="restore it there (mlflow experiments restore), or name another",
        )
    return str(found.experiment_id)


def log_run(client: Any, uri: str, experiment: str, told: Tracked) -> Logged:
    """Bring a run up to date in MLflow: what stands there already is not sent again.

    Raises HardStop as :func:`experiment_of` does.
    """
    where = experiment_of(client, uri, experiment)
    try:
        return _log(client, where, told)
    except Exception as error:
        raise unusable(uri, error) from None


def _log(client: Any, where: str, told: Tracked) -> Logged:
    quoted = told.identity.replace("'", "")
    found = client.search_runs([where], f"tags.`{IDENTITY}` = '{quoted}'", max_results=1)
    tags = {**told.tags, IDENTITY: quoted}
    if found:
        run = found[0]
    else:
        run = client.create_run(where, run_name=told.name, tags={IDENTITY: quoted})
    run_id, there = run.info.run_id, run.data
    entities = importlib.import_module("mlflow.entities")
    new = [m for m in told.metrics if _is_new(client, run_id, m, there.metrics)]
    params = {k: v for k, v in told.params.items() if k not in there.params}
    changed = sorted(k for k, v in told.params.items() if there.params.get(k, v) != v)
    tags |= {f"deft.changed.{name}": told.params[name] for name in changed}
    now = int(time.time() * 1000)
    _in_batches(client, run_id, "metrics",
                [entities.Metric(m.name, m.value, now, m.step) for m in new])  # fmt: skip
    _in_batches(client, run_id, "params", [entities.Param(k, v) for k, v in params.items()])
    # The model is the largest part: sent again only where it is another. Its tag comes last.
    same = MODEL_TAG in tags and there.tags.get(MODEL_TAG) == tags[MODEL_TAG]
    files = [pair for pair in told.files if not (same and is_model(pair[1]))]
    for path, folder in files:
        client.log_artifact(run_id, str(path), folder or None)
    for name in there.tags:  # of a stop, say, that was mended since
        if name.startswith(PREFIX) and name not in tags:
            client.delete_tag(run_id, name)
    _in_batches(client, run_id, "tags", [entities.RunTag(k, v) for k, v in tags.items()])
    state = STATES.get(told.tags.get("deft.state", ""))
    if state:
        client.set_terminated(run_id, status=state)
    else:
        client.update_run(run_id, status="RUNNING")
    return Logged(run_id, len(new), len(params), len(files), changed)


def _is_new(client: Any, run_id: str, metric: Metric, there: dict[str, float]) -> bool:
    """Return whether the step's last value is another; MLflow keeps every value that is sent."""
    if metric.name not in there:
        return True
    history = client.get_metric_history(run_id, metric.name)
    values = [(m.timestamp, m.value) for m in history if m.step == metric.step]
    return not values or max(values)[1] != metric.value


def _in_batches(client: Any, run_id: str, kind: str, entries: list[Any]) -> None:
    for start in range(0, len(entries), BATCH):
        client.log_batch(run_id, **{kind: entries[start : start + BATCH]})
