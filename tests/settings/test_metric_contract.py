"""The metric contract: read whole or refused by key; what passes, and which result is best."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metric_command import contract

from deft.core.errors import HardStop
from deft.settings.config import resolve
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import (
    contract_of,
    far_contract,
    far_result,
    measured_by,
    parse_contract,
    recorded_contract,
)

GIVEN = contract(Path("/opt/metrics/evaluate.py"))
MADE = parse_contract(GIVEN)


def changed(**changes: Any) -> dict[str, Any]:
    """Return the contract with dotted keys replaced (None = left out)."""
    made = copy.deepcopy(GIVEN)
    for dotted, value in changes.items():
        inner: Any = made
        *path, last = dotted.split("__")
        for name in path:
            inner = inner[int(name) if name.isdigit() else name]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return made


def answer(value: Any = 0.4, **more: Any) -> dict[str, Any]:
    made = {"name": "quiet_defects", "value": value, "unit": "share"}
    return made | {"constraints": {"mean_good_score": 0.1}} | more


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Quiet defects"}, "name is 'Quiet defects'"),
        ({"name": None}, "name is None"),
        ({"operator": "=<"}, "operator is '=<', none of <, <=, >, >="),
        ({"operator": None}, "operator is ''"),
        ({"target": "0.5"}, "target is '0.5' and no finite number"),
        ({"target": True}, "target is True"),
        ({"target": 10**400}, "no finite number"),
        ({"target": float("nan")}, "no finite number"),
        ({"unit": 3}, "unit is 3"),
        ({"display_name": " "}, "display_name"),
        ({"direction": "min"}, "unknown key direction"),
        ({"evaluator": None}, "evaluator.type is None"),
        ({"evaluator__type": "shell"}, "evaluator.type is 'shell'"),
        ({"evaluator__path": "metrics/evaluate.py"}, "an absolute path is wanted"),
        ({"evaluator__path": ""}, "evaluator.path is ''"),
        ({"evaluator__args": "--cut 0.5"}, "evaluator.args is no list of texts"),
        ({"evaluator__args": [0.5]}, "evaluator.args is no list of texts"),
        ({"evaluator__shell": True}, "unknown key evaluator.shell"),
        ({"constraints": {}}, "constraints is no list"),
        ({"constraints__0__unit": 1}, r"constraints\[0\].unit"),
        ({"constraints__0__name": "quiet_defects"}, "quiet_defects stands twice"),
        ({"name": "escape_pct"}, "escape_pct is a percentage"),
        ({"evaluator": {"type": "builtin", "id": "far_at_recall"}}, "its metric far_pct"),
        ({"evaluator": {"type": "artifact", "producer": "mes"}}, "path_template is None"),
        (
            {"evaluator": {"type": "artifact", "producer": "m", "path_template": "/a/r.json"}},
            "{iter_label} and no other place",
        ),
        (
            {
                "evaluator": {
                    "type": "artifact",
                    "producer": "m",
                    "path_template": "/{run}/{iter_label}",
                }
            },
            "no other place",
        ),
    ],
)
def test_a_contract_is_refused_by_its_key(changes, words):
    with pytest.raises(HardStop, match=words) as caught:
        parse_contract(changed(**changes))
    assert caught.value.code == "kpi_invalid" and "docs/metric.md" in caught.value.fix


@pytest.mark.parametrize("given_one", [None, [], "far", 3])
def test_what_is_no_mapping_is_refused(given_one):
    with pytest.raises(HardStop, match="no group of keys"):
        parse_contract(given_one)


def test_the_configuration_takes_the_mapping_and_nothing_else():
    assert measured_by(resolve({"metric_contract": GIVEN})) == MADE
    assert measured_by(resolve({})) is None
    with pytest.raises(HardStop, match="metric_contract"):
        resolve({"metric_contract": "far_pct < 1"})


def test_words_for_operators_and_a_home_folder_are_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    made = parse_contract(changed(operator="gte", evaluator__path="~/evaluate.py"))
    assert made.primary.operator == ">=" and made.evaluator["path"] == "/home/me/evaluate.py"


def test_a_contract_survives_its_own_form():
    assert parse_contract(json.loads(json.dumps(MADE.as_dict()))) == MADE
    assert recorded_contract(MADE.as_dict()) == MADE
    assert recorded_contract({"name": "x"}) is None and recorded_contract(None) is None


@pytest.mark.parametrize(
    ("sentence", "operator", "target", "recall"),
    [
        ("FAR < 0.1% at recall=100%", "<", 0.1, 100.0),
        ("FAR <= 12.5% at recall 99.5%", "<=", 12.5, 99.5),
    ],
)
def test_far_is_a_contract_too(sentence, operator, target, recall):
    made = contract_of(resolve({"kpi": sentence}))
    assert made == far_contract(parse_kpi(sentence)) and not made.measured
    assert (made.primary.operator, made.primary.target) == (operator, target)
    assert made.constraints[0].target == recall
    same = resolve({"kpi": sentence, "metric_contract": made.as_dict()})
    assert measured_by(same) is None
    other = {**made.as_dict(), "target": target + 1}
    with pytest.raises(HardStop, match="set kpi alone"):
        contract_of(resolve({"kpi": sentence, "metric_contract": other}))


def test_an_operating_point_answers_the_far_contract():
    point = {"far_pct": 0.0, "recall_pct": 100.0, "threshold": 0.2, "precision": 1.0, "f1": 1.0}
    point |= dict.fromkeys(("tp", "fn", "fp", "tn"), 1)
    point |= {"recall_lower95_pct": 5.0, "far_upper95_pct": 95.0}
    made = far_contract(parse_kpi("FAR < 0.1% at recall=100%"))
    assert made.check(far_result(point)) == "" and not made.failed(far_result(point))


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([1], "no JSON object"),
        ({}, "name is None"),
        (answer(name="far_pct"), "name is 'far_pct', the contract's is 'quiet_defects'"),
        ({k: v for k, v in answer().items() if k != "unit"}, "unit is None"),
        (answer(unit="%"), "unit is '%', the contract's is 'share'"),  # a fraction is no percentage
        (answer("0.4"), "value is '0.4' and no finite number"),
        (answer(True), "value is 'True'"),
        (answer(float("inf")), "value is 'inf'"),
        (answer(None), "value is 'None'"),
        (answer(constraints={}), "constraints lacks mean_good_score"),
        (answer(constraints={"mean_good_score": "low"}), "constraints.mean_good_score is 'low'"),
        (answer(constraints=[0.1]), "constraints is no object"),
        (answer(threshold="high"), "threshold is 'high'"),
        (answer(diagnostics=[]), "diagnostics is no object"),
    ],
)
def test_a_bad_answer_is_named(result, words):
    assert words in MADE.check(result)


def test_a_sound_answer_may_say_more():
    assert MADE.check(answer(threshold=None, passed=True, notes="…")) == ""
    assert [b.name for b in MADE.failed(answer(0.5))] == []  # <=
    assert [b.name for b in MADE.failed(answer(0.51, constraints={"mean_good_score": 1.0}))] == [
        "quiet_defects",
        "mean_good_score",
    ]


VALUES = st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(0, 2)), min_size=1, max_size=8)


@given(VALUES, st.sampled_from(["<", "<=", ">", ">="]))
def test_the_best_holds_the_constraints_and_no_other_that_does_is_better(values, operator):
    made = parse_contract(changed(operator=operator))
    results = [answer(value, constraints={"mean_good_score": good}) for value, good in values]
    best = made.best(results)
    holding = [at for at, (_, good) in enumerate(values) if good < 1]
    among = holding or list(range(len(values)))
    wanted = (min if operator in ("<", "<=") else max)(values[at][0] for at in among)
    assert best == next(at for at in among if values[at][0] == wanted)  # ties: the earlier phase


def test_only_what_a_measurement_depends_on_is_asked():
    judged_otherwise = parse_contract(
        changed(target=9.0, operator="<", display_name="Other", constraints__0__target=2.0)
    )
    assert judged_otherwise.asked() == MADE.asked()
    assert parse_contract(changed(evaluator__args=[])).asked() != MADE.asked()
    assert parse_contract(changed(constraints=[])).asked() != MADE.asked()


def test_the_files_of_a_command_are_known(tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text("{}")
    made = parse_contract(changed(evaluator__args=["--policy", str(policy), "policy.json"]))
    assert made.programs() == ["/opt/metrics/evaluate.py", str(policy)]
    assert far_contract(parse_kpi("FAR < 1% at recall=100%")).programs() == []
