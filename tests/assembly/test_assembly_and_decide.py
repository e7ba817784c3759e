"""Row arithmetic, growth, provenance; the stop decision."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deft.assembly.assemble import assemble, check_arithmetic, check_growth, read_provenance
from deft.core.errors import HardStop
from deft.kpi.decision import best_phase, decide_kpi, decide_pool
from deft.kpi.operating_point import parse_kpi
from deft.tables.changenet_table import COLUMNS, in_contract_order, write_table


def rows(names, **extra):
    records = [{**dict.fromkeys(COLUMNS, ""), "label": "PASS", "object_name": n} for n in names]
    frame = pd.DataFrame(records, columns=list(COLUMNS), dtype=str)
    return in_contract_order(frame).assign(**extra)


def provenance(count):
    return pd.DataFrame(
        {"row": range(count), "source": "base_train", "provenance": "real", "iteration": 0}
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdef"), max_size=12), st.integers(1, 3))
def test_rows_in_equal_rows_out_plus_duplicates(mined, iteration):
    base = rows(["a", "b"])
    result = assemble(base, provenance(2), rows(mined, provenance="real"), iteration)
    facts = result.facts
    assert facts["previous_rows"] + len(mined) == facts["rows"] + facts["duplicates"]
    assert set(result.table["object_name"]) == {"a", "b", *mined}
    assert result.table["object_name"].is_unique
    assert len(result.provenance) == len(result.table)
    assert result.provenance["row"].tolist() == list(range(len(result.table)))
    assert result.table.iloc[:2].equals(base)


def test_sources_name_where_each_row_came_from():
    first = assemble(rows(["a"]), provenance(1), rows(["b"], provenance="sdg"), 1)
    assert first.provenance["source"].tolist() == ["base_train", "mining_pool"]
    assert first.facts["sdg_rows"] == 1
    second = assemble(first.table, first.provenance, rows(["c"], provenance="real"), 2)
    assert second.provenance["source"].tolist() == [
        "previous_iter_train",
        "previous_iter_train",
        "mining_pool",
    ]
    assert second.provenance["iteration"].tolist() == [0, 1, 2]


def test_a_provenance_comes_back_and_a_damaged_one_is_named(tmp_path):
    first = assemble(rows(["a"]), provenance(1), rows(["b"], provenance="sdg"), 1)
    path = write_table(first.provenance, tmp_path / "p.csv")
    assert read_provenance(path).equals(first.provenance)
    text = path.read_text()
    for damaged, line in ((text + '2,"mining', 4), (text.replace("1,m", "1.0,m"), 3)):
        path.write_text(damaged)
        with pytest.raises(HardStop) as stop:
            read_provenance(path)
        assert (stop.value.code, stop.value.rows) == ("csv_invalid", [line])


def test_lost_and_changed_rows_are_a_silent_drop():
    facts = {"previous_rows": 5, "mined_rows": 3, "rows": 6, "duplicates": 1}
    with pytest.raises(HardStop, match="1 are unaccounted for"):
        check_arithmetic(facts)
    with pytest.raises(HardStop) as stop:
        check_growth(rows(["a", "b"]), rows(["a", "c", "b"]))
    assert stop.value.code == "silent_drop"


def metrics(phase, far_pct):
    return {
        "phase": phase,
        "chosen": "latest",
        "kinds": {"latest": {"recall_point": {"far_pct": far_pct}}},
    }


def test_the_loop_goes_on_until_the_target_or_the_last_lap():
    target = parse_kpi("FAR < 1% at recall=100%")
    runs = [metrics("baseline", 30.0), metrics("iter1", 5.0)]
    assert decide_kpi(runs, target, 3)["reason"] == "continue"
    assert decide_kpi(runs, target, 1) | {"stop": True} == decide_kpi(runs, target, 1)
    assert decide_kpi(runs, target, 1)["reason"] == "max_iterations"
    met = decide_kpi([*runs, metrics("iter2", 0.5)], target, 3)
    assert (met["reason"], met["stop"], met["kpi_met"]) == ("kpi_met", True, True)


def test_between_phases_a_tie_goes_to_the_earlier():
    tied = [metrics("baseline", 5.0), metrics("iter10", 2.0), metrics("iter2", 2.0)]
    assert best_phase(tied)["phase"] == "iter2"


def test_an_exhausted_pool_stops_except_in_the_control_arm():
    before = decide_kpi([metrics("baseline", 30.0)], parse_kpi("FAR < 1%"), 3)
    found = decide_pool({"new_rows": 0, "strategy": "nearest"}, before, "iter1")
    assert (found["stop"], found["reason"], found["best_phase"]) == (
        True,
        "pool_exhausted",
        "baseline",
    )
    assert not decide_pool({"new_rows": 0, "strategy": "none"}, before, "iter1")["stop"]
    nothing = {"new_rows": 0, "strategy": "nearest", "rejected": {"candidates": 0, "rejected": 0}}
    assert decide_pool(nothing, before, "iter1")["reason"] == "pool_exhausted"
    nothing["rejected"] = {"candidates": 7, "rejected": 7}
    cut = decide_pool(nothing, before, "iter1")
    assert (cut["stop"], cut["reason"]) == (True, "similarity_cutoff")
    # Some lay above it, and something else kept them out.
    some = {**nothing, "rejected": {"candidates": 7, "rejected": 6}}
    assert decide_pool(some, before, "iter1")["reason"] == "pool_exhausted"
    assert not decide_pool({**nothing, "new_rows": 1}, before, "iter1")["stop"]
    assert not decide_pool({"new_rows": 4, "strategy": "nearest"}, before, "iter1")["stop"]
