"""Risks, open questions, next experiments and integration: fixed rules over ``outputs/*.json``."""

from __future__ import annotations

from typing import Any

from .markdown import bullets, cell, shape, table
from .self_description import DECODING, licences
from .steps import FIRST_OF_REPORTS


def risks(facts: dict[str, Any]) -> list[str]:
    """Return what may go wrong, from what is known and what nobody said."""
    out = []
    contract, inputs, origin = facts["io_contract"], facts["inputs"], facts["provenance"]
    served = facts["parameters"]["model"].get("served")
    if served:
        out.append(
            "What answers at this address can change without notice; only the server knows which "
            "weights it has loaded."
        )
    elif not origin.get("url") and not origin["refs"]:
        out.append(
            "Nobody has said where the file comes from; without an origin it cannot be replaced."
        )
    seen = licences(facts)
    if seen:
        shown = "; ".join(f"{cell(e['licence'])}, by {cell(e['source'])}" for e in seen)
        out.append(f"Licence: {shown}. Whether that fits the use is for a person to say.")
    else:
        out.append("No licence was seen: whether it may be used commercially is open.")
    if any(r.get("is_dirty") for r in origin["refs"]):
        out.append(
            "The source folder had changes that no commit holds; the commit alone does not "
            "reproduce it."
        )
    if contract and not contract["preprocess"] and inputs and inputs["kind"] == "synthesised":
        out.append(
            "With the wrong preprocessing a model still answers, only badly, and nothing warns."
        )
    if contract and contract["device"] == "cpu":
        out.append(
            "Times are of a processor that other work may share; on other hardware they differ."
        )
    if contract and not contract["batch"]["free"]:
        out.append(f"Only one item at a time: {cell(contract['batch']['reason'])}.")
    if any(i.get("trial") for i in (contract or {}).get("inputs", [])):
        out.append("The input size was found by trying. The author may have meant another one.")
    if (facts["parameters"]["model"]).get("allow_code"):
        out.append(
            "Loading the file runs code that came with it. Do not load a copy from elsewhere."
        )
    left = [
        s
        for s in facts["steps"] or []
        if s["status"] in ("failed", "refused") and s["script"] < FIRST_OF_REPORTS
    ]
    out += [f"{s['script']}: {cell(s.get('said'))}" for s in left]
    return ["## Risks and assumptions", "", *bullets(out, "None that the rules know of.")]


def unknowns(facts: dict[str, Any]) -> list[str]:
    """Return what is not known, each with what would settle it."""
    rows = [(u["what"], u["settle"]) for u in facts["io_contract"].get("unknown") or []]
    rows += [
        (f"target {t['name']}: {t['why']}", t["settle"])
        for t in facts["verdict"]["targets"]
        if t.get("settle")
    ]
    if not rows:
        return ["## What is unknown", "", "Nothing about how it is called.", ""]
    return ["## What is unknown", "", *table(("unknown", "what would settle it"), rows)]


def next_experiments(facts: dict[str, Any]) -> list[str]:
    """Return what to do next, the most pressing first."""
    out = []
    inputs, asked, contract = facts["inputs"], facts["parameters"], facts["io_contract"]
    if not facts["stats"]:
        out.append("Mend what stopped it (logs/) and explore again.")
    if contract and contract["unknown"]:
        out.append(
            "Settle the unknowns above with the model's author; put the answers into "
            "`explore.contract`."
        )
    if inputs and not facts["quality"].get("inputs_with_known_answer"):
        out.append(
            "Run it on 30 or more real inputs with known answers (`explore.inputs`, "
            "`explore.labels`)."
        )
    if not asked.get("targets"):
        out.append("Set targets (`explore.targets`), so that the next report can judge.")
    for t in facts["verdict"]["targets"]:
        if t["met"] is False and t["name"].startswith("latency"):
            out.append(
                "Try a smaller input, a lower precision or a graphics card to come under the time."
            )
            break
    if contract and contract["device"] == "cpu" and asked["runtime"]["device"] != "cpu":
        out.append("Measure on the hardware that it will run on; no accelerator was found here.")
    if contract and contract["format"] not in ("onnx", "served"):
        out.append(
            "Export it to ONNX and explore that file too: it often runs faster and needs less "
            "software."
        )
    if not asked["train"]["steps"] and contract and contract["trainable"]:
        out.append(
            "If it is to be adapted, ask for the training check (`explore.train_steps: 20`)."
        )
    return ["## Next experiments", "", *bullets(out)]


def integration(facts: dict[str, Any]) -> list[str]:
    """Return how a program calls the model, as far as the contract says."""
    contract = facts["io_contract"]
    if not contract:
        return []
    runtime = contract["facts"]["runtime"]
    model = facts["parameters"]["model"]
    served = model.get("served")
    lines = [f"Load `{model['file']}` with {runtime} once and keep it."]
    if served:
        lines = [f"Keep one connection to `{served['address']}` ({runtime})."]
    for entry in contract["inputs"]:
        rule = contract["preprocess"].get(entry["name"])
        if rule:
            said = (
                f"{rule['colour_order']}, {rule['height_px']} x {rule['width_px']} px, "
                f"{rule['resample']}, mean {rule.get('mean')}, std {rule.get('std')}"
            )
        else:
            said = "preprocessing unknown"
        name, kind = cell(entry["name"]), cell(f"{entry['dtype']} {shape(entry['shape'])}")
        lines.append(f"{name}: {kind}; {said}.")
    post = contract["postprocess"]
    if post["kind"] == "changenet":
        lines.append(
            f"{post['rule']}; the threshold is {post['threshold']:.6g} "
            f"({post['threshold_source']})."
        )
    elif post["kind"] != "unknown":
        lines.append(f"Of the output: {DECODING[post['kind']]}.")
    lines.append(
        "`scripts/kit/preprocess.py` and `scripts/kit/decode.py` are working code for both ends."
    )
    return ["## How to integrate it", "", *bullets(lines)]
