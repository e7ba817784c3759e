"""A workspace's tables from files as people have them: made once, recorded, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from odd_tables import HEADER, ROWS, text_of, workbook

from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.layout import TABLES
from deft.importers.table_files import import_tables
from deft.tables.changenet_table import read_table
from deft.tables.foreign.grid import Reading
from deft.tables.foreign.record import GIVEN, RECORD, read_record, row_runs, source_row

KPI = TABLES["kpi"]
GERMAN = text_of([HEADER, *ROWS], ";", "\r\n").encode("utf-8-sig")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a workspace whose four tables are strict."""
    for name in TABLES.values():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text_of([HEADER, *ROWS]))
    return tmp_path


def state(workspace: Path) -> dict[str, str]:
    return {
        str(p.relative_to(workspace)): sha256_file(p) for p in workspace.rglob("*") if p.is_file()
    }


def refused(workspace: Path, reading: Reading | None = None) -> HardStop:
    before = state(workspace)
    with pytest.raises(HardStop) as caught:
        import_tables(workspace, reading or Reading())
    assert state(workspace) == before
    return caught.value


def test_strict_tables_stay_as_they_are(workspace):
    before = state(workspace)
    lines = import_tables(workspace, Reading())
    assert state(workspace) == before
    assert len(lines) == 4 and all("is read as it is" in line for line in lines)


@pytest.mark.parametrize("files", [{}, {"kpi": KPI}, {"kpi": "export.csv"}])
def test_settings_of_one_export_leave_strict_tables_as_they_are(workspace, files):
    """Only the KPI table comes from a machine; the others were made by import_folder."""
    place = workspace / files.get("kpi", KPI)
    (workspace / KPI).unlink()
    theirs = ["Bild", "Golden", "Ergebnis", "RefDes"]
    text = text_of([["Linie 7"], [], theirs, *ROWS], ";")
    place.write_text(text, encoding="cp1252")
    before = state(workspace)
    columns = dict(zip(HEADER, theirs, strict=True))
    reading = Reading(files, columns, encoding="cp1252", separator=";", header_row=3)
    lines = import_tables(workspace, reading)
    assert sum("is read as it is" in line for line in lines) == 3
    assert read_table(workspace / KPI)[HEADER].to_numpy().tolist() == ROWS
    others = {name: sha for name, sha in before.items() if name != KPI}
    assert {name: state(workspace)[name] for name in others} == others
    assert len(import_tables(workspace, reading)) == 4


def windows(root: str) -> str:
    rows = [[rf"{root}\{row[0]}", rf"{root}\{row[1]}", *row[2:]] for row in ROWS]
    return text_of([HEADER, *rows], ";")


def test_what_stands_before_the_picture_folder_is_taken_off(workspace):
    (workspace / KPI).write_text(windows(r"C:\AOI\Linie 7"))
    stop = refused(workspace)
    assert stop.rows == list(range(2, 2 + len(ROWS)))
    assert f"{2 * len(ROWS)} path(s) are of another machine" in stop.message
    assert stop.fix.endswith("import_table.strip_prefix: 'C:/AOI/Linie 7'")
    refused(workspace, Reading(strip_prefix=r"C:\AOI\Linie"))
    lines = import_tables(workspace, Reading(strip_prefix="c:\\aoi\\linie 7\\"))
    assert f"c:/aoi/linie 7 taken off ({2 * len(ROWS)})" in lines[-1]
    assert read_table(workspace / KPI)[HEADER].to_numpy().tolist() == ROWS


def test_the_prefix_of_a_share(workspace):
    (workspace / KPI).write_text(windows(r"\\aoi\pictures"))
    assert refused(workspace).fix.endswith("'//aoi/pictures'")
    import_tables(workspace, Reading(strip_prefix=r"\\AOI\pictures"))
    assert read_table(workspace / KPI)[HEADER].to_numpy().tolist() == ROWS


def test_a_prefix_of_this_machine_keeps_its_case(workspace):
    rows = [[f"/mnt/aoi/{row[0]}", "/mnt/aoi/", *row[2:]] for row in ROWS]
    (workspace / KPI).write_text(text_of([HEADER, *rows], ";"))
    other = Reading(strip_prefix="/mnt/AOI")
    assert "taken off" not in import_tables(workspace, other)[-1]
    import_tables(workspace, Reading(strip_prefix="/mnt/aoi/"))
    read = read_table(workspace / KPI)
    assert read["input_path"].tolist() == [row[0] for row in ROWS]
    assert set(read["golden_path"]) == {"."}


def test_columns_that_a_strict_table_has_in_part_are_refused(workspace):
    rows = [[*HEADER, "RefDes"], *[[*row, "x"] for row in ROWS]]
    (workspace / KPI).write_text(text_of(rows))
    stop = refused(workspace, Reading(columns={"object_name": "RefDes", "label": "Ergebnis"}))
    assert "columns names label: Ergebnis, which no header has" in stop.message


