"""The pre-flight names what import_table reads, what it has made, and what changed since."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from odd_tables import workbook
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.layout import KPI_TABLE, POOL_TABLE
from deft.importers.table_files import import_tables
from deft.preflight.check import Context
from deft.preflight.checks_inputs import checks as input_checks
from deft.preflight.checks_tables import checks, in_source
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table, write_table
from deft.tables.foreign.grid import Reading
from deft.tables.foreign.record import GIVEN, RECORD


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a tiny workspace."""
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)


def found(workspace: Path, **settings) -> dict:
    config = resolve({"import_table": settings})
    ctx = Context(workspace, workspace / "results/run_1", config, {}, print)
    made = [*input_checks(ctx), *checks(ctx)]
    return {check.id: in_source(ctx, check) for check in made}


def excel(table: Path, read: pd.DataFrame, above: int = 2) -> Path:
    rows = [["Line 7"], *[[]] * (above - 1), list(read.columns), *read.to_numpy().tolist()]
    return workbook(table.with_suffix(".xlsx"), {"s": rows})


def test_a_table_that_only_import_table_reads_stops_with_that_advice(workspace):
    table = workspace / KPI_TABLE
    write_table(read_table(table), table)
    table.write_text(table.read_text().replace(",", ";"))
    check = found(workspace)["table_kpi"]
    assert check.status == "stop" and "separated by ';'" in check.evidence
    assert "import_table reads it: ';' separated, UTF-8, 8 rows:" in check.evidence
    assert check.fix.endswith("snakemake import_table")
    import_tables(workspace, Reading())
    checks_now = found(workspace)
    assert checks_now["table_kpi"].status == "ok"
    assert f"from kpi/testing_set{GIVEN}" in checks_now["table_kpi_made"].evidence


def test_a_workbook_in_the_pools_place_is_seen(workspace):
    table = workspace / POOL_TABLE
    excel(table, read_table(table))
    table.unlink()
    check = found(workspace)["table_pool"]
    assert (
        check.stop.code == "pool_missing" and "mining_pool.xlsx stands beside it" in check.evidence
    )
    assert "header in row 3" in check.evidence


def test_labels_of_a_machine_are_told_and_advised(workspace):
    table = workspace / KPI_TABLE
    read = read_table(table)
    write_table(read.assign(label=read["label"].replace("PASS", "OK")), table)
    made = found(workspace)
    assert made["table_kpi_labels"].status == "warn" and "'OK'" in made["table_kpi_labels"].evidence
    assert made["kpi_classes"].status == "stop" and "import_table.labels" in made["kpi_classes"].fix
    write_table(read.assign(label=read["label"].replace("PASS", "OK")), table)
    table.write_text(table.read_text().replace(",", ";"))
    assert "import_table.labels: {OK: PASS}" in found(workspace)["table_kpi"].fix
    assert "OK→PASS" in found(workspace, labels={"OK": "PASS"})["table_kpi"].evidence


@pytest.mark.parametrize("label", ["Gut", "i.O.", "NoFault", "良品", "false", "N/A", "?"])
def test_a_word_for_a_good_part_or_none_is_told_until_its_meaning_is(workspace, label):
    table = workspace / KPI_TABLE
    read = read_table(table)
    write_table(read.assign(label=read["label"].replace("missing", label)), table)
    check = found(workspace)["table_kpi_labels"]
    assert check.status == "warn" and f"{label!r} (" in check.evidence
    assert f"say what {label!r} means" in check.fix
    assert "table_kpi_labels" not in found(workspace, labels={label: label})


def test_a_stop_names_the_row_of_the_users_own_file(workspace):
    table = workspace / KPI_TABLE
    read = read_table(table)
    read.loc[4, "input_path"] = "../../../elsewhere"
    excel(table, read)
    table.unlink()
    import_tables(workspace, Reading())
    check = found(workspace)["table_kpi"]
    assert check.stop.rows == [6] and "(made from kpi/testing_set.xlsx, row 8)" in check.evidence


def test_what_changed_since_is_told(workspace):
    table = workspace / KPI_TABLE
    source = excel(table, read_table(table))
    table.unlink()
    import_tables(workspace, Reading())
    assert found(workspace)["table_kpi_made"].status == "ok"
    told = found(workspace, labels={"OK": "PASS"})["table_kpi_made"]
    assert told.status == "warn" and "settings import_table have changed" in told.evidence
    excel(table, read_table(table), above=3)
    told = found(workspace)["table_kpi_made"]
    assert told.status == "warn" and "testing_set.xlsx has changed" in told.evidence
    source.unlink()  # the strict table is all that a run needs
    assert found(workspace)["table_kpi_made"].status == "ok"
    write_table(read_table(table)[::-1], table)
    told = found(workspace)["table_kpi_made"]
    assert told.status == "warn" and "changed by hand" in told.evidence


def test_a_spoiled_record_stops(workspace):
    (workspace / RECORD).write_text(json.dumps({"tables": {"kpi": 3}}))
    with pytest.raises(HardStop, match="tables.kpi is a whole number"):
        found(workspace)
