"""`import_table` works on the tables alone and begins no run; weak and mined rows leave a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_tables import workbook
from workflow_tools import RUN, changes, snakemake, succeed, tree

import export_rows
from deft.core.layout import KPI_TABLE, POOL_TABLE, Run
from deft.settings.workspace_file import SETTINGS_FILE
from deft.tables.changenet_table import read_table

pytestmark = pytest.mark.workflow


def test_tables_as_people_have_them_are_made_strict_and_no_run_begins(fresh: Path) -> None:
    kpi, pool = fresh / KPI_TABLE, fresh / POOL_TABLE
    was, had = read_table(kpi), read_table(pool)
    given = was.assign(label=was["label"].replace("PASS", "OK")).to_csv(index=False, sep=";")
    kpi.write_text(given, encoding="utf-16")
    workbook(pool.with_suffix(".xlsx"), {"Pool": [list(had.columns), *had.to_numpy().tolist()]})
    pool.unlink()
    (fresh / SETTINGS_FILE).write_text("import_table:\n  labels: {OK: PASS}\n", encoding="utf-8")
    before = tree(fresh)
    output = succeed(snakemake(fresh, "import_table", config={"run": None}))
    assert "';' separated, UTF-16" in output and "OK→PASS" in output and "sheet 'Pool'" in output
    assert set(changes(before, tree(fresh))) == {
        KPI_TABLE,
        "kpi/testing_set.given.csv",
        POOL_TABLE,
        "table_sources.json",
        "logs/import_table.log",
    }
    assert read_table(kpi).equals(was) and read_table(pool).equals(had)


def test_weak_and_mined_rows_of_the_current_run_go_to_every_tool(workspace, tmp_path, capsys):
    for what, phase in (("weak", "baseline"), ("mined", "iter1")):
        for to in sorted(export_rows.WRITERS):
            out = tmp_path / f"{what}_{to}"
            typed = [what, to, "--workspace", str(workspace), "--phase", phase, "--out", str(out)]
            args = export_rows.options().parse_args(typed)
            export_rows.body(args, Run(args.workspace, args.run or ""))
            told = capsys.readouterr().out
            assert f"{what} pictures of {phase}" in told and any(out.iterdir())
    assert (workspace / "results" / RUN).is_dir()
