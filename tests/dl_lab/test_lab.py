"""The lab's commands as the user types them, and what they write."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from deft.core.errors import HardStop
from deft.core.schemas import validate, validator
from dl_lab.learner import Settings, draw_rows, train
from dl_lab.record import (
    NAMES,
    Metric,
    Outcome,
    RecordError,
    checked_tag,
    sha256_of,
    write_json,
    write_record,
)
from dl_lab.scaffold import scaffold

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "scripts" / "bin"
VERSIONS = {"JSONSCHEMA": "4.26.0", "MARKDOWN_IT_PY": "4.3.0", "PYTEST": "9.2.0"}


def call(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a Python command elsewhere, as a user would."""
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, cwd="/", check=False
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed's smoke test, verbatim but for the folder."""
    out = tmp_path_factory.mktemp("lab") / "dl_run"
    done = call(BIN / "dl_lab_demo_run.py", "--out-dir", out, "--seed", 0)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scaffolded project with its demo record."""
    out = tmp_path_factory.mktemp("lab") / "new project"
    done = call(BIN / "dl_lab_scaffold.py", "--out", out, "--name", "my-dl-project")
    assert done.returncode == 0, done.stderr
    done = call(out / "scripts/make_artifacts.py", "--tag", "M0-demo")
    assert done.returncode == 0, done.stderr
    return out


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_smoke_test_writes_valid_records(demo: Path, name: str) -> None:
    validate(name, read(demo, name))


def test_the_numbers_are_those_of_the_written_weights(demo: Path) -> None:
    """Weights and rows from disk, through numpy instead of the learner."""
    with (demo / "data/two_moons_seed0.csv").open() as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "test"]
    points = np.array([[float(r["x"]), float(r["y"]), 1.0] for r in rows])
    labels = np.array([int(r["label"]) for r in rows])
    results = read(demo, "analysis")["results"]
    for arm in ("linear", "network"):
        weights = read(demo / "models", f"{arm}_weights")
        units = (
            np.tanh(points @ np.array(weights["first"]).T) if weights["first"] else points[:, :2]
        )
        logits = units @ np.array(weights["last"][:-1]) + weights["last"][-1]
        assert results[f"{arm}.test_right"] == int(((logits > 0) == labels).sum())
        loss = np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean()
        assert results[f"{arm}.test_loss"] == pytest.approx(loss, rel=1e-9)
    assert results["best.test_accuracy_pct"] > 95 > results["linear.test_accuracy_pct"]


def test_gradient_is_the_slope_of_the_loss() -> None:
    import random

    from dl_lab.learner import Network, judged

    rows = [row for row, _ in draw_rows(Settings(rows=12), 5)]
    network = Network(3, random.Random(1))
    first, last = network.gradient(rows)
    for part, slopes in [*zip(network.first, first, strict=True), (network.last, last)]:
        for i, slope in enumerate(slopes):
            kept = part[i]
            part[i] = kept + 1e-6
            above = judged(network, rows)[0]
            part[i] = kept - 1e-6
            below = judged(network, rows)[0]
            part[i] = kept
            assert slope == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-8)


def test_the_kept_epoch_has_the_lowest_validation_loss() -> None:
    settings = Settings(rows=60, epochs=8)
    rows: dict = {"train": [], "validation": [], "test": []}
    for row, split in draw_rows(settings, 1):
        rows[split].append(row)
    _, epoch, curve = train(rows, settings, 1)
    losses = [point["val_loss"] for point in curve]
    assert epoch == losses.index(min(losses)) + 1


def test_same_seed_same_bytes_other_seed_others(demo: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    assert call(BIN / "dl_lab_demo_run.py", "--out-dir", again, "--seed", 0).returncode == 0
    assert call(BIN / "dl_lab_demo_run.py", "--out-dir", other, "--seed", 1).returncode == 0
    for name in ("analysis.json", "summary.json", "models/network_weights.json"):
        assert (again / name).read_bytes() == (demo / name).read_bytes()
        assert (other / name).read_bytes() != (demo / name).read_bytes()


def test_demo_runs_again_over_itself_but_over_nothing_else(demo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(demo, copy)
    assert call(BIN / "dl_lab_demo_run.py", "--out-dir", copy).returncode == 0
    (copy / "thesis.tex").write_text("years of work")
    done = call(BIN / "dl_lab_demo_run.py", "--out-dir", copy)
    assert done.returncode == 1 and "thesis.tex" in done.stderr and "Traceback" not in done.stderr


def test_the_project_passes_its_own_tests(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project)],
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout and "skipped" not in done.stdout


def test_the_projects_record_is_valid_and_its_pages_quote_it(project: Path) -> None:
    folder = project / "artifacts/runs/M0-demo"
    for name in NAMES:
        validate(name, read(folder, name))
    for entry in read(folder, "manifest")["outputs"]:
        assert sha256_of(project / entry["path"]) == entry["sha256"]
    pages = sorted(project.glob("knowledge_base/*/M0-demo.md"))
    assert [p.parent.name for p in pages] == ["data", "decisions", "methodology_traces"]
    done = call(project / "scripts/check_quotes.py", "--tag", "M0-demo", *pages)
    assert done.returncode == 0 and "9 of 9" in done.stdout
    decisions = pages[1]
    decisions.write_text(decisions.read_text().replace("[120]", "[121]", 1))
    done = call(project / "scripts/check_quotes.py", "--tag", "M0-demo", *pages)
    assert done.returncode == 1 and f"{decisions}:3: data.test_rows: shows 121" in done.stdout


def test_a_tag_is_written_once(project: Path) -> None:
    before = (project / "artifacts/runs/M0-demo/manifest.json").read_bytes()
    done = call(project / "scripts/make_artifacts.py", "--tag", "M0-demo")
    assert done.returncode == 1 and "another tag" in done.stderr
    assert (project / "artifacts/runs/M0-demo/manifest.json").read_bytes() == before


def spoiled(demo: Path, name: str, change: Callable[[dict], object]) -> dict:
    record = read(demo, name)
    change(record)
    return record


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("analysis", lambda r: r["results"].update(x=float("nan")), "nan"),
        ("analysis", lambda r: r["results"].update(x=float("inf")), "inf"),
        ("analysis", lambda r: r["history"][0].update(x=float("-inf")), "inf"),
        ("analysis", lambda r: r["results"].clear(), "non-empty"),
        ("summary", lambda r: r["metrics"].update(x=float("nan")), "nan"),
        ("summary", lambda r: r["metrics"].clear(), "non-empty"),
        ("summary", lambda r: r["metric_definitions"].clear(), "non-empty"),
        ("summary", lambda r: r["metric_definitions"]["val_loss"].update(definition=" "), "match"),
        ("manifest", lambda r: r["run"].update(duration_seconds=float("nan")), "nan"),
    ],
)
def test_schemas_refuse_what_is_no_record(
    demo: Path, name: str, change: Callable[[dict], object], said: str
) -> None:
    """Also as the bare files that a scaffolded project gets."""
    record = spoiled(demo, name, change)
    with pytest.raises(ValidationError, match=said):
        Draft202012Validator(validator(name).schema).validate(record)


@pytest.mark.parametrize("place", ["metrics", "metric_definitions"])
def test_the_primary_metric_has_value_and_definition(demo: Path, place: str) -> None:
    record = spoiled(demo, "summary", lambda r: r[place].pop(r["primary_metric"]))
    with pytest.raises(ValidationError, match=f"primary_metric: .* is no key of {place}"):
        validate("summary", record)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"results": {}}, "results is empty"),
        ({"primary": "f1"}, "'f1' is none of"),
        ({"metrics": {"f1": Metric(1.0, " ", "", True)}}, "'f1' has no definition"),
    ],
)
def test_no_record_is_written_of_less(tmp_path: Path, change: dict, said: str) -> None:
    weights = tmp_path / "w"
    weights.touch()
    metric = {"acc": Metric(1.0, "share told right", "", True)}
    whole = Outcome([], metric, "acc", {"acc": 1.0}, [], weights, "loss", 1)
    with pytest.raises(RecordError, match=said):
        write_record(
            tmp_path / "run",
            replace(whole, **change),
            tag="t",
            project_root=tmp_path,
            command="",
            seed=0,
            config={},
            duration_seconds=1,
        )
    assert not (tmp_path / "run").exists()


def test_scaffold_leaves_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = call(BIN / "dl_lab_scaffold.py", "--out", tmp_path, "--name", "x")
    assert done.returncode == 1 and "taken" in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(HardStop):
        scaffold(tmp_path / "new", "../x", VERSIONS)
    assert not (tmp_path / "new").exists()


def test_a_project_can_be_made_where_one_is(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert Path("README.md") in scaffold(".", "my project", VERSIONS)
    assert (tmp_path / "here/scripts/make_artifacts.py").is_file()


def test_nothing_of_the_template_stays_open(tmp_path: Path) -> None:
    for path in scaffold(tmp_path / "p", "my project", VERSIONS):
        text = (tmp_path / "p" / path).read_text(encoding="utf-8")
        assert "@NAME@" not in text and "@PYTEST@" not in text and "import deft" not in text


def test_a_record_refuses_what_is_no_number_or_no_tag(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="finite"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
    for tag in ("", "..", "a/b", ".hidden", "a b"):
        with pytest.raises(RecordError):
            checked_tag(tag)
