"""A corrected KPI label changes what a phase is judged by, never the file that was scored."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from deft.core.errors import HardStop
from deft.kpi import evaluation
from deft.kpi.evaluation import BESIDE, KINDS, evaluate_phase, kind_at, read_scores
from deft.record.records import read_metrics
from deft.tables.corrected import corrected_table
from deft.tables.corrections import Correction

WEIGHTS = {
    "files": [
        {"path": f"{kind}.pth", "epoch": i, "step": i, "val_loss": 0.5, "sha256": str(i) * 64}
        for i, kind in enumerate(KINDS)
    ],
    **{kind: f"{kind}.pth" for kind in KINDS},
}
# The good part P3 is a defect to best_val; to latest the defect D1 is a good part.
SCORES = {
    "best_val": {"P1": 0.1, "P2": 0.2, "P3": 0.9, "D1": 0.7, "D2": 0.8},
    "latest": {"P1": 0.5, "P2": 0.46, "P3": 0.2, "D1": 0.45, "D2": 0.8},
}


@pytest.fixture
def phase(tmp_path: Path) -> Path:
    (tmp_path / "kpi/images").mkdir(parents=True)
    for kind, scores in SCORES.items():
        path = tmp_path / "baseline/inference" / kind / "inference.csv"
        path.parent.mkdir(parents=True)
        rows = [f"a,g,{'PASS' if n[0] == 'P' else 'bridge'},{n},{s}" for n, s in scores.items()]
        header = "input_path,golden_path,label,object_name,siamese_score"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return tmp_path / "baseline"


def correct(phase: Path, *found: Correction) -> partial:
    return partial(corrected_table, found=list(found), table="kpi", workspace=phase.parent)


def test_one_label_decides(phase: Path) -> None:
    before = evaluate_phase(phase, "baseline", 1.0, WEIGHTS)
    files = {path: path.read_bytes() for path in phase.rglob("inference.csv")}
    assert before["kinds"]["best_val"]["recall_point"]["fp"] == 1
    relabel = correct(phase, Correction("kpi", "a", "P3", "label_wrong", new_label="Bridge"))
    after = evaluate_phase(phase, "baseline", 1.0, WEIGHTS, relabel, {"corrections": [1]})
    point = after["kinds"]["best_val"]["recall_point"]
    assert (point["fp"], point["tp"], after["counts"]["labels"]) == (0, 3, {"PASS": 2, "bridge": 3})
    out = correct(phase, Correction("kpi", "a", "P3", "bad_picture"))
    assert evaluate_phase(phase, "baseline", 1.0, WEIGHTS, out)["counts"]["rows"] == 4
    assert {path: path.read_bytes() for path in files} == files
    read_metrics(phase / "metrics.json")
    assert "corrections" not in json.loads((phase / "metrics.json").read_text())


def test_the_start_that_was_chosen_then_can_still_be_named(phase: Path) -> None:
    out = correct(
        phase, *(Correction("kpi", "a", name, "leave_out") for name in ("P2", "P3", "D1"))
    )
    kept = {path: path.stat().st_mtime_ns for path in phase.rglob("*")}
    assert kind_at(phase, 1.0, WEIGHTS, None) == "best_val"
    assert kind_at(phase, 1.0, WEIGHTS, out) == "latest", "alike, and the later one"
    assert {path: path.stat().st_mtime_ns for path in phase.rglob("*")} == kept


def test_rows_keep_the_lines_of_the_file(phase: Path) -> None:
    out = correct(phase, Correction("kpi", "a", "P2", "leave_out"))
    table = read_scores(phase / "inference/latest/inference.csv", out)
    assert table.index.tolist() == [0, 2, 3, 4]


def test_two_tables_of_one_content_are_evaluated_once(phase: Path, monkeypatch) -> None:
    best, latest = (phase / "inference" / kind for kind in KINDS)
    (latest / "inference.csv").write_bytes((best / "inference.csv").read_bytes())
    both = evaluate_phase(phase, "baseline", 1.0, WEIGHTS)
    assert both["kinds"]["best_val"] == both["kinds"]["latest"]
    names = {path.name for path in best.iterdir()}
    assert names == {path.name for path in latest.iterdir()} == {"inference.csv", *BESIDE}
    assert all((best / name).read_bytes() == (latest / name).read_bytes() for name in names)

    monkeypatch.setattr(evaluation, "_same", None)  # each by itself
    monkeypatch.setattr(evaluation, "KINDS", KINDS[:1])
    alone = evaluate_phase(phase, "baseline", 1.0, WEIGHTS)
    assert alone["kinds"]["best_val"] == both["kinds"]["best_val"]
    assert {k: v for k, v in both["tables"].items() if "best_val" in k} == alone["tables"]


def test_a_table_that_is_gone_is_told_by_name(phase: Path) -> None:
    (phase / "inference/latest/inference.csv").unlink()
    with pytest.raises(HardStop, match="does not exist") as stop:
        evaluate_phase(phase, "baseline", 1.0, WEIGHTS)
    assert stop.value.code == "missing_input"
