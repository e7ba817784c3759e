"""The tables by column and the score table, compared with a count by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fake_run import DEFECTS, FakeRun
from run_results import build_results

from deft.record import breakdown
from deft.record.lenient import load_run
from deft.record.numbers import Numbers
from deft.report.render import render_report
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import is_ng

pytestmark = pytest.mark.usefixtures("unsaved_charts")
TARGET = KpiTarget(10.0, 1.0, True, "")


def phase_with(run: FakeRun, **columns: list[str]):  # type: ignore[no-untyped-def]
    files = load_run(run.dir, run.workspace)
    best = files.best
    assert best is not None
    best.scores = best.scores.assign(**columns)
    return best


def test_groups_count_what_a_person_counts(built: dict[str, FakeRun]) -> None:
    n = len(pd.read_csv(built["finished"].workspace / "kpi/testing_set.csv"))
    kinds = [("chip", "ic", "coil", " ")[i % 4] for i in range(n)]
    phase = phase_with(built["finished"], part_type=kinds, comp_type_1=[k + "x" for k in kinds])
    out = Numbers()
    found = breakdown.groupings(phase, TARGET, out)
    assert [g.column for g in found] == ["label", "part_type"]  # comp_type_1 groups alike
    table = phase.scores
    rejected = table["siamese_score"].astype(np.float32) > np.float32(phase.point["threshold"])
    ng = table["label"].map(is_ng)
    shares = []
    for group in found[1].groups:
        mine = pd.Series(kinds, index=table.index).str.strip().replace("", "(none)") == group.value
        wanted = {
            "pass": int((mine & ~ng).sum()), "fp": int((mine & ~ng & rejected).sum()),
            "ng": int((mine & ng).sum()), "tp": int((mine & ng & rejected).sum()),
        }  # fmt: skip
        assert {k: out[f"{group.key}.{k}"] for k in wanted} == wanted
        shares.append(
            (wanted["fp"] + wanted["ng"] - wanted["tp"]) / (wanted["pass"] + wanted["ng"])
        )
        assert out[f"{group.key}.far_pct"] == 100 * wanted["fp"] / wanted["pass"]
        assert group.few_good == (0.05 ** (1 / wanted["pass"]) <= 0.9)
        assert group.few_defects == (wanted["ng"] < 59)
    assert shares == sorted(shares, reverse=True) and len(shares) == 4
    assert {g.value for g in found[0].groups} == {"PASS", *DEFECTS}


def test_of_many_groups_the_worst_are_shown(built: dict[str, FakeRun]) -> None:
    boards = [f"B{i // 8}" for i in range(199)]
    phase = phase_with(built["finished"], boardname=boards, project=[str(i) for i in range(199)])
    out = Numbers()
    found = {g.column: g for g in breakdown.groupings(phase, TARGET, out)}
    assert not found["boardname"].all and out[f"{found['boardname'].key}.groups"] == 25
    assert len(found["boardname"].groups) == breakdown.ROWS_SHOWN
    assert breakdown.MOST_GROUPS > 199 and "project" in found


def test_the_score_table_adds_up_and_notes_the_worst(built: dict[str, FakeRun]) -> None:
    run = built["finished"]
    results = build_results(run.dir, run.workspace)
    rows = [f"iter1.buckets.{i}" for i in range(breakdown.BUCKETS)]
    assert sum(results[f"{r}.pass"] for r in rows) == results["best.pass"]
    assert sum(results[f"{r}.ng"] for r in rows) == results["best.ng"]
    assert results[f"{rows[0]}.low"] == 0 and results[f"{rows[-1]}.high"] == 1
    phase = load_run(run.dir, run.workspace).best
    assert phase is not None
    found = breakdown.buckets(phase, Numbers())
    table = phase.scores
    lowest = table[table["label"] != "PASS"].nsmallest(1, "siamese_score").iloc[0]
    at = next(i for i, b in enumerate(found) if any(lowest["object_name"] in n for n in b.notes))
    assert found[at].key == f"iter1.buckets.{int(lowest['siamese_score'] * 10)}"
    html = render_report(run.dir, run.workspace).read_text()
    assert 'id="buckets"' in html and 'id="breakdown"' in html
    table = html[html.index('id="buckets"') :]
    table = table[: table.index("</section>")]
    assert ">Good parts</th>" in table and ">Defects</th>" in table
    assert "by their label" in table and "PASS<" not in table  # those are the model's decisions


def test_scores_beyond_one_are_divided_by_their_span(built: dict[str, FakeRun]) -> None:
    phase = phase_with(built["finished"])
    phase.scores["siamese_score"] = phase.scores["siamese_score"] * 7
    out = Numbers()
    breakdown.buckets(phase, out)
    assert out["iter1.buckets.9.high"] == phase.scores["siamese_score"].max()
    assert sum(v for k, v in out.items() if k.endswith((".pass", ".ng"))) == len(phase.scores)
