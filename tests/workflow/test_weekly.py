"""The weekly routine, twice: a grown pool, a start from the promoted model, a promotion decided."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from acceptance_set import grow_pool, seal_acceptance
from tiny_workspace import make_tiny_workspace
from workflow_tools import RUN, load, log_entries, plan, snakemake, state, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

LEDGER = "knowledge_base/decisions/acceptance.json"
# So weak a target that sixty parts prove it: the first model is promoted, without a lap.
FIRST = {"kpi": "FAR < 99% at recall=5%", "max_iterations": 1, "start": None}
WEEKLY = {"max_iterations": 1, "start": "best"}
OUTCOMES = ("promote", "keep", "cannot tell")


def openings(workspace: Path) -> list[dict]:
    return json.loads((workspace / LEDGER).read_text())["openings"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def parts(rows: list[dict[str, str]]) -> set[tuple[str, str]]:
    return {(row["input_path"], row["object_name"]) for row in rows}


def one_week(workspace: Path, run: str, before: str, **config: object) -> dict:
    """Grow the pool, run a week, check what it began from; return what was decided."""
    grow_pool(workspace, 8000 + 100 * len(openings(workspace)), 12)
    week = {**WEEKLY, "run": run, **config}
    succeed(snakemake(workspace, config=week))
    told = load(workspace, "acceptance/acceptance.json", run)
    weights = load(workspace, "baseline/train/weights.json", run)
    handed = load(workspace, "best_model/export.json", before)
    assert weights["preseeded"] and weights["files"][0]["sha256"] == handed["weights_sha256"]
    assert told["gate"]["outcome"] in OUTCOMES
    assert told["asked"]["handed_off"]["champion"].startswith(str(config.get("champion") or before))
    earlier = load(workspace, "acceptance/acceptance.json", before)
    for count in ("tp", "fn", "fp", "tn"):  # the champion decides as it did
        assert told["champion"][count] == earlier["challenger"][count]
    # The pool of this week is in it, and the first lap added to what was learned.
    assert load(workspace, "synth_pool/manifest.json", run)["counts"]["real_rows"] == len(
        rows_of(workspace / "augmentation/mining_pool/mining_pool.csv")
    )
    carried = rows_of(workspace / f"results/{run}/start/carried.csv")
    folder = workspace / f"results/{run}/iter1/dataset"
    table = rows_of(folder / "train_combined_iter1.csv")
    sources = [row["source"] for row in rows_of(folder / "train_combined_iter1_provenance.csv")]
    assert sources.count("previous_iter_train") == len(carried)
    assert sources.count("base_train") == 24 and sources.count("mining_pool") > 0
    assert parts(carried) <= parts(table) and len(parts(table)) == len(table)
    assert not any(f"{before}/" in row["input_path"] for row in table)
    # Nothing is opened twice for one hand-off, whatever is asked for again.
    count = len(openings(workspace))
    assert plan(workspace, config=week) == {}
    assert told["opening"] == count
    assert state(workspace, run)["status"] == "complete"
    assert log_entries(workspace, run)[-1]["stage"] == "loop_stop"
    page = (workspace / f"results/{run}/DEFT_Loop_Report.html").read_text()
    assert f"Sealed acceptance set: {told['gate']['outcome']}" in page
    assert "parts were opened before" in page and "What would certify it" in page
    return told


def test_two_weeks(tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "workspace", pool=30, kpi=18)
    seal_acceptance(workspace)
    succeed(snakemake(workspace, config=FIRST))
    first = load(workspace, "acceptance/acceptance.json")
    assert first["opening"] == 1 and first["champion"] is None
    assert first["gate"]["outcome"] == "promote", first["gate"]
    page = (workspace / f"results/{RUN}/DEFT_Loop_Report.html").read_text()
    assert "Sealed acceptance set: promote" in page and "the first" in page

    second = one_week(workspace, "run_b", RUN)
    assert [o["opening"] for o in openings(workspace)] == [1, 2]
    assert second["opening"] == 2 and second["parts_seen_before"] == 60

    # Whatever the gate said, production may run the second week's model: it is named.
    third = one_week(workspace, "run_c", "run_b", champion="results/run_b/best_model")
    assert third["opening"] == 3 and len(third["earlier"]) == 2
    if second["asked"]["handed_off"]["phase"] == "iter1":
        mined = load(workspace, "iter1/dataset/assembly.json", "run_b")["new_rows"]
        assert len(rows_of(workspace / "results/run_c/start/carried.csv")) == mined > 0
    # The same hand-off again is answered from its record.
    week = {**WEEKLY, "run": "run_c", "champion": "results/run_b/best_model"}
    succeed(snakemake(workspace, config=week, args=["-R", "accept"]))
    assert len(openings(workspace)) == 3
