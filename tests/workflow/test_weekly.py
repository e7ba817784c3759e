"""The weekly routine, twice: a grown pool, a start from the promoted model, a promotion decided."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_workspace import COLUMNS, _draw, _save, _write_csv, make_tiny_workspace
from workflow_tools import RUN, load, log_entries, plan, snakemake, state, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

POOL = "augmentation/mining_pool/mining_pool.csv"
LEDGER = "knowledge_base/decisions/acceptance.json"
# So weak a target that twenty parts prove or disprove it.
WEEKLY = {"kpi": "FAR < 99% at recall=5%", "max_iterations": 1, "start": None}


def draw_parts(
    workspace: Path, role: str, first: int, labels: list[str], folder: str
) -> list[dict]:
    """Draw parts below ``folder`` with their goldens; return their rows."""
    rng = np.random.default_rng(first)
    rows = []
    for i, label in enumerate(labels):
        name = f"A{first + i}@1"
        test, golden = _draw(rng, label, 32)
        _save(workspace / folder / f"{name}_SolderLight.png", test)
        _save(workspace / f"kpi/images/golden/{role}/{name}_SolderLight.png", golden)
        rows.append({"golden_path": f"golden/{role}", "label": label, "object_name": name})
    return rows


def seal_acceptance(workspace: Path, good: int = 30, defects: int = 30) -> None:
    labels = ["PASS"] * good + ["bridge", "missing"] * (defects // 2)
    rows = draw_parts(workspace, "acceptance", 7000, labels, "kpi/images/acceptance")
    rows = [{**row, "input_path": "acceptance"} for row in rows]
    _write_csv(workspace / "kpi/acceptance_set.csv", rows, COLUMNS)


def grow_pool(workspace: Path, first: int, count: int) -> None:
    labels = ["bridge" if i % 3 == 0 else "PASS" for i in range(count)]
    rows = draw_parts(workspace, "pool", first, labels, "augmentation/mining_pool/images")
    with (workspace / POOL).open("a", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n", restval="")
        for row in rows:
            name = f"images/{row['object_name']}_SolderLight.png"
            writer.writerow({**row, "input_path": name, "boardname": "line1"})


def openings(workspace: Path) -> list[dict]:
    return json.loads((workspace / LEDGER).read_text())["openings"]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_two_weeks(tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace", pool=30, kpi=18)
    seal_acceptance(workspace)
    succeed(snakemake(workspace, config=WEEKLY))
    first = load(workspace, "acceptance/acceptance.json")
    assert first["opening"] == 1 and first["champion"] is None
    assert first["gate"]["outcome"] == "promote", first["gate"]
    promoted = first["asked"]["handed_off"]

    grow_pool(workspace, 8000, 12)
    week = {**WEEKLY, "run": "run_b", "start": "best"}
    succeed(snakemake(workspace, config=week))
    second = load(workspace, "acceptance/acceptance.json", "run_b")
    # The baseline is the promoted model, untrained, and the champion is the same.
    weights = load(workspace, "baseline/train/weights.json", "run_b")
    assert weights["files"][0]["sha256"] == promoted["weights_sha256"] and weights["preseeded"]
    assert second["asked"]["handed_off"]["champion"] == f"{RUN}, {promoted['phase']}"
    assert second["champion"]["tp"] == first["challenger"]["tp"]
    assert second["champion"]["fp"] == first["challenger"]["fp"]
    assert second["gate"]["outcome"] in ("promote", "keep", "cannot tell")
    # A second opening shows as such, in the ledger, the log's words and on the page.
    assert [o["opening"] for o in openings(workspace)] == [1, 2]
    assert second["opening"] == 2 and second["parts_seen_before"] == 60
    page = (workspace / "results/run_b/DEFT_Loop_Report.html").read_text()
    assert "opening" in page and second["gate"]["outcome"] in page
    # What was mined for the promoted model is in this run's first table.
    carried = read_rows(workspace / "results/run_b/start/carried.csv")
    if promoted["phase"] != "baseline":
        told = load(workspace, f"{promoted['phase']}/dataset/assembly.json")
        assert len(carried) == told["new_rows"] > 0
    table = read_rows(workspace / "results/run_b/iter1/dataset/train_combined_iter1.csv")
    sources = read_rows(
        workspace / "results/run_b/iter1/dataset/train_combined_iter1_provenance.csv"
    )
    assert sum(row["source"] == "previous_iter_train" for row in sources) == len(carried)
    named = {(row["input_path"], row["object_name"]) for row in table}
    assert {(row["input_path"], row["object_name"]) for row in carried} <= named
    assert not any("run_a/" in row["input_path"] for row in table)

    # Nothing is opened twice for one hand-off, whatever runs again.
    assert plan(workspace, config=week) == {}
    succeed(snakemake(workspace, config=week, args=["-R", "accept"]))
    assert len(openings(workspace)) == 2
    assert state(workspace, "run_b")["status"] == "complete"
    assert log_entries(workspace, "run_b")[-1]["stage"] == "loop_stop"
