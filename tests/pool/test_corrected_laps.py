"""From which lap a corrected pool row counts, and that it stays so."""

from __future__ import annotations

from pathlib import Path

import pytest

from deft.pool.corrected_laps import digest_upto, first_laps, keep, kept_corrections
from deft.tables.corrections import Correction

HEADER = "input_path,golden_path,label,object_name"


def pool(name: str, verdict: str = "leave_out", **more: str) -> Correction:
    return Correction("pool", "images/B1", name, verdict, **more)


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "kpi/images").mkdir(parents=True)
    run_dir = tmp_path / "results/run_a"
    mined(run_dir, 1, "R1")
    mined(run_dir, 2, "R2")
    return tmp_path, run_dir


def mined(run_dir: Path, lap: int, *names: str) -> None:
    path = run_dir / f"iter{lap}/mining_filter/mining_pool.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"augmentation/mining_pool/images/B1,kpi/images/golden/D0,PASS,{n}" for n in names]
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")


def test_from_the_lap_that_mined_it_else_the_next(run: tuple[Path, Path]) -> None:
    found = [pool("R1"), pool("R2", golden_path="golden/D0"), pool("R3"), pool("R2", "label_right")]
    laps = first_laps(*run, found)
    assert [laps[one.row] for one in found[:3]] == [1, 2, 3]
    assert len(laps) == 3, "a confirmed label changes nothing"


def test_a_lap_depends_on_what_counts_in_it_alone(run: tuple[Path, Path]) -> None:
    found = [pool("R2"), pool("R3")]
    assert digest_upto(*run, "iter1", found) == ""
    assert digest_upto(*run, "iter2", found) == digest_upto(*run, "iter2", found[:1]) != ""
    assert digest_upto(*run, "iter3", found) != digest_upto(*run, "iter2", found)


def test_it_stays_once_the_row_is_mined_no_more_or_later(run: tuple[Path, Path]) -> None:
    workspace, run_dir = run
    found = [pool("R2"), pool("R3")]
    before = {lap: digest_upto(*run, lap, found) for lap in ("iter1", "iter2", "iter3")}
    kept = keep(workspace, run_dir, found)
    assert [one["from"] for one in kept] == ["iter2", "iter3"]
    mined(run_dir, 2, "R4")  # left out, R2 is gone
    mined(run_dir, 3, "R3")
    assert {lap: digest_upto(*run, lap, found) for lap in before} == before
    assert keep(workspace, run_dir, found) == kept
    # Another verdict on the same row counts from the same lap.
    other = pool("R2", "label_wrong", new_label="bridge")
    assert first_laps(workspace, run_dir, [other]) == {other.row: 2}


def test_other_tables_begin_elsewhere_and_none_write_nothing(run: tuple[Path, Path]) -> None:
    workspace, run_dir = run
    assert keep(workspace, run_dir, []) == []
    assert not (run_dir / "preflight").exists()
    found = [Correction(table, "a", "b", "leave_out") for table in ("kpi", "training")]
    assert [one["from"] for one in keep(workspace, run_dir, found)] == ["decision", "baseline"]
    keep(workspace, run_dir, [])
    assert kept_corrections(run_dir) == []
