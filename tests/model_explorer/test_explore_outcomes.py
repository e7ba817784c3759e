"""The four outcomes: a no-go needs a proof, what is not known is asked for, line by line."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import yaml

from deft.score_kit import statistics
from deft.settings.model.groups import Explore
from model_explorer.kit import decision, judge, outcomes, quality, sizes, steps
from model_explorer.kit.folder import Refusal
from model_explorer.kit.outcomes import CONDITIONAL, GO, NO_GO, UNDECIDED, OpenInput

KNOWN = {
    "inputs_with_known_answer": 200, "right": 198, "accuracy_pct": 99.0, "commonest_pct": 60.0,
    "commonest_answer": "a", "bounds": {"accuracy_pct": [96.9, 99.8]}, "f1_pct": 98.0,
}  # fmt: skip
GOOD = {
    "parameters": {
        "targets": {"latency_p95_ms": 20, "accuracy_pct": 95}, "model": {"allow_code": False},
    },
    "io_contract": {"unknown": [], "inputs": []},
    "inputs": {"kind": "found", "samples": [{"files": {"x": ["inputs/found/a.png"]}}]},
    "inference": {"not_finite": 0, "answers_differ": True, "repeat_difference": 0.0,
                  "batch_difference": 1e-7},
    "stats": {
        "warm": {"total_ms": {"mean": 10.0, "median": 9.0, "p95": 20.0}},
        "cold": {"total_ms": 50.0, "load_s": 1.0},
        "memory": {"peak_ram_mib": 100.0, "peak_vram_mib": None},
        "best_throughput": {"items_per_s": 200.0},
    },
    "quality": KNOWN,
    "train_check": {},
    "dependencies": {"list": []},
    "provenance": {"refs": []},
    "steps": [{"script": "10_infer.py", "status": "ok", "what": "run"}],
}  # fmt: skip
FREE = {
    "name": "x", "run_shape": [1, 3, 224, 224], "batch_axis": 0, "dtype": "float32",
    "shape": ["b", 3, "h", "w"],
    "sizes": {a: {"size": 224, "source": "a trial", "guessed": True} for a in "23"},
}  # fmt: skip


def counted(right: int, known: int) -> dict:
    """Quality of so many right answers."""
    samples = [{"truth": "a", "label": "a"}] * right + [{"truth": "b", "label": "a"}] * (
        known - right
    )
    return quality.quality({"samples": samples}, {})


def step(script: str, status: str, **more) -> dict:
    return {"steps": [{"script": script, "status": status, "what": "run", "said": "boom", **more}]}


SIZE = OpenInput("the size of x", "contract.inputs.x.shape", ["batch", 3, 320, 320]).as_dict()
CASES = [
    ({}, GO, "", ""),
    # Proven, or a missed target.
    ({"inference": {"not_finite": 3}}, NO_GO, "3 output numbers are not finite", ""),
    ({"parameters": {"targets": {"latency_p95_ms": 15}}}, NO_GO, "latency_p95_ms is 20", ""),
    ({"parameters": {"targets": {"throughput_items_per_s": 300}}}, NO_GO, "target missed", ""),
    ({"quality": counted(50, 100)}, NO_GO, "accuracy_pct is 50.0 % (50 of 100", ""),
    ({"train_check": {"runs": False, "why": "no", "proven": True}}, NO_GO, "cannot be trained", ""),
    (step("02_contract.py", "refused", proven=True), NO_GO, "does not run here: run failed", ""),
    # Our own ignorance.
    (step("02_contract.py", "refused", needs=[SIZE]), UNDECIDED, "did not get through", "320, 320"),
    (step("10_infer.py", "failed"), UNDECIDED, "(boom)", 'inputs: "my_inputs.npz"'),
    (step("12_benchmark.py", "failed"), UNDECIDED, "(boom)", "batch_sizes: [1]"),
    ({"stats": {}}, UNDECIDED, "not run to its end", ""),
    ({"inference": {"not_finite": 3}, "inputs": {"kind": "synthesised"},
      "io_contract": {"unknown": [{}]}}, UNDECIDED, "made-up inputs", 'inputs: "my_inputs"'),
    ({"train_check": {"runs": False, "why": "no"}}, UNDECIDED, "cannot be trained here: no",
     "train_batch_size"),
    ({"train_check": {"runs": True, "fell": False}}, UNDECIDED, "loss does not fall",
     "learning_rate: 0.0001"),
    # Too few answers, or chance, never make a no-go of a rate.
    ({"quality": counted(0, 29)}, UNDECIDED, "only 29 known answers", "labels:"),
    ({"quality": counted(1, 1)}, UNDECIDED, "only 1 known answer (", "labels:"),
    ({"quality": counted(46, 50)}, UNDECIDED, "50 known answers leave open", "labels:"),
    ({"quality": {"inputs_with_known_answer": 0}}, UNDECIDED, "accuracy_pct is not judged: not",
     "labels:"),
    ({"parameters": {"targets": {"mean_iou": 0.5}}}, UNDECIDED, "mean_iou is not judged",
     "targets:"),
    ({"parameters": {"targets": {"latency_ms": 5}}}, UNDECIDED, "latency_ms", "latency_p95_ms: 5"),
    # No target is judged on a guessed size: neither met nor missed.
    ({"io_contract": {"inputs": [FREE]}}, UNDECIDED, "guessed size (x [1, 3, 224, 224])",
     '{x: {shape: ["batch", 3, 224, 224]}}'),
    ({"io_contract": {"inputs": [FREE]}, "parameters": {"targets": {"latency_p95_ms": 1}}},
     UNDECIDED, "guessed size", "shape"),
    ({"io_contract": {"inputs": [FREE]}, "parameters": {"targets": {"load_s": 5}}}, CONDITIONAL,
     "was run at a guessed size", "shape"),
]  # fmt: skip
CONDITIONS = [
    ({"inference": {"repeat_difference": 0.1}}, "the same input gave answers 0.1 apart"),
    ({"inference": {"batch_difference": 0.1}}, "when others share its batch"),
    ({"inference": {"answers_differ": False}}, "exactly the same answer"),
    ({"io_contract": {"unknown": [{}, {}]}}, "2 facts"),
    ({"parameters": {"targets": {"latency_p95_ms": 20}}}, "which quality is enough"),
    ({"parameters": {"targets": {}}}, "no target was set"),
    ({"quality": {"commonest_pct": 99.0}}, "always answering a (99.0 %)"),
    ({"quality": counted(48, 50)}, "accuracy_pct is met, but not for sure: 96.0 % (48 of 50"),
    ({"inputs": {"chosen_on": "4 in kpi/testing_set.csv"}}, "rates over them flatter it"),
    ({"inputs": {"samples": [{"files": {"x": ["inputs/made/x.npy"]}}]}},
     "latency_p95_ms was timed from prepared array: reading"),
    ({"io_contract": {"postprocess": {"kind": "boxes"}}}, "measures no quality of boxes (mAP)"),
    ({"io_contract": {"postprocess": {"kind": "embedding"}}}, "measures no quality of features"),
    ({"parameters": {"model": {"allow_code": True}}}, "runs code"),
    ({"parameters": {"model": {"beside": {"licences": [
        {"licence": "MIT", "source": "METADATA"}, {"licence": "AGPL-3.0", "source": "LICENSE"}]}}}},
     "licences of two kinds are stated: MIT (METADATA), AGPL-3.0 (LICENSE)"),
    ({"dependencies": {"list": [{"satisfies": False, "distribution": "d", "found": "2",
                                 "wanted": "<2"}]}}, "d 2 (documented <2)"),
]  # fmt: skip


def changed(change: dict) -> dict:
    facts = copy.deepcopy(GOOD)
    for name, value in change.items():
        keep = isinstance(value, dict) and value and "inputs_with_known_answer" not in value
        facts[name] = {**facts[name], **value} if keep else value
    return facts


@pytest.mark.parametrize(("change", "word", "said", "line"), CASES)
def test_the_outcome_follows_rules(change, word, said, line):
    found = judge.verdict(changed(change))
    assert found["verdict"] == word
    place = {NO_GO: "blocking", UNDECIDED: "undecided", CONDITIONAL: "conditions", GO: "blocking"}
    assert said in "\n".join(found[place[word]]), found
    assert line in "\n".join(n["line"] for n in found["needs"] + found["further_needs"]), found
    if word == GO:
        assert not (found["undecided"] or found["conditions"] or found["needs"])


@pytest.mark.parametrize(("change", "said"), CONDITIONS)
def test_what_is_open_makes_a_go_conditional(change, said):
    found = judge.verdict(changed(change))
    assert found["verdict"] == CONDITIONAL and said in "\n".join(found["conditions"]), found


@pytest.mark.parametrize("case", [c for c in CASES if c[1] == UNDECIDED])
def test_the_lines_of_open_inputs_are_yaml_that_the_settings_take(case):
    """Each line by itself, and all together as they are to be pasted."""
    found = judge.verdict(changed(case[0]))
    for need in [*found["needs"], *found["further_needs"]]:
        Explore(**yaml.safe_load(need["line"]))
        assert not need["is_guess"] or outcomes.GUESS in need["line"]
    needs = [*found["needs"], *found["further_needs"]]
    whole = yaml.safe_load("\n".join(outcomes.yaml_block(needs)))["explore"]
    if needs:
        Explore(**whole)


def test_a_key_with_odd_letters_stays_one_key():
    key = outcomes.key("contract", "inputs", "serving.default_x:0", "shape")
    need = OpenInput("s", key, [1, "n"])
    wanted = {"contract": {"inputs": {"serving.default_x:0": {"shape": [1, "n"]}}}}
    assert yaml.safe_load(need.line) == wanted
    other = OpenInput("t", outcomes.key("contract", "inputs", "yes", "shape"), [2])
    block = yaml.safe_load("\n".join(outcomes.yaml_block([need.as_dict(), other.as_dict()])))
    assert block["explore"]["contract"]["inputs"] == {
        "serving.default_x:0": {"shape": [1, "n"]}, "yes": {"shape": [2]}
    }  # fmt: skip


@pytest.mark.parametrize(("count", "total"), [(0, 50), (1, 3), (49, 50), (50, 50), (300, 1000)])
def test_bounds_are_those_of_the_hand_off(count, total):
    assert quality.upper_bound(count, total) == pytest.approx(
        statistics.upper_bound(count, total), abs=1e-9
    )
    assert quality.lower_bound(count, total) == pytest.approx(
        statistics.lower_bound(count, total), abs=1e-9
    )


def test_rates_carry_their_counts_and_bounds():
    pairs = [("bridge", "NO_PASS")] * 30 + [("PASS", "NO_PASS")] + [("PASS", "PASS")] * 49
    samples = [{"truth": t, "label": label} for t, label in pairs]
    found = quality.quality({"samples": samples}, {"postprocess": {"kind": "changenet"}})
    assert (found["recall_pct"], found["far_pct"]) == (100, 2)
    assert found["bounds"]["recall_pct"][0] == pytest.approx(90.5, abs=0.1)
    assert quality.rate("far_pct", found).startswith("2.0 % (1 of 50; with 95 % confidence each")
    goals = {"parameters": {"targets": {"far_pct": 1, "recall_pct": 95}}, "quality": found}
    far, recall = judge.judged(changed(goals))
    # 1 of 50 may well be 1 %; 30 of 30 may be less than 95 %.
    assert far["met"] is None and "leave open" in far["why"]
    assert recall["met"] is True and recall["sure"] is False


def test_the_head_of_the_report_asks_for_what_is_open():
    facts = changed({"io_contract": {"inputs": [FREE]}})
    facts["parameters"]["title"] = "net"
    facts["verdict"] = judge.verdict(facts)
    text = "\n".join(decision.decision(facts))
    assert "**Not decided.** Nothing here speaks against net, but I need 1 fact that only" in text
    block = text.split("```yaml")[1].split("```")[0]
    assert "# a guess, put yours" in block
    wanted = {"x": {"shape": ["batch", 3, 224, 224]}}
    assert yaml.safe_load(block)["explore"]["contract"]["inputs"] == wanted


def test_a_target_that_nothing_here_measures_is_not_a_fact_to_be_told():
    kind = {"io_contract": {"postprocess": {"kind": "boxes"}}, "quality": {}}
    facts = changed(kind)
    facts["quality"], facts["parameters"]["title"] = {"inputs_with_known_answer": 0}, "net"
    facts["verdict"] = judge.verdict(facts)
    assert facts["verdict"]["verdict"] == UNDECIDED and facts["verdict"]["needs"] == []
    assert "what was asked could not be found out here" in decision.decision(facts)[2]


def test_what_the_user_gave_is_not_asked_for():
    facts = changed({"quality": {}, "inputs": {}})
    facts["io_contract"]["postprocess"] = {"kind": "softmax_top"}
    facts["parameters"]["given"] = {"inputs": True, "labels": True}
    assert judge.verdict(facts)["needs"] == []
    facts["parameters"]["given"]["labels"] = False
    assert [n["key"] for n in judge.verdict(facts)["needs"]] == ["labels", "samples"]
    facts["parameters"]["given"] = {"inputs": False, "labels": True}
    assert [n["key"] for n in judge.verdict(facts)["needs"]] == ["inputs", "samples"]
    # Answers that nothing was compared with are not called missing.
    facts = changed({"quality": {}})
    facts["inference"]["samples"] = [{"truth": "a", "label": None}]
    (said,) = judge.verdict(facts)["conditions"]
    assert "compared with nothing" in said


def test_a_refusal_carries_its_needs_and_its_proof_out_of_a_process():
    need = OpenInput("the size", "contract.inputs.x.shape", [1, 2])
    refusal = Refusal("why", [need])
    assert not refusal.proven and refusal.needs == [need.as_dict()]
    err = f"noise\nNEED: {json.dumps(refusal.needs[0])}\nSTOP: why\n"
    assert steps._needs(err) == refusal.needs
    assert steps._said(3, "", err) == ("why", "refused")


@pytest.mark.parametrize(
    ("accepted", "refused", "axes"),
    [
        # silero_vad.jit: shorter pieces are refused, longer ones were not tried.
        ([[1, 512]], [[1, 1, 16], [1, 16], [1, 128]], ["1"]),
        # facenet's onet.pt takes 48 x 48 and nothing below or above.
        ([[1, 3, 48, 48]], [[1, 3, 224, 224], [1, 3, 32, 32]], []),
        ([[1, 3, 48, 48]], [[1, 3, 224, 224]], ["2", "3"]),
        # A linear layer's weight gave the size.
        ([[1, 6]], [[1, 16, 6]], []),
    ],
)
def test_what_a_trial_leaves_open_is_a_guess(accepted, refused, axes):
    trial = {
        "accepted": [{"shape": s} for s in accepted], "refused": [{"shape": s} for s in refused]
    }  # fmt: skip
    entry = {"name": "x", "run_shape": accepted[0], "sizes": {}, "trial": trial, "batch_axis": 0}
    assert sizes.open_axes(entry) == axes
    assert (
        bool(sizes.phrase({"inputs": [entry]}))
        == bool(sizes.asked({"inputs": [entry]}))
        == bool(axes)
    )
    assert ("guessed" in sizes.stated(entry)) == bool(axes)


def test_a_stated_size_is_said_by_whom_and_a_guessed_one_everywhere():
    stated = copy.deepcopy(FREE)
    for entry in stated["sizes"].values():
        entry.update(guessed=False, source="imgsz in the ONNX metadata")
    assert sizes.phrase({"inputs": [stated]}) == "" and not sizes.asked({"inputs": [stated]})
    assert "axis 2 = 224 by imgsz in the ONNX metadata" in sizes.stated(stated)
    assert sizes.phrase({"inputs": [FREE]}) == " at a guessed size (x [1, 3, 224, 224])"


@pytest.mark.parametrize(
    ("inference", "file_facts", "said"),
    [
        # float32's rounding of large numbers, float16's of small ones: no condition.
        ({"batch_difference": 0.05, "largest_output": 900.0}, {}, None),
        ({"batch_difference": 0.005, "precision": ["float16"]}, {}, None),
        ({"batch_difference": 0.005, "precision": ["float32"]}, {"weights": "float16 99 %"}, None),
        ({"repeat_difference": 5e-5}, {"weights": "float16 99 %"}, None),
        ({"batch_difference": 0.005, "precision": ["float32"]}, {}, "moves by 0.005"),
        ({"batch_difference": 0.05}, {"weights": "int8 90 %",
                                      "quantized": "DynamicQuantizeLinear, MatMulInteger"},
         "moves by 0.05 when others share its batch: its DynamicQuantizeLinear takes"),
    ],
)  # fmt: skip
def test_rounding_of_a_precision_is_no_condition(inference, file_facts, said):
    found = judge.verdict(
        changed({"inference": inference, "provenance": {"file_facts": file_facts}})
    )
    assert found["verdict"] == (CONDITIONAL if said else GO)
    assert not said or said in found["conditions"][0]


def test_the_precision_of_an_onnx_file_is_told(tmp_path):
    """int8 as ONNX Runtime's own tool writes it, and float16."""
    import onnx
    from explore_tools import onnx_by_torch
    from onnxruntime.quantization import quantize_dynamic

    from model_explorer.formats import identify

    plain = onnx_by_torch(tmp_path / "plain.onnx")
    assert identify(plain).facts["weights"] == "float32 100 %"
    quantize_dynamic(
        str(plain), str(tmp_path / "int8.onnx"), op_types_to_quantize=["MatMul", "Gemm"]
    )
    facts = identify(tmp_path / "int8.onnx").facts
    assert "int8" in facts["weights"] and "DynamicQuantizeLinear" in facts["quantized"]
    weights = onnx.numpy_helper.from_array(np.ones((3, 2), np.float16), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "half",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT16, ["b", 3])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT16, ["b", 2])], [weights],
    )  # fmt: skip
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "half.onnx"))
    assert identify(tmp_path / "half.onnx").facts["weights"] == "float16 100 %"