def test_a_table_in_the_strict_ones_place_is_kept_beside_it(workspace):
    (workspace / KPI).write_bytes(GERMAN)
    lines = import_tables(workspace, Reading())
    kept = (workspace / KPI).with_name("testing_set" + GIVEN)
    assert kept.read_bytes() == GERMAN
    assert read_table(workspace / KPI)[HEADER].to_numpy().tolist() == ROWS
    entry = read_record(workspace)["kpi"]
    assert entry["source"] == "kpi/testing_set.given.csv"
    assert "kpi: kpi/testing_set.given.csv → kpi/testing_set.csv: ';' separated" in lines[-1]
    before = state(workspace)
    import_tables(workspace, Reading())
    assert state(workspace) == before


def test_a_command_that_was_killed_between_its_writings_goes_on(workspace):
    kept = (workspace / KPI).with_name("testing_set" + GIVEN)
    (workspace / KPI).write_bytes(GERMAN)
    kept.write_bytes(GERMAN)  # before the table
    import_tables(workspace, Reading())
    done = state(workspace)
    (workspace / RECORD).unlink()  # before the record
    import_tables(workspace, Reading())
    assert state(workspace) == done


def test_a_changed_source_is_read_again_and_a_changed_table_is_not_written_over(workspace):
    (workspace / KPI).unlink()
    source = workbook(workspace / "kpi/testing_set.xlsx", {"s": [HEADER, *ROWS]})
    import_tables(workspace, Reading())
    workbook(source, {"s": [HEADER, *ROWS, ["board9", "golden7", "PASS", "R9"]]})
    import_tables(workspace, Reading())
    assert read_table(workspace / KPI)["object_name"].tolist()[-1] == "R9"
    (workspace / KPI).write_text(text_of([HEADER, *ROWS[:2]]))
    stop = refused(workspace)
    assert "was not made from kpi/testing_set.xlsx, or changed since" in stop.message


def test_a_file_beside_a_strict_table_is_left_and_two_files_are_not_chosen_from(workspace):
    workbook(workspace / "kpi/testing_set.xlsx", {"s": [HEADER, *ROWS]})
    assert all("is read as it is" in line for line in import_tables(workspace, Reading()))
    (workspace / KPI).write_bytes(GERMAN)
    stop = refused(workspace)
    assert "2 files may be the table 'kpi'" in stop.message and "import_table.files" in stop.fix
    stop = refused(workspace, Reading(files={"kpi": "kpi/testing_set.xlsx"}))
    assert stop.file == str(workspace / KPI)
    import_tables(workspace, Reading(files={"kpi": KPI}))
    assert read_record(workspace)["kpi"]["source"] == "kpi/testing_set.given.csv"


def test_strict_text_with_labels_of_a_machine_is_made_anew_or_refused(workspace):
    ok = text_of([HEADER, ["b", "g", "OK", "R1"], ["b", "g", "NG", "R2"]])
    (workspace / KPI).write_text(ok)
    assert "'OK' (1 rows) may mean a good part" in refused(workspace).message
    reading = Reading(labels={"OK": "PASS", "NG": "defect"})
    import_tables(workspace, reading)
    assert read_table(workspace / KPI)["label"].tolist() == ["PASS", "defect"]
    assert read_record(workspace)["kpi"]["settings"] == {"labels": dict(reading.labels)}
    assert read_record(workspace)["kpi"]["labels"] == {"NG→defect": 1, "OK→PASS": 1}


def test_nothing_is_written_when_one_of_the_files_is_refused(workspace):
    (workspace / KPI).write_bytes(GERMAN)
    (workspace / TABLES["pool"]).write_text(text_of([HEADER, ["b", "g", "#N/A", "R"]], ";"))
    assert refused(workspace).file.endswith("mining_pool.csv")


def test_a_file_that_is_named_and_not_there_is_told(workspace):
    stop = refused(workspace, Reading(files={"kpi": "~nobody/kpi.xlsx"}))
    assert stop.code == "missing_input"


@pytest.mark.parametrize("text", ["{", "[]", '{"tables": {"kpi": {"source": 3}}}'])
def test_a_spoiled_record_is_told(workspace, text):
    (workspace / RECORD).write_text(text)
    assert "delete it" in refused(workspace).fix


def test_runs_of_rows_lead_back_to_each_row():
    numbers = [4, 5, 9, 10, 12]
    runs = row_runs(numbers)
    assert [source_row(runs, line) for line in range(2, 7)] == numbers
    assert json.loads(json.dumps(runs)) == [[2, 4], [4, 9], [6, 12]]
