"""A workspace as TAO's users have it with `num_golden` above 1: folders of goldens of any names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from several_goldens import make_several
from workflow_tools import RUN, load, script, snakemake, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.long]

COUNTS = {"base": 8, "validation": 6, "kpi": 8, "pool": 9, "pregen": 2}
CONFIG = {"max_iterations": 1, "training_epochs": 1, "mining": "places"}


def test_the_loop_its_pictures_and_the_doubts(tmp_path: Path) -> None:
    workspace = make_several(tmp_path / "workspace", **COUNTS)
    succeed(snakemake(workspace, config=CONFIG))
    run = workspace / "results" / RUN
    checks = {c["id"]: c for c in load(workspace, "preflight/checks.json")["checks"]}
    assert (
        checks["goldens"]["status"] == "ok" and "2 goldens a pair" in checks["goldens"]["evidence"]
    )
    shown = pd.read_parquet(next(run.glob("baseline/rca_results/*/kpi_gaps.parquet")))
    assert {Path(p).name for p in shown["golden_filepath"]} == {"ok1_SolderLight.png"}
    assert all(Path(p).is_file() for p in shown["golden_filepath"])
    page = (run / "DEFT_Loop_Report.html").read_text(encoding="utf-8")
    assert "/ok1_SolderLight.png" in page
    assert load(workspace, "best_model/preprocessing.json")["num_golden"] == 2

    succeed(snakemake(workspace, "label_doubts", config=CONFIG))
    doubts = next(run.glob("*/label_doubts/label_doubts.csv"))
    rows = pd.read_csv(doubts)
    real = rows[~rows["golden_file"].str.contains("synth_ok")]
    assert len(rows) and all((workspace / p).is_file() for p in rows["golden_file"])
    assert {Path(p).name for p in real["golden_file"]} <= {"ok1_SolderLight.png"}

    given = ("mined", "folders", "--phase", "iter1", "--out", str(tmp_path / "rows"))
    succeed(script(workspace, "export_rows", "--workspace", ".", "--run", RUN, *given))
    assert list((tmp_path / "rows" / "golden").iterdir())
