"""Which golden is looked at beside a part."""

from pathlib import Path

import pandas as pd
import pytest

from deft.assembly.assemble import check_pictures_exist
from deft.core.errors import HardStop
from deft.tables.goldens import Goldens


def pictures(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_one_golden_has_the_parts_name(tmp_path):
    pictures(tmp_path, "g/other_A.png")
    goldens = Goldens(tmp_path, ["A"], ".png")
    assert goldens.beside("g", "part") == "part" and goldens.all_of("g", "part") == ["part"]


def test_of_several_the_parts_own_or_the_first_in_order(tmp_path):
    pictures(tmp_path, "g/b_A.png", "g/a_A.png", "g/part_A.png", "g/0_B.png", "g/00_A.jpg")
    goldens = Goldens(tmp_path, ["A", "B"], ".png", 2)
    assert goldens.all_of("g", "x") == ["a", "b", "part"]  # by the files of the first light
    assert goldens.beside("g", "part") == "part" and goldens.beside("g", "x") == "a"
    assert goldens.file("g", "x", "B") == tmp_path / "g/a_B.png"
    assert goldens.file(str(tmp_path / "g"), "x", "A") == tmp_path / "g/a_A.png"


def test_a_folder_that_is_gone_leaves_the_parts_name(tmp_path):
    goldens = Goldens(tmp_path, [""], ".png", 3)
    assert goldens.all_of("gone", "part") == [] and goldens.beside("gone", "part") == "part"


def test_the_training_table_may_name_goldens_of_any_name(tmp_path):
    pictures(tmp_path, "in/p_A.png", "in/q_A.png", "g/a_A.png", "g/b_A.png")
    rows = [("in", "g", "pass", "p"), ("in", "g", "ng", "q")]
    table = pd.DataFrame(rows, columns=["input_path", "golden_path", "label", "object_name"])
    check_pictures_exist(table, "t.csv", tmp_path, ["A"], ".png", 2)
    with pytest.raises(HardStop, match="num_golden is 3, but golden_path g holds 2") as stop:
        check_pictures_exist(table, "t.csv", tmp_path, ["A"], ".png", 3)
    assert stop.value.code == "csv_invalid"
    with pytest.raises(HardStop, match="named by golden_path do not exist; first: .*g/p_A"):
        check_pictures_exist(table, "t.csv", tmp_path, ["A"], ".png")
    with pytest.raises(HardStop, match="named by golden_path do not exist; first: .*g/a_B"):
        pictures(tmp_path, "in/p_B.png", "in/q_B.png", "g/b_B.png")
        check_pictures_exist(table, "t.csv", tmp_path, ["A", "B"], ".png", 2)
    with pytest.raises(HardStop) as outside:
        check_pictures_exist(table.assign(golden_path="../g"), "t.csv", tmp_path, ["A"], ".png", 2)
    assert outside.value.code == "path_escape"
