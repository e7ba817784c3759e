"""The terminal of a whole command: brief, the stop last, the report named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from workflow_tools import RUN, snakemake, succeed

pytestmark = pytest.mark.workflow

LINES = 60  # after the pre-flight, of a loop with two laps
SNAKEMAKES = re.compile(r"^(Job \d|Finished|Select|Execute|Building|\[\w{3} \w{3} |rule |Complete)")


def test_a_loop_prints_its_stages(finished: Path) -> None:
    output = json.loads((finished.parent / "finished.json").read_text())["output"]
    lines = output.splitlines()
    begun = next(i for i, line in enumerate(lines) if line.startswith("[preflight · preflight]"))
    after = lines[begun + 1 :]
    assert len(after) <= LINES
    assert [line for line in lines if SNAKEMAKES.match(line)] == []
    for stage in ("train", "inference", "evaluate", "rca", "routing", "data_mining", "data_merge"):
        assert any(f"· {stage}] " in line for line in after), stage
    assert after[-1] == f"report: {finished}/results/{RUN}/DEFT_Loop_Report.html"


def test_a_hard_stop_is_the_last_thing(fresh: Path) -> None:
    done = snakemake(fresh, config={"approve": "false"})
    assert done.returncode == 1
    last = done.stdout.rstrip().splitlines()[-3:]
    assert last[0].startswith("HARD STOP approval_missing: ") and last[2].startswith("  do: ")
    assert done.stdout.count("HARD STOP") == 1


def test_verbose_brings_snakemakes_lines_back(finished: Path) -> None:
    told = succeed(snakemake(finished, args=["-n", "--verbose"]))
    assert "Building DAG of jobs" in told
    assert "Building DAG of jobs" not in succeed(snakemake(finished, args=["-n"]))
