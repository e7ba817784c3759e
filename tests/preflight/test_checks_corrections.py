"""What the pre-flight says of corrections.csv: new labels that may be a slip, new counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_workspace import make_tiny_workspace

from deft.core.layout import CORRECTIONS, KPI_TABLE
from deft.preflight import checks_corrections, checks_inputs
from deft.preflight.check import OK, WARN, Check, Context
from deft.preflight.run import run_preflight
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table

CONFIG = {"encoder": "changenet", "device": "cpu"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_tiny_workspace(tmp_path / "w", base=4, validation=4, kpi=6, pool=6, pregen=2)


def correct(workspace: Path, *verdicts: str) -> None:
    """Write one line for each of the first KPI rows: verdict and new label."""
    rows = read_table(workspace / KPI_TABLE)
    lines = ["table,input_path,object_name,verdict,new_label"] + [
        f"kpi,{rows['input_path'][i]},{rows['object_name'][i]},{told}"
        for i, told in enumerate(verdicts)
    ]
    (workspace / CORRECTIONS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def found(workspace: Path, **config) -> dict[str, Check]:
    settings = resolve({**CONFIG, **config})
    ctx = Context(workspace, workspace / "results/run_1", settings, {}, print)
    list(checks_inputs.checks(ctx))
    return {check.id: check for check in checks_corrections.checks(ctx)}


@pytest.mark.parametrize("label", ["OK", "合格", "unknown"])
def test_a_new_label_that_may_mean_a_good_part_is_a_warning(workspace: Path, label: str) -> None:
    correct(workspace, "leave_out,", f"label_wrong,{label}")
    check = found(workspace)[f"corrections_label:{label}"]
    assert check.status == WARN and f"row 3 of {CORRECTIONS}" in check.evidence
    assert f"{label!r} would be taken for a defect" in check.evidence
    meant = found(workspace, import_table={"labels": {label: label}})
    assert "no table has" in meant[f"corrections_label:{label}"].evidence


def test_a_new_label_that_no_table_has_is_a_warning_with_the_nearest(workspace: Path) -> None:
    correct(workspace, "label_wrong,brigde", "label_wrong,Missing", "label_wrong,PASS")
    told = found(workspace)
    assert set(told) == {"corrections", "corrections_label:brigde"}
    check = told["corrections_label:brigde"]
    assert "no table has the new_label 'brigde'" in check.evidence
    assert check.status == WARN and "is 'bridge' meant?" in check.fix


def test_the_terminal_says_what_changes(workspace: Path) -> None:
    before = read_table(workspace / KPI_TABLE)["label"].tolist()
    assert before[:3] == ["bridge", "PASS", "PASS"]
    correct(workspace, "label_wrong,PASS", "label_right,", "leave_out,")
    told: list[str] = []
    run_preflight(
        workspace, workspace / "results/run_1", resolve(CONFIG), sources={}, log=told.append
    )
    line = f"Corrections: 3 line(s) of {CORRECTIONS}; kpi: 1 left out, 1 relabelled (the decision"
    assert line in told[-1]
    dataset = told[-1].split("## Dataset")[1].split("## Augmentation")[0].splitlines()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in dataset if "|" in row]
    names = [row[0] for row in rows]
    kpi, after = (rows[names.index(name)] for name in ("kpi", "corrected"))
    assert names.index("corrected") == names.index("kpi") + 1 and after[1] == CORRECTIONS
    assert [int(after[i]) - int(kpi[i]) for i in (2, 3, 4)] == [-1, 0, -1]
    assert found(workspace)["corrections"].status == OK
