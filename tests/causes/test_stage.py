"""The causes of a run's phases: files, seals, and the training table of the phase itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scored_run import make_scored_run, write_scores
from stage_calls import evaluate, rca

from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file
from deft.rca import spot_check
from deft.stages import causes as stage
from deft.stages.context import Context


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run whose baseline is analysed, and whose first lap is scored."""
    context = make_scored_run(tmp_path_factory.mktemp("scored") / "w")
    write_scores(context, "iter1")
    evaluate(context, "iter1", 1.0)
    rca(context, "iter1", 1.0, 5)
    return context


@pytest.mark.parametrize("phase", ["baseline", "iter1"])
def test_every_kpi_part_has_its_facts_and_the_record_seals_them(run: Context, phase: str) -> None:
    folder = run.run.phase(phase)
    found = read_json(folder / "causes.json", {"causes": list, "named": [str]})
    table = pd.read_csv(folder / "causes.csv", keep_default_na=False)
    scored = pd.read_csv(folder / "inference/best_val/inference.csv")
    assert table["object_name"].tolist() == scored["object_name"].tolist()
    assert found["tables"]["causes.csv"] == {
        "sha256": sha256_file(folder / "causes.csv"),
        "rows": len(scored),
    }
    for side, told in found["looked_at"].items():
        assert (table["looked_at"] == side).sum() == told["wrong"]
    light = table.set_index("row")["light"]
    for cause in found["causes"]:
        assert cause["example_lights"] == light.loc[cause["examples"]].tolist()
    gaps = pd.read_parquet(run.run.rca(phase) / "kpi_gaps.parquet")
    by_row = dict(zip(table["row"], table["named_causes"], strict=True))
    assert gaps["causes"].tolist() == [by_row[row] for row in gaps["row"]]
    report = (run.run.rca(phase) / "RCA_Report.md").read_text()
    assert "### Root causes that the pictures show" in report


def test_an_example_is_shown_in_the_light_in_which_it_differs(monkeypatch, tmp_path: Path) -> None:
    saved = []
    monkeypatch.setattr(spot_check, "_save_pair", lambda row, light, *_: saved.append((row, light)))
    cause = {"examples": [5, 3], "example_lights": ["B", "A"]}
    pictures = spot_check.Pictures(tmp_path, ("A", "B"), ".png")
    spot_check.save_examples(pd.DataFrame({"row": [3, 5]}), cause, 1, pictures, tmp_path)
    assert [(row["row"], light) for row, light in saved] == [(5, "B"), (3, "A")]


def test_a_lap_is_held_against_its_own_training_table(run: Context) -> None:
    base, lap = (
        read_json(run.run.phase(p) / "causes.json")["training"] for p in ("baseline", "iter1")
    )
    assembled = read_json(run.run.phase("iter1") / "dataset/assembly.json")
    assert base == {"rows": 24, "measured": 24, "left_out": 0}
    assert lap == {"rows": assembled["rows"], "measured": assembled["rows"], "left_out": 0}


def test_of_many_mined_rows_the_defects_are_measured_first(monkeypatch) -> None:
    monkeypatch.setattr(stage, "MINED_MOST", 10)
    names = [f"p{i}" for i in range(60)]
    training = pd.DataFrame({"input_path": "a", "golden_path": "b", "object_name": names})
    training["label"] = ["bridge" if i % 8 == 0 else "PASS" for i in range(60)]
    facts = training.iloc[:20]  # measured once for all: the base rows
    kept, left = stage._looked_at(training, facts)
    assert left == 30 and len(kept) == 30 and kept["object_name"].tolist()[:20] == names[:20]
    mined = kept.iloc[20:]
    assert (mined["label"] == "bridge").sum() == 5, "all that there are"
    rows = np.array([int(name[1:]) for name in mined.loc[mined["label"] == "PASS", "object_name"]])
    assert np.ptp(rows) > 20, "the others from all over the table"


def test_facts_that_are_not_the_recorded_ones_are_a_stop(run: Context, tmp_path: Path) -> None:
    facts = run.run.dir / "kpi_facts/parts.parquet"
    kept = facts.read_bytes()
    facts.write_bytes(kept[:-40])
    try:
        with pytest.raises(HardStop) as stop:
            rca(run, "baseline", 1.0, 5)
        assert "parts.parquet" in str(stop.value.file) and "measure_parts" in str(stop.value.fix)
    finally:
        facts.write_bytes(kept)


def test_parts_that_only_one_weight_file_gets_wrong_are_counted() -> None:
    ng = np.array([0, 0, 0, 0, 1, 1, 1, 1], bool)
    scores = np.array([0.1, 0.2, 0.9, 0.8, 0.7, 0.95, 0.96, 0.3])
    other = pd.DataFrame({"siamese_score": [0.1, 0.2, 0.3, 0.97, 0.8, 0.95, 0.96, 0.2]})
    found = stage.unstable(scores, other, ng, threshold=0.6)
    # Three defects are caught by both; the other weights reject one good part less.
    assert found == {
        "misses_wrong": 1,
        "misses_right_by_other": 0,
        "false_alarms_wrong": 2,
        "false_alarms_right_by_other": 1,
    }
    assert stage.rank_spread(scores, scores).tolist() == [0.0] * 8
