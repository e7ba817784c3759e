"""``reports/stakeholder-report.md``: the verdict first, then what the numbers mean for a decision.

Every sentence is a rule over ``outputs/*.json``; the same files give the same text.
"""

from __future__ import annotations

from typing import Any

from . import sizes
from .advice import integration, next_experiments, risks, unknowns
from .conditions import begun_with
from .decision import decision
from .folder import Folder, write_text
from .judge import facts_of
from .markdown import bullets, cell, number, plural, shape, table
from .measured_sections import figure
from .metrics import METRICS, measured, shares
from .quality import FEW_KNOWN, rate
from .self_description import section

REPORT = "reports/stakeholder-report.md"
SLOW_START = 3.0  # a first run this many times slower than a warm one is worth a sentence
UNEVEN = 1.5  # p95 over median
WORTH_BATCHING = 1.2
DOMINANT = 0.4


def write(folder: Folder) -> str:
    """Write the report; return its name."""
    facts = facts_of(folder)
    parts = [
        decision(facts), _meaning(facts), section(facts), _targets(facts), _benchmark(facts),
        risks(facts), unknowns(facts), _criteria(facts), next_experiments(facts),
        integration(facts), _evidence(facts),
    ]  # fmt: skip
    text = "\n".join(line for part in parts for line in part).rstrip() + "\n"
    write_text(folder.path(REPORT), text)
    return REPORT


def _meaning(facts: dict[str, Any]) -> list[str]:
    lines = ["## What we learned", ""]
    contract, stats = facts["io_contract"], facts["stats"]
    if not contract:
        failed = [s for s in facts["steps"] or [] if s["status"] in ("failed", "refused")]
        said = (
            f" The step that failed: {failed[0]['what']}; see `{failed[0]['log']}`."
            if failed
            else ""
        )
        return [*lines, f"The model did not get as far as its first run.{said}", ""]
    ins = "; ".join(f"{i['name']} ({i['dtype']}, {shape(i['shape'])})" for i in contract["inputs"])
    outs = "; ".join(f"{o['name']} ({shape(o['run_shape'])})" for o in contract["outputs"])
    count = contract["facts"].get("parameters")
    size = f" with {count:,} parameters" if count else ""
    made = f"{_format(contract['format'])}{size}"
    lines += [f"It is a {made}. It takes {cell(ins)} and gives {cell(outs)}.", ""]
    if not stats:
        return [*lines, "Its speed could not be measured.", ""]
    return [*lines, " ".join(_speed(facts)), "", " ".join(_trust(facts)), ""]


def _format(name: str) -> str:
    return {
        "onnx": "network in the ONNX format", "torchscript": "TorchScript network",
        "torch_export": "network saved by torch.export", "state_dict": "PyTorch network",
        "module": "pickled PyTorch network", "served": "model that a server runs",
    }.get(name, name)  # fmt: skip


