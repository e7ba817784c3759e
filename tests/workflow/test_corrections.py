"""Corrected labels, in whole runs: the decision changes, and nothing dearer than it must."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from workflow.rerun_cases import correction, mined_in, rows_of
from workflow_tools import (
    RUN,
    load,
    log_entries,
    plan,
    snakemake,
    succeed,
)

pytestmark = [pytest.mark.workflow, pytest.mark.long]
KPI = "kpi/testing_set.csv"
CORRECTIONS = "corrections.csv"


def laps_of(workspace: Path, stage: str, after: int) -> list[str]:
    """Return the phases in which a stage was logged since so many entries."""
    return [e["iter"] for e in log_entries(workspace)[after:] if e["stage"] == stage]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def highest_good(workspace: Path) -> dict[str, str]:
    """Return the row of the good part with the highest score of the last lap's chosen weights."""
    chosen = load(workspace, "iter2/metrics.json")["chosen"]
    scored = table(workspace / f"results/{RUN}/iter2/inference/{chosen}/inference.csv")
    good = [row for row in scored if row["label"] == "PASS"]
    return max(good, key=lambda row: float(row["siamese_score"]))


def write(workspace: Path, row: dict[str, str], **cells: str) -> None:
    told = {"input_path": row["input_path"], "object_name": row["object_name"], **cells}
    (workspace / CORRECTIONS).write_text(
        ",".join(told) + "\n" + ",".join(told.values()) + "\n", encoding="utf-8"
    )


def test_a_kpi_label_changes_the_decision_and_trains_nothing(workspace: Path) -> None:
    tables = {
        name: (workspace / name).read_bytes() for name in (KPI, "train/base/training_set.csv")
    }
    before, decided = len(log_entries(workspace)), load(workspace, "iter2/decide/kpi.json")
    counts = load(workspace, "iter2/metrics.json")["counts"]
    row = highest_good(workspace)
    write(workspace, row, table="kpi", label="PASS", verdict="label_wrong", new_label="bridge")

    planned = plan(workspace)
    assert {"evaluate", "decide"} <= set(planned)
    assert not {"train", "infer", "mine", "embed_shard"} & set(planned)

    succeed(snakemake(workspace))
    assert laps_of(workspace, "train", before) == []
    assert laps_of(workspace, "inference", before) == []
    assert laps_of(workspace, "evaluate", before) == ["baseline", "iter1", "iter2"]
    after = load(workspace, "iter2/metrics.json")
    assert after["counts"]["ng"] == counts["ng"] + 1
    assert after["corrections"][0]["object_name"] == row["object_name"]
    assert load(workspace, "iter2/decide/kpi.json") != decided
    assert {name: (workspace / name).read_bytes() for name in tables} == tables
    kept = load(workspace, "preflight/corrections.json")["corrections"]
    assert [(one["from"], one["label"], one["new_label"]) for one in kept] == [
        ("decision", "PASS", "bridge")
    ]
    assert plan(workspace) == {}

    (workspace / CORRECTIONS).unlink()
    succeed(snakemake(workspace))
    assert laps_of(workspace, "train", before) == []
    assert load(workspace, "iter2/decide/kpi.json") == decided
    assert "corrections" not in load(workspace, "iter2/metrics.json")


@pytest.mark.parametrize(
    "verdict", ["label_wrong", pytest.param("leave_out", marks=pytest.mark.slow)]
)
def test_a_pool_row_reruns_from_the_lap_that_mined_it(workspace: Path, verdict: str) -> None:
    row = mined_in(2)(workspace)[0]
    before = len(log_entries(workspace))
    correction("pool", verdict, lambda _: [row])(workspace, workspace)
    assert plan(workspace)["mine"] == 1
    succeed(snakemake(workspace))
    assert laps_of(workspace, "data_mining", before) == ["iter2"]
    assert laps_of(workspace, "train", before) in ([], ["iter2"])  # [] if nothing is left to mine
    mined = table(workspace / f"results/{RUN}/iter2/mining_filter/mining_pool.csv")
    labels = {r["object_name"]: r["label"] for r in mined}
    if verdict == "leave_out":
        assert row["object_name"] not in labels
    elif row["object_name"] in labels:
        assert labels[row["object_name"]] != row["label"]
        combined = table(workspace / f"results/{RUN}/iter2/dataset/train_combined_iter2.csv")
        told = {r["object_name"]: r["label"] for r in combined}
        assert told[row["object_name"]] == labels[row["object_name"]]
        assert laps_of(workspace, "train", before) == ["iter2"]
    assert load(workspace, "preflight/corrections.json")["corrections"][0]["from"] == "iter2"
    assert plan(workspace) == {}, "a row that is mined no more still counts from the same lap"


STOPS: list[tuple[list[str], str]] = [
    (["kpi,no/where,X@1,leave_out,,"], "is no row of kpi/testing_set.csv"),
    (["kpi,{folder},{name},label_wrong,pass,"], "looks like PASS|PASS only after"),
    (["kpi,{folder},{name},wrong,,"], "verdict 'wrong' is none of"),
    (["kpi,{folder},{name},label_wrong,,"], "label_wrong without new_label"),
    (["kpi,{folder},{name},leave_out,,", "kpi,{folder},{name},label_right,,"], "two verdicts"),
    (["validation,{folder},{name},leave_out,,"], "table 'validation' is none of"),
    (["kpi,{folder},{name},leave_out,,0123456789abcdef"], "is another than the one looked at"),
]


@pytest.mark.parametrize(("lines", "words"), STOPS, ids=[words[:30] for _, words in STOPS])
def test_what_cannot_be_meant_stops_before_any_job(
    fresh: Path, lines: list[str], words: str
) -> None:
    row = table(fresh / KPI)[0]
    text = "\n".join(lines).format(folder=row["input_path"], name=row["object_name"])
    header = "table,input_path,object_name,verdict,new_label,picture"
    (fresh / CORRECTIONS).write_text(f"{header}\n{text}\n", encoding="utf-8")
    done = snakemake(fresh, "preflight")
    assert done.returncode != 0
    assert any(word in done.stdout for word in words.split("|")), done.stdout[-1500:]
    assert "csv_invalid" in done.stdout and CORRECTIONS in done.stdout
    assert "Traceback" not in done.stdout


def test_the_summary_tells_what_runs_again(workspace: Path) -> None:
    row = rows_of("train/base/training_set.csv")(workspace)[0]
    write(workspace, row, table="training", verdict="bad_golden", new_label="")
    succeed(snakemake(workspace, "preflight"))
    summary = (workspace / f"results/{RUN}/preflight/summary.md").read_text()
    assert "training: 1 left out (from the baseline on)" in " ".join(summary.split())
