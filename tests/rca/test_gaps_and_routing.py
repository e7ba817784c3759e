"""Weakness signs, weak samples per label, routes and the silent drop."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.core.errors import HardStop
from deft.rca.analysis import CAUSES, GAP_COLUMNS, write_gaps
from deft.rca.routing import route_by_label, route_pregen, summary_text
from deft.rca.weakness import misclassified, weak_samples, weakness


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 1, width=32),
)
def test_misclassified_samples_are_on_the_wrong_side(rows, threshold):
    scores = np.array([r[0] for r in rows])
    ng = np.array([r[1] for r in rows])
    weak, wrong = weakness(scores, ng, threshold), misclassified(scores, ng, threshold)
    for score, is_ng, w, bad in zip(scores, ng, weak, wrong, strict=True):
        # The score alone decides: an NG exactly at the threshold is missed with weakness 0.
        assert bad == (bool(np.float32(score) > np.float32(threshold)) != is_ng)
        assert w == pytest.approx((threshold - score) if is_ng else (score - threshold), abs=1e-6)
        assert (w >= 0) if bad else (w <= 0)


def table():
    return pd.DataFrame(
        {
            "label": ["PASS", "bridge", "PASS", "bridge", "bridge", "PASS"],
            "siamese_score": [0.9, 0.1, 0.2, 0.8, 0.1, 0.9],
        }
    )


def test_the_weakest_of_each_label_are_kept_and_ties_go_to_the_earlier_row():
    weak = weak_samples(table(), 0.5, 2)
    assert weak["row"].tolist() == [0, 5, 1, 4]
    assert weak["misclassified"].tolist() == [True] * 4
    assert len(weak_samples(table(), 0.5, 50)) == 6


def gaps(labels):
    return pd.DataFrame({"filepath": [f"/{i}" for i in range(len(labels))], "label": labels})


def test_pregen_sends_everything_to_mining():
    routes = route_pregen(gaps(["PASS", "shift"]))
    assert len(routes.mining) == 2 and routes.anomalygen.empty
    assert list(routes.anomalygen.columns) == list(routes.mining.columns)


def test_labels_are_routed_by_what_pool_and_generator_have():
    routes = route_by_label(gaps(["PASS", "Bridge", "shift"]), {"shift", "PASS"}, ["BRIDGE"], [])
    assert set(routes.mining["label"]) == {"PASS", "shift"}
    assert set(routes.anomalygen["label"]) == {"Bridge"}
    shown = routes.summary.set_index("label")
    assert (shown.loc["Bridge", "mining"], shown.loc["Bridge", "anomalygen"]) == ("no", "yes")
    told = summary_text(routes, "by_label", "a/mining.parquet", "a/generated.parquet")
    assert "  Bridge: 1 (mining=no, anomalygen=yes)\n" in told
    assert "Mining subset:      2 -> a/mining.parquet\n" in told


def test_a_label_that_goes_nowhere_is_a_silent_drop_unless_allowed():
    with pytest.raises(HardStop) as stop:
        route_by_label(gaps(["PASS", "tombstone"]), {"PASS"}, ["PASS"], [])
    assert stop.value.code == "silent_drop" and "TOMBSTONE" in str(stop.value)
    routes = route_by_label(gaps(["PASS", "tombstone"]), {"PASS"}, ["PASS"], ["Tombstone"])
    assert len(routes.mining) == 1


def test_gaps_of_an_earlier_version_are_routed_with_an_empty_column_of_causes(tmp_path) -> None:
    columns = [name for name in GAP_COLUMNS if name != CAUSES]
    old = pd.DataFrame([dict.fromkeys(columns, "x") | {"row": 3}])
    old = old.assign(siamese_score=0.5, weakness=0.1)
    write_gaps(tmp_path / "gaps.parquet", old)
    found = pd.read_parquet(tmp_path / "gaps.parquet")
    assert list(found.columns) == list(GAP_COLUMNS) and found[CAUSES].tolist() == [""]
