"""The encoder's self-test as a user asks for it, and as a stage meets it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from workflow_tools import RUN, changes, log_entries, snakemake, state, succeed, tree

pytestmark = [pytest.mark.workflow, pytest.mark.long]

CACHE = "results/embedding_cache"


def _spoil_records(workspace: Path) -> None:
    records = list((workspace / CACHE).glob("*/selftest.json"))
    assert records, "embedding the pool left a record"
    for path in records:
        facts = json.loads(path.read_text())
        for row in facts["vectors"].values():
            row.reverse()
        path.write_text(json.dumps(facts))


def test_the_target_prints_a_table_and_touches_no_run(workspace: Path) -> None:
    before = tree(workspace)
    output = succeed(snakemake(workspace, "encoder_selftest"))
    assert re.search(r"^encoder   changenet, \d+ × \d+ px", output, re.MULTILINE)
    assert output.count("1.00000000") == 5 and "images/s" in output
    assert set(changes(before, tree(workspace))) <= {"logs/encoder_selftest.log"}

    _spoil_records(workspace)
    before = tree(workspace)
    done = snakemake(workspace, "encoder_selftest")
    assert done.returncode != 0 and "HARD STOP encoder_mismatch" in done.stdout
    assert "Traceback" not in done.stdout
    # A helper that failed is no end of a run.
    assert set(changes(before, tree(workspace))) <= {"logs/encoder_selftest.log"}


@pytest.mark.slow
def test_a_stage_embeds_nothing_with_an_encoder_that_differs(workspace: Path) -> None:
    _spoil_records(workspace)
    for path in (workspace / CACHE).glob("*/*"):
        if path.name not in ("selftest.json", "encoder.json"):
            path.unlink()
    done = snakemake(workspace, f"results/{RUN}/iter1/mining_filter/mining.json", args=["--force"])
    assert done.returncode != 0 and "HARD STOP encoder_mismatch" in done.stdout
    errors = [e for e in log_entries(workspace) if e["status"] == "error"]
    assert [(e["iter"], e["stage"]) for e in errors][:1] == [("iter1", "data_mining")]
    assert state(workspace)["native"]["hard_stop"]["code"] == "encoder_mismatch"
    shutil.rmtree(workspace / CACHE)
    succeed(snakemake(workspace, f"results/{RUN}/iter1/mining_filter/mining.json"))