def _speed(facts: dict[str, Any]) -> list[str]:
    stats = facts["stats"]
    warm, cold = stats["warm"], stats["cold"]
    total = warm["total_ms"]
    size = sizes.phrase(facts["io_contract"])
    way = f"from {begun_with(facts['inputs'])} to answer"
    out = [
        f"One item{size} takes {number(total['median'])} ms {way} on {_where(facts)}, and 95 of "
        f"100 stay below {number(total['p95'])} ms."
    ]
    parts = shares(warm)
    part = max(parts, key=lambda p: parts[p])
    share = 100 * parts[part]
    if part == "model":
        out.append(f"The model itself is {share:.0f} % of that.")
    elif parts[part] > DOMINANT:
        out.append(
            f"The {part}ing is {share:.0f} % of that, so a faster model would change little."
        )
    ratio = cold["total_ms"] / total["median"] if total["median"] else 1.0
    if ratio > SLOW_START:
        out.append(
            f"The first item{size} of a fresh process takes {number(ratio, 2)} times as long "
            f"({number(cold['total_ms'])} ms) after {number(cold['import_s'] + cold['load_s'])} "
            "s of "
            "start-up: keep the process alive and send it one item before users do."
        )
    if total["median"] and total["p95"] / total["median"] > UNEVEN:
        out.append(
            "Times vary widely; measure again on a quiet machine before a limit is promised."
        )
    good = [t for t in stats["throughput"] if t["ok"]]
    best = stats["best_throughput"]
    if best and len(good) > 1:
        gain = best["items_per_s"] / good[0]["items_per_s"]
        if gain >= WORTH_BATCHING:
            out.append(
                f"Batches pay: {best['batch_size']} at a time{size} give "
                f"{number(best['items_per_s'])} items/s, {number(gain, 2)} times one by one."
            )
        else:
            out.append("Batches bring next to nothing here, so items can be sent one by one.")
    memory = stats["memory"]
    if stats.get("over"):
        out.append(f"These are times of a client: {stats['over']}.")
    if memory["peak_ram_mib"] is None:
        return out
    said = f"It needs {number(memory['peak_ram_mib'])} MiB of memory{size}"
    if memory["peak_vram_mib"] is not None:
        said += f" and {number(memory['peak_vram_mib'])} MiB on the card"
    out.append(f"{said}.")
    return out


def _where(facts: dict[str, Any]) -> str:
    machine, stats = facts["environment"].get("machine") or {}, facts["stats"]
    if stats["device"] == "cpu":
        name = " ".join(str(machine.get("cpu", "this processor")).split())
        return f"the processor ({name}, {plural(int(stats['threads']), 'thread')})"
    return f"{stats['device']} ({stats['provider']})"


def _trust(facts: dict[str, Any]) -> list[str]:
    inference, quality, inputs = facts["inference"], facts["quality"], facts["inputs"]
    out = []
    known = quality.get("inputs_with_known_answer", 0)
    if known:
        out.append(
            f"On {plural(known, 'input')} with a known answer it was right in "
            f"{rate('accuracy_pct', quality)}."
        )
        for name, word in (("recall_pct", "Recall"), ("far_pct", "FAR")):
            if name in quality:
                out.append(f"{word} is {rate(name, quality)}.")
        if inputs.get("rows_from"):
            out.append(f"The rows come from {inputs['rows_from']}.")
        if inputs.get("answers_from"):
            out.append(f"The known answers are {cell(inputs['answers_from'])}.")
        if known < FEW_KNOWN:
            out.append("That is too few to say how good it is.")
    elif inputs["kind"] == "synthesised":
        out.append(
            "Its inputs here were made up, so what it answered says nothing about how good it "
            "is: the "
            "run shows that it works, what it costs and how it is called."
        )
    else:
        out.append(
            "The inputs are real, but without known answers nobody can say whether it was right."
        )
    if inference["repeat_difference"] == 0:
        out.append("The same input gives exactly the same answer again.")
    gap = inference["batch_difference"]
    if gap is not None:
        moved = f"moves an answer by at most {number(gap, 2)}" if gap else "changes no answer"
        out.append(f"Sharing a batch {moved}.")
    return out


def _targets(facts: dict[str, Any]) -> list[str]:
    targets = facts["verdict"]["targets"]
    lines = ["## Targets", ""]
    if not targets:
        return [*lines, "None was given, so speed and quality are described, not judged.", ""]
    rows = []
    for t in targets:
        met = {True: "pass", False: "**missed**", None: f"not judged: {t['why']}"}[t["met"]]
        goal = f"{t['rule']} {number(t['target'])} {t['unit']}"
        how = t["how"] or "not measured by this command"
        value = t.get("rate") or number(t["measured"])
        rows.append((t["name"], goal, value, number(t["delta"]), met, how))
    return [
        *lines,
        *table(("target", "wanted", "measured", "delta", "result", "how it is measured"), rows),
    ]


