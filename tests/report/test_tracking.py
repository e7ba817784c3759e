"""What of a run goes to MLflow, and (where it is installed) what stands there afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_run
import pytest
from run_results import build_results

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.record.lenient import load_run
from deft.record.tracker import ask_server, open_client
from deft.record.tracking import Metric, Tracked, clean, tracked
from deft.settings.tracking import is_remote, pip_line, refuse_login
from deft.stages.track import track

PASSWORD = "s3cr3t"


@pytest.fixture(scope="session")
def told(built: dict[str, fake_run.FakeRun]) -> Tracked:
    """What is logged of the finished run."""
    run = built["finished"]
    return tracked(load_run(run.dir, run.workspace))


def test_each_phase_has_its_numbers_at_the_step_of_its_iteration(
    told: Tracked, built: dict[str, fake_run.FakeRun]
) -> None:
    run = built["finished"]
    results = build_results(run.dir, run.workspace)
    found = {m.step: m.value for m in told.metrics if m.name == "far_pct"}
    wanted = {
        n: results[f"{name}.far_pct"]
        for n, name in enumerate(("baseline", "iter1", "iter2"))
        if f"{name}.far_pct" in results
    }
    assert len(wanted) > 1 and found == wanted
    headline = [m for m in told.metrics if m.name == "run/far_pct"]
    assert headline == [Metric("run/far_pct", results["best.far_pct"], max(wanted))]
    names = {(m.name, m.step) for m in told.metrics}
    assert len(names) == len(told.metrics), "two values at one step"
    assert all(clean(m.name) == m.name for m in told.metrics)


def test_parameters_tags_and_files_say_what_it_was(told: Tracked) -> None:
    assert told.params and not {"workspace", "mlflow_uri"} & set(told.params)
    assert all(isinstance(v, str) for v in [*told.params.values(), *told.tags.values()])
    assert told.identity.startswith(fake_run.RUN)
    assert told.tags["deft.run"] == fake_run.RUN and told.tags["deft.state"] == "complete"
    assert len(told.tags["deft.data.kpi_testing_set.sha256"]) == 64
    assert "set this threshold" in told.tags["mlflow.note.content"]
    assert told.tags["deft.verdict.met"]
    sent = {f"{folder}/{path.name}" for path, folder in told.files}
    assert {"best_model/preprocessing.json", "baseline/metrics.json"} <= sent
    assert all(path.is_file() for path, _ in told.files)


def test_a_run_that_goes_on_is_told_as_far_as_it_has_come(
    built: dict[str, fake_run.FakeRun],
) -> None:
    for name, run in built.items():
        found = tracked(load_run(run.dir, run.workspace))
        assert found.identity, name
        if not any(m.name == "far_pct" for m in found.metrics):
            assert "deft.best_phase" not in found.tags


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{PASSWORD}@host:5000",
        f"https://{PASSWORD}@host",
        f"postgresql+psycopg2://me:{PASSWORD}@host/mlflow",
        f"postgresql://host/mlflow?user=me&password={PASSWORD}",
        f"https://host/?api_key={PASSWORD}",
        f"http://me:{PASSWORD}@[::1",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(HardStop) as stop:
        refuse_login(uri)
    assert stop.value.code == "config_invalid"
    assert PASSWORD not in stop.value.text() and "MLFLOW_TRACKING_PASSWORD" in stop.value.text()


def test_the_configuration_refuses_it_before_it_shows_any_value() -> None:
    from deft.settings.config import resolve

    with pytest.raises(HardStop) as stop:
        resolve({"mlflow_uri": f"http://me:{PASSWORD}@host\x07", "seed": -1})
    assert PASSWORD not in stop.value.text()
    for good in ("sqlite:////a/b.db", "http://host:5000", "mlruns", "file:///a", "/a/b"):
        assert resolve({"mlflow_uri": good})["mlflow_uri"] == good
    with pytest.raises(HardStop, match="kind that is not known"):
        resolve({"mlflow_uri": "ftp://host"})


def test_only_another_machine_is_a_connection_that_an_air_gap_forbids() -> None:
    remote = ("http://tracking:5000", "postgresql://db/x", "https://10.0.0.3")
    here = ("http://127.0.0.1:5000", "http://localhost", "sqlite:////x.db", "file:///x", "mlruns")
    assert all(map(is_remote, remote)) and not any(map(is_remote, here))


def test_without_mlflow_the_stop_has_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    for uri, more in (("sqlite:///x.db", "sqlalchemy=="), ("http://host", "mlflow-skinny==")):
        with pytest.raises(HardStop) as stop:
            open_client(uri, tmp_path)
        assert stop.value.code == "missing_input"
        assert stop.value.fix == pip_line(uri) and more in pip_line(uri)
    assert "sqlalchemy" not in pip_line("http://host")


def test_no_address_is_told_before_any_package(tmp_path: Path) -> None:
    with pytest.raises(HardStop, match="mlflow_uri is not set"):
        open_client("", tmp_path)


@pytest.fixture(params=["sqlite", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of MLflow in the test's own folder, where its artifacts lie too."""
    pytest.importorskip("mlflow", reason="MLflow is not installed (docs/mlflow.md)")
    if request.param == "sqlite":
        pytest.importorskip("alembic", reason="MLflow's databases need alembic (docs/mlflow.md)")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/ml.db" if request.param == "sqlite" else str(tmp_path / "ml")


