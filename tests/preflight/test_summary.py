"""The summary lines up in a terminal and shows every parameter's source."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.preflight.approval import approve, gate
from deft.preflight.run import run_preflight
from deft.preflight.summary import aligned, labels_text
from deft.settings.config import resolve, sources

CELLS = st.text(st.characters(codec="ascii", exclude_categories=("Cc",)), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_columns_line_up(rows):
    lines = aligned(("a", "b"), rows)
    assert len({len(line) for line in lines}) == 1
    assert all(line.count("|") == 3 for line in lines)


def test_many_labels_are_cut():
    text = labels_text({"PASS": 3, **{f"d{i}": 1 for i in range(9)}})
    assert text.startswith("d0 1") and text.endswith("and 3 more")
    assert labels_text({"PASS": 3}) == "-"


def test_four_tables_and_the_source_of_every_parameter(tmp_path):
    workspace = make_tiny_workspace(tmp_path, base=4, validation=3, kpi=6, pool=6, pregen=2)
    config = resolve({"encoder": "changenet", "top_k_per_target": 7})
    summary = run_preflight(
        workspace,
        workspace / "results/run_1",
        config,
        sources=sources(config, set()),
        log=lambda _: None,
    ).summary
    for title in ("Run config", "Dataset", "Augmentation", "Images", "Checks", "Resume"):
        assert f"## {title}" in summary
    row = {line.split("|")[1].strip(): line for line in summary.splitlines() if "|" in line}
    assert [c.strip() for c in row["top_k_per_target"].split("|")[2:4]] == ["7", "user"]
    assert [c.strip() for c in row["min_similarity"].split("|")[2:4]] == ["0.9", "default"]
    assert [c.strip() for c in row["training_epochs"].split("|")[2:4]] == ["2", "spec"]


def test_the_target_stands_first_as_it_was_read(tmp_path):
    workspace = make_tiny_workspace(tmp_path, base=8, validation=4, kpi=6, pool=6, pregen=2)
    config = resolve({"encoder": "changenet", "kpi": "FAR < 50ppm at recall=99,5%"})
    told = []
    first = run_preflight(
        workspace, workspace / "results/run_1", config, sources={}, log=lambda _: None
    ).summary.splitlines()
    assert first[2] == "Target: FAR < 0.005 % (50 ppm) while recall ≥ 99.5 %"
    approve(workspace, workspace / "results/run_1", config, sources={}, log=told.append)
    assert told[0] == "approved: FAR < 0.005 % (50 ppm) while recall ≥ 99.5 %"
    config |= {"approve": True, "kpi": "FAR <= 1/500"}
    gate(workspace, workspace / "results/run_1", config, sources={}, log=told.append)
    assert told[-1].endswith("FAR ≤ 0.2 % while recall ≥ 100 %")


def made(workspace, *changes):
    """Return the pre-flight of a tiny workspace: result, what the terminal showed, run folder."""
    config, told = resolve({"encoder": "changenet", "top_k_per_target": 7}), []
    run_dir = workspace / "results/run_1"
    for change in changes:
        change(workspace)
    settled = sources(config, set())
    try:
        run_preflight(workspace, run_dir, config, sources=settled, log=told.append)
    except HardStop:
        pass
    return (run_dir / "preflight/summary.md").read_text(), told[-1], run_dir


def test_the_terminal_shows_what_a_decision_needs(tmp_path):
    sizes = {"base": 4, "validation": 3, "kpi": 6, "pool": 6, "pregen": 2}
    whole, shown, run_dir = made(make_tiny_workspace(tmp_path, **sizes))
    assert shown.index("## Warnings") < shown.index("## Run config") < shown.index("## Dataset")
    assert "top_k_per_target" in shown and "min_similarity" not in shown.split("## Dataset")[0]
    assert "min_similarity" in whole and "## Checks" in whole and "## Checks" not in shown
    assert f"All settings and checks: {run_dir}/preflight/summary.md" in shown
    counts = "[0-9]+ ok, [0-9]+ warnings?, 0 stops"
    assert re.fullmatch(counts, shown.splitlines()[-1])
    assert shown.splitlines()[-1] == whole.splitlines()[-1]


def test_stops_come_first(tmp_path):
    def no_kpi(workspace):
        (workspace / "kpi/testing_set.csv").unlink()

    _, shown, _ = made(make_tiny_workspace(tmp_path, base=4, validation=3, kpi=6), no_kpi)
    assert shown.index("## Stops") < shown.index("## Warnings") < shown.index("## Run config")
    assert re.search(r", [1-9]\d* stops?$", shown.splitlines()[-1])


def test_suspicious_pairs_are_shown_as_pictures(tmp_path):
    sizes = {"base": 4, "validation": 3, "kpi": 6, "pool": 6, "pregen": 2}

    def copied(workspace):  # a picture of the pool becomes one of the KPI set
        pool = sorted((workspace / "augmentation/mining_pool/images").glob("*.png"))
        kpi = sorted((workspace / "kpi/images/kpi").rglob("*.png"))
        pool[0].write_bytes(kpi[0].read_bytes())

    _, shown, run_dir = made(make_tiny_workspace(tmp_path, **sizes), copied)
    page = (run_dir / "preflight/pairs.html").read_text()
    assert f"suspicious pairs, side by side: {run_dir}/preflight/pairs.html" in shown
    assert page.count("data:image/jpeg") >= 2 and "leakage_pool_kpi" in page
    assert "http" not in page and "<script" not in page
    made(make_tiny_workspace(tmp_path, **sizes))  # mended
    assert not (run_dir / "preflight/pairs.html").exists()


def test_goldens_and_pre_generated_pairs_that_show_nothing_are_shown(tmp_path):
    sizes = {"base": 4, "validation": 3, "kpi": 6, "pool": 6, "pregen": 2}

    def copied(workspace):
        kpi = sorted((workspace / "kpi/images/kpi").rglob("*.png"))
        golden = workspace / "kpi/images/golden"
        same = next(p for p in kpi if (golden / p.parent.name / p.name).is_file())
        (golden / same.parent.name / same.name).write_bytes(same.read_bytes())
        ng = sorted((workspace / "augmentation/anomalygen/reconstructed_image").iterdir())
        good = workspace / "augmentation/anomalygen/original_image"
        (good / ng[0].name).write_bytes(ng[0].read_bytes())
        ng[1].write_bytes(kpi[1].read_bytes())

    _, _, run_dir = made(make_tiny_workspace(tmp_path, **sizes), copied)
    page = (run_dir / "preflight/pairs.html").read_text()
    for check, words in (
        ("pictures_kpi_golden", "its own golden"),
        ("pregen_alike", "a pre-generated defect that shows none"),
        ("leakage_pregen", "pre-generated, and kpi row"),
    ):
        assert f"<b>{check}</b>" in page and words in page
    assert "not shown" not in page
    told = json.loads((run_dir / "preflight/checks.json").read_text())["checks"]
    checks = {check["id"]: check for check in told}
    assert checks["pregen_alike"]["status"] == "warn"
    assert "1 pre-generated pair(s)" in checks["pregen_alike"]["evidence"]
