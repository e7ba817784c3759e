"""Reading tables: every mistake has a code, a file and a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.core.errors import HardStop
from deft.core.files import inside, write_text_atomic
from deft.tables.changenet_table import (
    COLUMNS,
    clean_label,
    image_file,
    in_contract_order,
    read_table,
    split_pool_cell,
    write_table,
)
from deft.tables.coordinates import join

GOOD = "input_path,golden_path,label,object_name\na,g,PASS,1\nb,g,bridge,2\n"


@pytest.mark.parametrize(
    ("text", "words", "rows"),
    [
        ("", "no header", []),
        ("input_path,label,object_name\na,PASS,1\n", "golden_path", [1]),
        ("input_path,golden_path,label,object_name,label\na,g,PASS,1,x\n", "twice", [1]),
        (GOOD + "c,g,pass,3\n", "'pass'", [4]),
        (GOOD + "c,g,PASS ,3\n", "'PASS '", [4]),
        (GOOD + "c,g,bridge\n", "cells", [4]),
        (GOOD + "c,,bridge,3\n", "empty golden_path", [4]),
    ],
)
def test_mistakes_are_named(tmp_path, text, words, rows):
    path = write_text_atomic(tmp_path / "t.csv", text)
    with pytest.raises(HardStop) as stop:
        read_table(path)
    assert stop.value.code == "csv_invalid"
    assert words in str(stop.value) and str(path) in str(stop.value)
    assert stop.value.rows == rows


def test_a_table_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(GOOD.encode() + b"\xff\xfe,g,PASS,4\n")
    with pytest.raises(HardStop, match="UTF-8"):
        read_table(tmp_path / "t.csv")


def test_a_missing_table_is_a_missing_input(tmp_path):
    with pytest.raises(HardStop) as stop:
        read_table(tmp_path / "none.csv")
    assert stop.value.code == "missing_input"


def test_cells_come_back_as_text_and_round_trip(tmp_path):
    text = "input_path,golden_path,label,object_name,extra\n001,g,PASS,007,NA\n"
    table = read_table(write_text_atomic(tmp_path / "t.csv", text))
    assert table.loc[0, "object_name"] == "007" and table.loc[0, "extra"] == "NA"
    write_table(table, tmp_path / "u.csv")
    assert (tmp_path / "u.csv").read_text() == text
    ordered = in_contract_order(table)
    assert list(ordered.columns) == [*COLUMNS, "extra"]
    assert ordered.loc[0, "boardname"] == ""


@given(st.text(min_size=1, max_size=12))
def test_cleaning_a_label_twice_changes_nothing(label):
    assert clean_label(clean_label(label)) == clean_label(label)


def test_pass_is_kept_and_others_are_lowered():
    assert clean_label("PASS") == "PASS"
    assert clean_label("  Excess_Solder ") == "excess_solder"


def test_picture_names_follow_tao():
    assert image_file("r", "d", "R3@1", "SolderLight", ".jpg").as_posix() == (
        "r/d/R3@1_SolderLight.jpg"
    )
    assert image_file("r", "d", "R3@1", "", ".png").as_posix() == "r/d/R3@1.png"


@pytest.mark.parametrize(
    ("cell", "folder"),
    [("images/R821@1_SolderLight.jpg", "images"), ("images/b7", "images/b7"), ("x.PNG", ".")],
)
def test_pool_cells_that_name_a_file_give_its_folder(cell, folder):
    assert split_pool_cell(cell)[0] == folder


def test_joining_keeps_parent_steps_visible():
    assert join("kpi/images", "./b//c/") == "kpi/images/b/c"
    assert join("kpi/images", "../../etc") == "kpi/images/../../etc"


def test_paths_that_leave_the_workspace_are_refused(tmp_path):
    assert inside(tmp_path, "a/b") == tmp_path.resolve() / "a/b"
    (tmp_path / "link").symlink_to("/etc")
    for bad in ("../x", "/etc/passwd", "a/../../x", "link/passwd"):
        with pytest.raises(HardStop) as stop:
            inside(tmp_path, bad)
        assert stop.value.code == "path_escape"


def test_a_failed_write_leaves_the_old_file_and_no_scrap(tmp_path):
    path = write_text_atomic(tmp_path / "f.json", "old")
    from deft.core.files import replace_atomically

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        replace_atomically(path, broken)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]
