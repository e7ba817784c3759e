"""History-aware mining: what an earlier lap mined drops out, and the files say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from history_laps import TOP_K, folder, mined_lap, staged

from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.layout import Run
from deft.mining.history import advice, identity, novel, read_ledger
from deft.stages.context import Context


def paths(table: Path) -> list[str]:
    return pd.read_parquet(table)["filepath"].tolist()


def ledger(context: Context) -> dict:
    return json.loads((context.run.dir / "mining_history.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Context:
    """A run of three laps with a history."""
    context = staged(tmp_path_factory.mktemp("history") / "w")
    for lap in (1, 2, 3):
        mined_lap(context, lap)
    return context


def test_a_picture_is_mined_once_and_the_ledger_knows_each(finished):
    seen: set[str] = set()
    for lap, entry in zip((1, 2, 3), ledger(finished)["iterations"], strict=True):
        out = folder(finished, lap)
        candidates, mined = paths(out / "mined_candidates.parquet"), paths(out / "mined.parquet")
        assert mined == [path for path in candidates if path not in seen]
        assert entry["selected_filepaths"] == mined and entry["topn"] == TOP_K
        assert entry["already_mined_count"] == len(set(candidates) & seen)
        assert entry["output_sha256"] == sha256_file(out / "mined.parquet")
        assert entry["summary_sha256"] == sha256_file(out / "mining_history_summary.json")
        facts = json.loads((out / "mining.json").read_text())
        assert facts["kept_count"] == len(candidates)  # counted before the history
        assert facts["candidate_count"] == facts["kept_count"] + facts["rejected_count"]
        seen |= set(mined)
    assert any(entry["already_mined_count"] for entry in ledger(finished)["iterations"])
    assert ledger(finished)["cumulative_unique_count"] == len(seen)


def test_the_training_table_is_the_same_without_it(finished, tmp_path):
    plain = staged(tmp_path / "w")
    for lap in (1, 2, 3):
        mined_lap(plain, lap, history=False)
        name = f"iter{lap}/dataset/train_combined_iter{lap}.csv"
        assert (plain.run.dir / name).read_bytes() == (finished.run.dir / name).read_bytes()
        assert not (folder(plain, lap) / "mining_history.json").exists()
    mined = [paths(folder(context, 3) / "mined.parquet") for context in (plain, finished)]
    assert len(mined[0]) > len(mined[1])


def test_a_lap_mined_again_keeps_the_later_ones_if_it_finds_the_same(finished):
    before = ledger(finished)
    mined_lap(finished, 1)
    assert ledger(finished) == before
    (finished.run.dir / "mining_history.json").write_text("{")  # what a crash or a hand left
    mined_lap(finished, 3)
    assert ledger(finished) == before


def test_a_moved_workspace_goes_on(finished, tmp_path):
    shutil.copytree(finished.workspace, tmp_path / "moved")
    moved = Context(Run(tmp_path / "moved", finished.run.name))
    entries = read_ledger(folder(moved, 2) / "mining_history.json", moved.root, 3)
    known = [path for entry in entries for path in entry["selected_filepaths"]]
    assert known and all(Path(path).is_relative_to(moved.root) for path in known)
    out = mined_lap(moved, 3)
    assert len(paths(out / "mined.parquet")) == len(paths(folder(finished, 3) / "mined.parquet"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"version": 1, "iterations": []}', r"holds the laps \[\], and lap 2 needs"),
        ('{"version": 1, "iterations": [{"iteration": 1}]}', "selected_filepaths"),
        ("[]", "mining_history.json"),
        ("", "mining_history.json"),
    ],
)
def test_a_damaged_ledger_is_a_stop_that_names_it(tmp_path, text, words):
    path = tmp_path / "mining_history.json"
    path.write_text(text)
    with pytest.raises(HardStop, match=words) as caught:
        read_ledger(path, tmp_path, 2)
    assert caught.value.code == "missing_input" and caught.value.file == str(path)


def test_a_later_lap_without_a_ledger_is_a_stop(tmp_path):
    with pytest.raises(HardStop, match="lap 2 needs 1 to 1"):
        read_ledger(None, tmp_path, 2)
    assert read_ledger(None, tmp_path, 1) == []


def test_paths_are_compared_in_one_form():
    assert identity(" images\\board/./a.png") == "images/board/a.png"
    entries = [{"selected_filepaths": ["/w/a.png"]}]
    chosen, counts = novel(["/w/./a.png", "/w/b.png", "/w//b.png"], entries)
    assert chosen == [1]
    assert counts["candidate_duplicate_count"] == counts["already_mined_count"] == 1


@pytest.mark.parametrize(
    ("found", "known", "words"),
    [(4, 4, "all 4"), (4, 2, "2 of 4"), (4, 1, None), (0, 0, None)],
)
def test_a_wider_search_is_advised_where_most_is_known(found, known, words):
    told = advice(
        {
            "candidate_unique_count": found,
            "already_mined_count": known,
            "selected_count": found - known,
        }
    )
    assert (told is None) if words is None else words in told
