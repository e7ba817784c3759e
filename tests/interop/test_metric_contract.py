"""NVIDIA's metric_contract.py takes our contracts and results, chooses the same phase; and back."""

from __future__ import annotations

import json
import random
import runpy
from pathlib import Path
from typing import Any

import pytest
from metric_command import NAME, UNIT, contract, write_command
from nvidia_skills import AOI, needs_skills, run_aoi, skill_file, succeeded

from deft.core.errors import HardStop
from deft.kpi.evaluation import evaluate_table
from deft.kpi.measuring import measure
from deft.settings.config import resolve
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import Contract, contract_of, far_contract, parse_contract

pytestmark = needs_skills


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    """The names of their metric_contract.py."""
    return runpy.run_path(str(skill_file("cur", f"{AOI['cur']}/scripts/metric_contract.py")))


@pytest.fixture
def made(tmp_path) -> Contract:
    return parse_contract(contract(write_command(tmp_path)))


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "inference.csv"
    rows = [("bridge", 0.9), ("bridge", 0.1), ("PASS", 0.05), ("PASS", 0.3)]
    lines = [f"a,g,{label},C{i},{score}\n" for i, (label, score) in enumerate(rows)]
    path.write_text("input_path,golden_path,label,object_name,siamese_score\n" + "".join(lines))
    return path


def initialised(folder: Path, *options: object) -> dict[str, Any]:
    """Return the state that their init_deft_state.py writes."""
    results = folder / "results/run_1"
    succeeded(
        run_aoi(
            *("cur", "init_deft_state.py", "--workspace", folder, "--results-dir", results),
            *("--max-iterations", 2, "--num-gpus", 1, "--gpu-model", "none", "--num-epochs", 2),
            *("--batch-size", 4, "--train-container", "x", "--ag-container", "y"),
            *("--project", "UC1", "--num-sdg", 1, "--step", 1, *options),
        )
    )
    return json.loads((results / "deft_state.json").read_text())


def test_they_take_our_contracts_as_they_are(theirs, made):
    for one in (made, far_contract(parse_kpi("FAR < 0.1% at recall=100%"))):
        assert theirs["validate_contract"](one.as_dict()) == one.as_dict()


@pytest.mark.parametrize(
    "sentence", ["FAR < 10% at Recall=100%", "FAR <= 0.5% at recall=99.5%", "FAR < 1%"]
)
def test_a_sentence_is_the_contract_that_they_make_of_it(tmp_path, sentence):
    state = initialised(tmp_path, "--kpi-target", sentence)
    assert contract_of(resolve({"kpi": sentence})).as_dict() == state["metric_contract"]


def test_their_custom_contract_is_ours(tmp_path, made):
    given = made.as_dict()
    state = initialised(
        *(tmp_path, "--metric-name", NAME, "--metric-display-name", given["display_name"]),
        *("--metric-operator", given["operator"], "--metric-target", given["target"]),
        *("--metric-unit", UNIT, "--metric-evaluator", given["evaluator"]["path"]),
        f"--metric-evaluator-args-json={json.dumps(given['evaluator']['args'])}",
        *("--metric-constraints-json", json.dumps(given["constraints"])),
    )
    assert state["metric_contract"] == given
    assert contract_of(resolve({"metric_contract": state["metric_contract"]})) == made


def test_their_recorder_takes_our_result_and_judges_it_alike(tmp_path, made, table):
    result = measure(made, "iter1", table, 30)
    path, state = tmp_path / "metric_result.json", tmp_path / "deft_state.json"
    path.write_text(json.dumps(result))
    state.write_text(json.dumps({"metric_contract": made.as_dict(), "iterations": {}}))
    weights = tmp_path / "best.pth"
    weights.write_bytes(b"x")
    succeeded(
        run_aoi(
            *("cur", "record_metric_result.py", "--state-path", state, "--iter-label", "iter1"),
            *("--result-json", path, "--best-ckpt", weights, "--inference-csv", table),
        )
    )
    told = json.loads(state.read_text())["iterations"]["iter1"]["metric_result"]
    assert told["value"] == result["value"] and told["passed"] is (not made.failed(result))


def test_the_file_beside_the_scores_is_their_analysers(tmp_path, table):
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "inference.csv").write_bytes(table.read_bytes())
    evaluate_table(tmp_path / "ours/inference.csv", 1.0)
    out = tmp_path / "theirs"
    succeeded(run_aoi("cur", "analyze_kpi.py", out / "inference.csv", "--output-dir", out))
    names = [tmp_path / folder / "metric_result.json" for folder in ("ours", "theirs")]
    ours, their = (json.loads(path.read_text()) for path in names)
    for key in ("name", "unit", "constraints"):
        assert ours[key] == their[key]
    for key in ("value", "threshold"):
        assert ours[key] == pytest.approx(their[key], rel=1e-6)
    assert their["diagnostics"].keys() <= ours["diagnostics"].keys()


def test_both_choose_the_same_phase_and_judge_it_alike(theirs, made):
    rng = random.Random(0)
    for _ in range(300):
        operator = rng.choice(["<", "<=", ">", ">="])
        one = parse_contract({**made.as_dict(), "operator": operator})
        results = [
            {
                "name": NAME,
                "unit": UNIT,
                "value": rng.choice([0.25, 0.5, 0.75]),
                "constraints": {"mean_good_score": rng.choice([0.5, 1.0, 1.5])},
            }
            for _ in range(rng.randint(1, 5))
        ]
        candidates = [(str(at), {}, result) for at, result in enumerate(results)]
        assert theirs["pick_best"](candidates, one.as_dict())[0] == str(one.best(results))
        for result in results:
            passed, failed = theirs["result_passes"](one.as_dict(), result)
            assert passed is (not one.failed(result))
            assert failed == [bound.name for bound in one.failed(result)]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "far_pct"},
        {"unit": "%"},
        {"value": "0.4"},
        {"value": True},
        {"constraints": []},
        {"constraints": {}},
        {"constraints": {"mean_good_score": None}},
    ],
)
def test_what_they_refuse_we_refuse(theirs, made, change):
    """Their check of constraints comes with the judgement: both together are ours."""
    result = {"name": NAME, "unit": UNIT, "value": 0.4, "constraints": {"mean_good_score": 0.1}}
    assert made.check(result) == ""
    with pytest.raises((ValueError, AssertionError)):
        found = theirs["result_from_iteration"]({"metric_result": result | change}, made.as_dict())
        assert "missing" not in str(theirs["result_passes"](made.as_dict(), found)[1])
    assert made.check(result | change)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Quiet"},
        {"operator": "=="},
        {"target": None},
        {"evaluator": {"type": "unconfigured"}},
        {"constraints": [{"name": "x"}]},
    ],
)
def test_contracts_that_they_refuse_we_refuse(theirs, made, change):
    with pytest.raises(ValueError):
        theirs["validate_contract"](made.as_dict() | change)
    with pytest.raises(HardStop):
        parse_contract(made.as_dict() | change)
