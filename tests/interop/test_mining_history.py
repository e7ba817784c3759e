"""NVIDIA's history filter chooses as ours, and accepts our ledger; ours goes on with its."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from history_laps import TOP_K, folder, mined_lap, staged
from nvidia_skills import needs_skills, run_script, succeeded

from deft.mining.history import known_paths, read_ledger
from deft.stages.context import Context

pytestmark = needs_skills

FILTER = "skills/data/tao-mine-aoi-images/scripts/filter_mined_history.py"
LAPS = (1, 2, 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Context:
    context = staged(tmp_path_factory.mktemp("history") / "w")
    for lap in LAPS:
        mined_lap(context, lap)
    return context


def filtered(candidates: Path, out: Path, ledger: Path, lap: int, *more: str) -> dict:
    """Run their filter for a lap and return its summary."""
    summary = out / "mining_history_summary.json"
    succeeded(
        run_script(
            *("cur", FILTER, "--candidate-parquet", candidates, "--history-file", ledger),
            *("--output-parquet", out / "mined.parquet", "--summary", summary),
            *("--iteration", lap, "--topn", TOP_K, *more),
        )
    )
    return json.loads(summary.read_text())


def test_both_choose_the_same_pictures_and_count_alike(finished, tmp_path):
    for lap in LAPS:
        ours, out = folder(finished, lap), tmp_path / f"iter{lap}"
        candidates = (ours / "mined_candidates.parquet").absolute()
        theirs = filtered(candidates, out, tmp_path / "mining_history.json", lap)
        chosen = [pd.read_parquet(f / "mined.parquet")["filepath"].tolist() for f in (ours, out)]
        assert chosen[0] == chosen[1]
        told = json.loads((ours / "mining_history_summary.json").read_text())
        assert told.keys() == theirs.keys()
        files = ("output_parquet", "output_sha256", "recommendation")
        assert {k: v for k, v in told.items() if k not in files} == {
            k: v for k, v in theirs.items() if k not in files
        }
        assert (told["recommendation"] is None) == (theirs["recommendation"] is None)
    ledgers = [finished.run.dir / "mining_history.json", tmp_path / "mining_history.json"]
    entries = [json.loads(path.read_text())["iterations"] for path in ledgers]
    for one, other in zip(*entries, strict=True):
        assert one.keys() == other.keys()
        assert one["selected_filepaths"] == other["selected_filepaths"]


@pytest.mark.parametrize("lap", LAPS)
def test_they_resume_and_go_on_with_our_ledger(finished, tmp_path, lap):
    """Their script verifies every file that the ledger names before it does either."""
    ours = folder(finished, lap).absolute()
    ledger = (finished.run.dir / "mining_history.json").absolute()
    told = filtered(ours / "mined_candidates.parquet", ours, ledger, lap, "--resume")
    assert told["iteration"] == lap and told["topn"] == TOP_K
    upto = (ours / "mining_history.json").read_bytes()
    copy = tmp_path / "mining_history.json"
    copy.write_bytes(upto)
    again = filtered(ours / "mined_candidates.parquet", tmp_path, copy, lap + 1)
    assert again["selected_count"] == 0  # it is what this very lap has just mined


def test_ours_goes_on_with_their_ledger(finished, tmp_path):
    candidates = (folder(finished, 1) / "mined_candidates.parquet").absolute()
    ledger = tmp_path / "mining_history.json"
    filtered(candidates, tmp_path, ledger, 1)
    entries = read_ledger(ledger, finished.root, 2)
    assert known_paths(entries) == set(pd.read_parquet(candidates)["filepath"])
