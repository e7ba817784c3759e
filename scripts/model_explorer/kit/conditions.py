"""What must be settled before use although nothing speaks against it."""

from __future__ import annotations

from typing import Any

from . import sizes
from .metrics import known_answers, suggested_targets
from .outcomes import OpenInput
from .quality import FEW_KNOWN, QUALITY, plural_answers, rate
from .self_description import disagreement
from .steps import asked_of_networks

REPEAT_TOLERANCE = 1e-5
BATCH_TOLERANCE = 1e-3
HALF = 10.0  # times as far may numbers of half precision move
DYNAMIC = "DynamicQuantizeLinear"
TIMES = ("latency_mean_ms", "latency_median_ms", "latency_p95_ms", "cold_ms")

# Answers that a table of known ones says nothing of.
UNMEASURED = {"boxes": "boxes (mAP)", "embedding": "features"}

Points = tuple[list[str], list[dict[str, Any]]]


def conditions(facts: dict[str, Any], targets: list[dict[str, Any]]) -> Points:
    """Return the open points in words, and the open inputs that would settle some of them."""
    out: list[str] = []
    needs: list[dict[str, Any]] = []
    for points in (
        _unknown(facts), _answers(facts, targets), _speed(facts, targets), _behaviour(facts),
        _origin(facts),
    ):  # fmt: skip
        out += points[0]
        needs += points[1]
    out += asked_of_networks(facts["steps"] or [])
    return out, needs


def _unknown(facts: dict[str, Any]) -> Points:
    contract = facts["io_contract"]
    unknown = contract.get("unknown") or []
    out, needs = [], [u["need"] for u in unknown if u.get("need")]
    if unknown:
        many = len(unknown) > 1
        count = f"{len(unknown)} facts" if many else "one fact"
        out.append(f"{count} about inputs and outputs {'are' if many else 'is'} unknown")
    if sizes.guessed(contract):
        out.append(f"it was run{sizes.phrase(contract)}")
        needs = [*sizes.asked(contract), *needs]
    return out, needs


def _answers(facts: dict[str, Any], targets: list[dict[str, Any]]) -> Points:
    """Return what is open about how good it is."""
    inputs, quality = facts["inputs"], facts["quality"]
    kind = (facts["io_contract"].get("postprocess") or {}).get("kind")
    if facts["inference"] and kind in UNMEASURED:
        real = (
            [] if inputs["kind"] == "found" else [OpenInput("real inputs", "inputs", "my_inputs")]
        )
        said = f"this command measures no quality of {UNMEASURED[kind]}: nothing says that its "
        return [f"{said}answers are right"], [need.as_dict() for need in real]
    if inputs and inputs["kind"] == "synthesised":
        said = "it ran on made-up inputs only, so nothing says that its answers are right"
        return [said], known_answers(facts)
    known = quality.get("inputs_with_known_answer") or 0
    if facts["inference"] and not known:
        said = "no input had a known answer, so nothing says that its answers are right"
        if any(s.get("truth") is not None for s in facts["inference"].get("samples") or []):
            said = "its outputs are no answers yet, so the known ones are compared with nothing"
        return [said], known_answers(facts)
    if not known:
        return [], []
    out, needs = [], []
    if known < FEW_KNOWN:
        out.append(f"only {known} input{'s' * (known > 1)} had a known answer")
        needs = known_answers(facts, more=True)
    if quality["accuracy_pct"] <= quality.get("commonest_pct", -1):
        out.append(
            f"it is right in {quality['accuracy_pct']:.1f} %, no more often than always answering "
            f"{quality['commonest_answer']} ({quality['commonest_pct']:.1f} %)"
        )
    for target in targets:
        if target.get("sure") is False:
            out.append(f"the target {target['name']} is met, but not for sure: {target['rate']}")
            needs += known_answers(facts, more=True)
    if targets and not any(t["name"] in QUALITY for t in targets):
        out.append(
            f"no target says which quality is enough (right in {rate('accuracy_pct', quality)})"
        )
        needs += [n for n in suggested_targets(facts) if "accuracy" in n["key"]]
    if inputs.get("chosen_on"):
        out.append(
            f"{plural_answers(known)} come from rows that the model or its threshold was chosen on "
            f"or trained with ({inputs['chosen_on']}): rates over them flatter it"
        )
        needs += known_answers(facts, more=True)
    return out, needs


def _speed(facts: dict[str, Any], targets: list[dict[str, Any]]) -> Points:
    if not targets and facts["stats"]:
        said = "no target was set, so speed and quality are described and not judged"
        return [said], suggested_targets(facts)
    timed = [t["name"] for t in targets if t["name"] in TIMES and t["measured"] is not None]
    if timed and not from_file(facts["inputs"]):
        said = (
            f"{', '.join(timed)} was timed from {begun_with(facts['inputs'])}: reading and "
            "preparing a real file is not in it"
        )
        return [said], [OpenInput("real inputs", "inputs", "my_inputs").as_dict()]
    return [], []


def from_file(inputs: dict[str, Any]) -> bool:
    """Return whether what was timed began with a real file, that was read and prepared."""
    if not inputs or inputs["kind"] != "found":
        return False
    files = [f for s in inputs["samples"] for names in s["files"].values() for f in names]
    return any(not f.endswith((".npy", ".npz")) for f in files)


def begun_with(inputs: dict[str, Any]) -> str:
    """Return what every timed run began with."""
    if from_file(inputs):
        return "file"
    return "prepared array" if inputs and inputs["kind"] == "found" else "made-up input"


def _behaviour(facts: dict[str, Any]) -> Points:
    inference, out = facts["inference"], []
    weights = (facts["provenance"] or {}).get("file_facts") or {}
    half = "float16" in f"{weights.get('weights')} {inference.get('precision')}"
    # Rounding grows with the numbers, and with the half precision's 11 bits.
    allowed = max(1.0, inference.get("largest_output") or 0.0) * (HALF if half else 1.0)
    if inference.get("answers_differ") is False:
        out.append("different inputs gave exactly the same answer")
    if (inference.get("repeat_difference") or 0) > REPEAT_TOLERANCE * allowed:
        out.append(f"the same input gave answers {inference['repeat_difference']:.2g} apart")
    if (inference.get("batch_difference") or 0) > BATCH_TOLERANCE * allowed:
        why = ""
        if DYNAMIC in str(weights.get("quantized")):
            why = f": its {DYNAMIC} takes the scale of 8-bit numbers from the whole batch"
        out.append(
            f"an item's answer moves by {inference['batch_difference']:.2g} when others share its "
            f"batch{why}"
        )
    return out, []


def _origin(facts: dict[str, Any]) -> Points:
    out = []
    if (facts["parameters"].get("model") or {}).get("allow_code"):
        out.append(
            "its file runs code when it is loaded (explore.allow_code); trust it or convert it"
        )
    licences = disagreement(facts)
    if licences:
        out.append(licences)
    odd = [d for d in (facts["dependencies"].get("list") or []) if d.get("satisfies") is False]
    if odd:
        named = ", ".join(
            f"{d['distribution']} {d['found']} (documented {d['wanted']})" for d in odd[:3]
        )
        out.append(f"versions other than documented: {named}{' …' if len(odd) > 3 else ''}")
    return out, []
