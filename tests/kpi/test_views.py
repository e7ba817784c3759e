"""A phase's KPI by further views of its parts, from the scores that the inference wrote down."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from changenet_pairs import COLUMNS

from deft.core.errors import HardStop
from deft.kpi.operating_point import at_recall, sweep
from deft.kpi.steady import far_geometric_mean_pct
from deft.kpi.views import views_of_phase, views_text

RECORD = "inference.json"


def a_table(path, scores, ng):
    rows = [("in", "gold", "bridge" if bad else "PASS", f"p{i}") for i, bad in enumerate(ng)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.assign(siamese_score=[repr(float(str(s))) for s in scores]).to_csv(path, index=False)
    return path


@pytest.fixture
def phase(tmp_path):
    """Return (table, record's content, scores of one view, of turns, which rows are defects)."""
    rng = np.random.default_rng(4)
    ng = np.arange(60) % 3 == 0
    one = (0.5 * rng.random(60) + 0.3 * ng).astype(np.float32)
    turns = (0.3 * rng.random(60) + 0.4 * ng).astype(np.float32)
    told = {"passes": 4, "scores": [float(str(s)) for s in turns]}
    record = {"score_views": "one", "passes": 1, "kinds": {"latest": {"views": {"turns": told}}}}
    return a_table(tmp_path / "inference.csv", one, ng), record, one, turns, ng


def test_each_kind_of_views_has_its_own_operating_point(phase, tmp_path):
    table, record, one, turns, ng = phase
    found = views_of_phase(table, tmp_path / RECORD, record, "latest", 0.95)
    assert list(found) == ["one", "turns"]
    for name, scores, passes in (("one", one, 1), ("turns", turns, 4)):
        told = found[name]
        assert told["passes"] == passes
        assert told["recall_point"] == at_recall(sweep(scores, ng), 0.95)
        assert told["far_at_recall"]["100"] == at_recall(sweep(scores, ng), 1.0)
        assert told["far_geometric_mean_pct"] == far_geometric_mean_pct(scores, ng)
        cut = told["recall_point"]["threshold"]
        assert np.array_equal(scores > np.float32(told["threshold_to_set"]), scores > cut)
    far = [found[name]["recall_point"]["far_pct"] for name in ("one", "turns")]
    wanted = f"turns: FAR {far[0]:.4g} → {far[1]:.4g} %, 4 × the scoring time"
    assert views_text(found) == wanted and far[0] > far[1]


def test_rows_that_corrections_leave_out_leave_both(phase, tmp_path):
    table, record, _, turns, ng = phase
    kept = np.arange(60) % 7 != 2

    def correct(frame):
        return frame[kept]

    found = views_of_phase(table, tmp_path / RECORD, record, "latest", 1.0, correct)
    wanted = at_recall(sweep(turns[kept], ng[kept]), 1.0)
    assert found["turns"]["recall_point"] == wanted


def test_a_record_of_an_earlier_version_has_nothing_to_compare(phase, tmp_path):
    table, record, *_ = phase
    old = {"kinds": {"latest": {}}}
    assert views_of_phase(table, tmp_path / RECORD, old, "latest", 1.0) == {}
    record["kinds"]["latest"]["views"] = {}
    alone = views_of_phase(table, tmp_path / RECORD, record, "latest", 1.0)
    assert list(alone) == ["one"] and views_text(alone) == "" and views_text({}) == ""


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r["kinds"]["latest"]["views"]["turns"]["scores"].pop(), "59 scores of turns"),
        (lambda r: r["kinds"]["latest"].pop("views"), "kinds.latest.views is missing"),
        (lambda r: r.update(passes="four"), "passes is text"),
        (lambda r: r["kinds"]["latest"]["views"]["turns"].pop("passes"), "turns.passes is missing"),
        (
            lambda r: r["kinds"]["latest"]["views"]["turns"].update(scores=[None] * 60),
            r"turns.scores\[0\]",
        ),
    ],
)
def test_a_damaged_record_is_told(phase, tmp_path, spoil, words):
    table, record, *_ = phase
    spoil(record)
    with pytest.raises(HardStop, match=words) as stop:
        views_of_phase(table, tmp_path / RECORD, record, "latest", 1.0)
    assert stop.value.code == "missing_input"