def _benchmark(facts: dict[str, Any]) -> list[str]:
    values = measured(facts)
    if not values:
        return []
    machine = facts["environment"].get("machine") or {}
    libraries = machine.get("libraries") or {}
    shown = ", ".join(f"{k} {v}" for k, v in sorted(libraries.items()))
    cards = (
        "; ".join(f"{g.get('name')} ({g.get('memory')})" for g in machine.get("gpus", [])) or "none"
    )
    rows = [(n, number(values[n]), METRICS[n][0], _how(n, facts)) for n in METRICS if n in values]
    lines = ["## Benchmark and profile", ""]
    size = sizes.phrase(facts["io_contract"])
    if size:
        lines += [f"Times and memory were measured{size}; no target is judged on them.", ""]
    lines += table(("metric", "value", "unit", "how"), rows)
    lines += figure(facts, "latency")
    top = (facts["profile"] or {}).get("top") or []
    if top:
        three = top[:3]
        names = ", ".join(f"{cell(t['operator'])} ({t['share_pct']:.0f} %)" for t in three)
        lines += [f"Inside the model most time goes to {names}.", ""]
    training = facts["train_check"]
    if training and training["runs"]:
        losses = training["losses"]
        fell = "fell" if training["fell"] else "did not fall"
        lines += [
            f"Training runs: over {len(losses)} steps on one batch the loss {fell} from "
            f"{number(losses[0])} to {number(losses[-1])} ({training['assumptions']}).",
            "",
        ]
    whose = "The client's machine" if facts["stats"].get("over") else "Machine"
    lines += [
        f"{whose}: {cell(machine.get('cpu'))}, {machine.get('cores')} cores, "
        f"{number(machine.get('ram_gib'))} GiB RAM; graphics cards: {cell(cards)}; "
        f"{cell(machine.get('os'))}; Python {machine.get('python')}; {shown}.",
        "",
    ]
    return lines


def _how(name: str, facts: dict[str, Any]) -> str:
    how = METRICS[name][2]
    if name in facts["quality"].get("bounds", {}):
        return f"{how}: {rate(name, facts['quality'])}"
    return how.replace("end to end", f"from {begun_with(facts['inputs'])} to answer")


def _criteria(facts: dict[str, Any]) -> list[str]:
    found = facts["verdict"]
    states = [("it runs end to end", "yes" if facts["stats"] else "no")]
    if facts["inference"]:
        states.append(
            ("its numbers are finite", "no" if facts["inference"]["not_finite"] else "yes")
        )
    is_open = not facts["io_contract"] or facts["io_contract"]["unknown"]
    states.append(("no open question about inputs and outputs", "no" if is_open else "yes"))
    size = sizes.phrase(facts["io_contract"])
    states.append(("every size is stated", f"no, it ran{size}" if size else "yes"))
    known = facts["quality"].get("inputs_with_known_answer", 0)
    states.append(("checked on inputs with known answers", f"yes, {known}" if known else "no"))
    met = [t["met"] for t in found["targets"]]
    text = "none given" if not met else f"{met.count(True)} of {len(met)}"
    states.append(("targets met", text))
    if facts["train_check"]:
        states.append(
            ("the training check passes", "yes" if facts["train_check"].get("fell") else "no")
        )
    rule = (
        "Go = all of these hold. No-go = a proven failure or a missed target. Not decided = what "
        "was asked cannot be said before the open inputs are given. Anything else is a go with "
        "conditions."
    )
    return ["## Go or no-go", "", rule, "", *table(("criterion", "state"), states)]


def _evidence(facts: dict[str, Any]) -> list[str]:
    refs = [
        f"{r['name']}: {r['origin']}, commit {r.get('commit') or 'none'}"
        for r in facts["provenance"]["refs"]
    ]
    return [
        "## Evidence",
        "",
        "Numbers: `outputs/*.json`. Tables: [experiment report](experiment-report.md). Commands "
        "and logs: "
        "`logs/`. Again: `python scripts/run_all.py`.",
        "",
        *bullets([cell(r) for r in refs], "No upstream source was given."),
    ]
