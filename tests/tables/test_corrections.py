"""corrections.csv: how it is read, which rows it means, what it does to a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from deft.core.errors import HardStop
from deft.tables.corrected import corrected_table, matches, placed_rows, stale, unknown_rows
from deft.tables.corrections import (
    Correction,
    digest,
    from_dicts,
    of_table,
    read_corrections,
    read_file,
)

HEADER = "table,input_path,golden_path,object_name,label,verdict,new_label,picture,note"
ROWS = pd.DataFrame(
    {
        "input_path": ["line/B1", "line/B1", "line/B2"],
        "golden_path": ["golden/D0", "golden/D0", "golden/D1"],
        "label": ["PASS", "bridge", "PASS"],
        "object_name": ["R1", "R2", "R1"],
    }
)


def found(folder: Path, *lines: str) -> list[Correction]:
    (folder / "corrections.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return read_corrections(folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "kpi/images").mkdir(parents=True)
    return tmp_path


def test_none_without_a_file(tmp_path: Path) -> None:
    assert read_corrections(tmp_path) == []
    assert digest([]) == ""


def test_labels_change_and_rows_go_and_their_lines_stay(root: Path) -> None:
    rows = found(
        root,
        "kpi,line/B1,golden/D0,R1,PASS,label_wrong,Bridge,,",
        "kpi,line/B1,,R2,,bad_golden,,,blurred",
        "kpi,line/B2,golden/D1,R1,PASS,label_right,,,",
    )
    after = corrected_table(ROWS, of_table(rows, "kpi"), "kpi", root)
    assert after["label"].to_dict() == {0: "bridge", 2: "PASS"}, "as the table spells it"
    assert ROWS["label"].tolist() == ["PASS", "bridge", "PASS"], "the original stays"
    assert corrected_table(ROWS, of_table(rows, "training"), "training", root) is ROWS


def test_a_pool_row_is_found_by_its_part_however_its_cell_is_written(root: Path) -> None:
    pool = ROWS.assign(input_path=[f"images/B{i}/R_SolderLight.jpg" for i in (1, 1, 2)])
    placed = placed_rows(pool, "pool", root)
    for cell in ("images/B2", "images/B2/R_OtherLight.jpg", "./images/B2/"):
        rows = found(root, f"pool,{cell},,R1,,leave_out,,,")
        assert [one is not None for one in matches(placed, rows, root)] == [False, False, True]


def test_what_it_does_has_a_digest_and_what_it_says_beside_has_none(root: Path) -> None:
    first = found(
        root, "kpi,line/B1,,R1,PASS,label_wrong,Bridge,,", "kpi,line/B1,,R2,,bad_golden,,,"
    )
    other = found(root, "kpi,line/B1,,R2,,leave_out,,,why", "kpi,line/B1,,R1,,label_wrong,bridge,,")
    assert digest(first) == digest(other)
    assert digest(first) != digest(first[:1])
    assert from_dicts(one.as_dict() for one in first)[0].row == first[0].row


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("kpi,,,R1,,leave_out,,,", "input_path or object_name is empty"),
        ("kpi,line/B1,,R1,,leave_out,bridge,,", "stands beside leave_out"),
        ("kpi,line/B1,,R1,bridge,label_wrong,BRIDGE,,", "is the old one"),
        ("kpi,line/B1,,R1,,label_wrong,P\u0410SS,,", "looks like PASS"),
        ("train,line/B1,,R1,,leave_out,,,", "table 'train' is none of kpi, training, pool"),
    ],
)
def test_a_line_that_cannot_be_meant_stops_with_its_number(
    root: Path, line: str, words: str
) -> None:
    with pytest.raises(HardStop, match=words) as stop:
        found(root, "kpi,line/B2,,R1,,label_right,,,", line)
    assert (stop.value.code, stop.value.rows) == ("csv_invalid", [3])
    assert stop.value.fix


def test_twice_the_same_is_once_and_two_verdicts_stop(root: Path) -> None:
    twice = ["kpi,line/B1,,R1,,bad_golden,,,", "kpi,line/B1,,R1,,leave_out,,,"]
    assert len(found(root, *twice)) == 1
    with pytest.raises(HardStop, match="two verdicts on one row") as stop:
        found(root, twice[0], "kpi,line/B1,,R1,,label_right,,,")
    assert stop.value.rows == [2, 3]


@pytest.mark.parametrize(
    "goldens", [("", "golden/D0"), ("golden/D0", ""), ("golden/D0", "golden/D0")]
)
def test_an_empty_golden_speaks_of_the_same_row(root: Path, goldens: tuple[str, str]) -> None:
    lines = [
        f"kpi,line/B1,{golden},R1,,{verdict},,,"
        for golden, verdict in zip(goldens, ("leave_out", "label_right"), strict=True)
    ]
    with pytest.raises(HardStop, match="two verdicts on one row") as stop:
        found(root, *lines)
    assert stop.value.rows == [2, 3]
    assert len(found(root, *lines[:1], lines[1].replace("B1", "B2"))) == 2


def test_two_verdicts_on_a_row_that_is_written_in_two_ways_stop(root: Path) -> None:
    pool = ROWS.assign(input_path=[f"images/B{i}/R_SolderLight.jpg" for i in (1, 1, 2)])
    rows = found(root, "pool,images/B2,,R1,,leave_out,,,", "pool,./images/B2/,,R1,,label_right,,,")
    stop = unknown_rows(rows, placed_rows(pool, "pool", root), "pool", root)
    assert stop is not None and stop.rows == [2, 3] and "two verdicts" in stop.message


@pytest.mark.parametrize(
    "header", ["table,input_path,object_name", HEADER + ",more", HEADER + ",note"]
)
def test_other_columns_stop(tmp_path: Path, header: str) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(header + "\n", encoding="utf-8")
    with pytest.raises(HardStop) as stop:
        read_file(path)
    assert stop.value.code == "csv_invalid"


def test_unknown_and_ambiguous_rows_stop(root: Path) -> None:
    twins = pd.concat([ROWS, ROWS.assign(golden_path="golden/D9")], ignore_index=True)
    placed = placed_rows(twins, "kpi", root)
    assert (
        unknown_rows(found(root, "kpi,line/B1,golden/D9,R1,,leave_out,,,"), placed, "kpi", root)
        is None
    )
    for line, words in (
        ("kpi,line/B1,,R9,,leave_out,,,", "is no row of"),
        ("kpi,line/B1,golden/D5,R1,,leave_out,,,", "is no row of"),
        ("kpi,line/B1,,R1,,leave_out,,,", "is more than one row of"),
    ):
        stop = unknown_rows(found(root, line), placed, "kpi", root)
        assert stop is not None and words in stop.message and stop.rows == [2]


def test_a_row_that_changed_since_is_stale(root: Path) -> None:
    (one,) = found(root, "kpi,line/B1,,R1,PASS,label_wrong,bridge,0123,")
    assert stale(one, "PASS", "0123", 0, root) is None
    assert stale(one, "PASS", None, 0, root) is None
    for label, picture, words in (("missing", "0123", "has the label"), ("PASS", "9", "another")):
        stop = stale(one, label, picture, 0, root)
        assert stop is not None and words in stop.message