def only_run(store: str, workspace: Path) -> Any:
    client = open_client(store, workspace)
    experiment = client.get_experiment_by_name("lab")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def test_logged_again_it_is_the_same_run_with_what_is_new(
    store: str, finished: fake_run.FakeRun, tmp_path: Path
) -> None:
    run = Run(finished.workspace, fake_run.RUN)
    record = tmp_path / "mlflow.json"
    told = tracked(load_run(run.dir, run.workspace))
    first = track(run, store, "lab", record)
    assert f"new there: {len(told.metrics)} numbers, {len(told.params)} parameters" in first
    client, there = only_run(store, finished.workspace)
    assert json.loads(record.read_text())["run_id"] == there.info.run_id
    assert there.info.status == "FINISHED" and there.data.params == told.params
    assert there.data.tags.items() >= told.tags.items()
    steps = {(m.step, m.value) for m in client.get_metric_history(there.info.run_id, "far_pct")}
    assert steps == {(m.step, m.value) for m in told.metrics if m.name == "far_pct"}
    kept = {a.path for a in client.list_artifacts(there.info.run_id)}
    assert {"best_model", "baseline"} <= kept

    again = track(run, store, "lab")
    assert "new there: 0 numbers, 0 parameters" in again
    state = json.loads((run.dir / "deft_state.json").read_text())
    state["status"] = "failed"
    (run.dir / "deft_state.json").write_text(json.dumps(state))
    checks = json.loads((run.dir / "preflight/checks.json").read_text())
    name = checks["parameters"][0]["name"]
    checks["parameters"][0]["value"] = "another"
    (run.dir / "preflight/checks.json").write_text(json.dumps(checks))
    assert f"deft.changed.*: {clean(name)}" in track(run, store, "lab")
    client, there = only_run(store, finished.workspace)
    assert there.info.status == "FAILED"
    assert there.data.tags[f"deft.changed.{clean(name)}"] == "another"
    values = client.get_metric_history(there.info.run_id, "far_pct")
    assert len(values) == len(steps), "a number that did not change was sent again"


def test_a_store_that_does_not_answer_is_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed (docs/mlflow.md)")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(HardStop) as stop:
        ask_server("http://127.0.0.1:9", tmp_path, "lab")
    assert stop.value.code == "config_invalid" and "127.0.0.1:9" in stop.value.message
