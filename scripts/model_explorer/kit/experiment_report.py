"""``reports/experiment-report.md``: what stands in ``outputs/*.json``, in tables, without
judgement.
"""

from __future__ import annotations

from typing import Any

from .folder import Folder, write_text
from .judge import facts_of
from .markdown import bullets, cell, number, shape, table
from .measured_sections import NOT_RUN, figure, profile, speed, training, yes
from .self_description import section
from .steps import FIRST_OF_REPORTS

REPORT = "reports/experiment-report.md"


def write(folder: Folder) -> str:
    """Write the report from ``outputs/`` alone; the same files give the same bytes."""
    facts = facts_of(folder)
    parts = [
        _head(facts), _model(facts), section(facts), _contract(facts), _inputs(facts),
        _inference(facts), speed(facts), profile(facts), training(facts), _targets(facts),
        _environment(facts), _reproduce(facts),
    ]  # fmt: skip
    text = "\n".join(line for part in parts for line in part).rstrip() + "\n"
    write_text(folder.path(REPORT), text)
    return REPORT


def _head(facts: dict[str, Any]) -> list[str]:
    asked = facts["parameters"]
    return [
        f"# Experiment report: {cell(asked['title'])}",
        "",
        "Made by `scripts/30_experiment_report.py` from `outputs/*.json`; no number is computed "
        "here.",
        "Times are of this machine, in the state it was in.",
        "",
    ]


def _place(what: dict[str, Any], origin: dict[str, Any]) -> list[tuple[str, Any]]:
    served = what.get("served")
    if served:
        return [
            ("served at", served["address"]), ("protocol", served["protocol"]),
            ("model on the server", served.get("model")), ("version", served.get("version")),
            ("requests and responses", "`outputs/exchanges/`, cleaned of secrets"),
        ]  # fmt: skip
    return [
        ("model file", f"`{what['file']}`"), ("size", f"{number(origin['bytes'] / 2**20)} MiB"),
        ("SHA-256", f"`{origin['sha256']}`"),
    ]  # fmt: skip


def _model(facts: dict[str, Any]) -> list[str]:
    asked, origin = facts["parameters"], facts["provenance"]
    what = asked["model"]
    rows: list[tuple[str, Any]] = [
        *_place(what, origin), ("format", what["format"]), ("name", what.get("name")),
        ("network", what.get("architecture") or what.get("class_path")),
        ("claimed source", origin.get("url")), ("claimed version", origin.get("version")),
    ]  # fmt: skip
    facts_ = facts["io_contract"].get("facts") or {}
    for key in ("parameters", "class", "backbone", "producer", "graph", "description", "signature"):
        if facts_.get(key):
            value = f"{facts_[key]:,}" if key == "parameters" else facts_[key]
            rows.append((key, value))
    for key, value in (facts_.get("metadata") or {}).items():
        rows.append((f"metadata {key}", value[:200]))
    for key, value in (origin.get("file_facts") or {}).items():
        rows.append((key, value))
    refs = [
        (
            r["name"],
            r["kind"],
            r["origin"],
            r.get("commit") or "no commit",
            _dirty(r),
            r.get("licence"),
        )
        for r in origin["refs"]
    ]
    made = origin["made_by"]
    made_by = f"{made['project']} {made['version']}, commit {made['commit'] or 'unknown'}"
    rows.append(("explored by", made_by + (", changed" if made["is_dirty"] else "")))
    lines = ["## Model", "", *table(("what", "value"), rows)]
    if refs:
        head = ("reference in refs/", "kind", "origin", "commit", "changed", "licence file says")
        lines += table(head, refs)
    return lines


def _dirty(ref: dict[str, Any]) -> str:
    known: dict[Any, str] = {True: "yes", False: "no"}
    return known.get(ref.get("is_dirty"), "–")


def _contract(facts: dict[str, Any]) -> list[str]:
    contract = facts["io_contract"]
    lines = ["## Input and output", ""]
    if not contract:
        return [*lines, NOT_RUN, ""]
    head = ("input", "type", "shape", "run with", "stated by")
    lines += table(
        head,
        [(i["name"], i["dtype"], shape(i["shape"]), shape(i["run_shape"]), i["source"])
         for i in contract["inputs"]],
    )  # fmt: skip
    lines += table(
        ("output", "type", "shape", "came out", "stated by"),
        [(o["name"], o["dtype"], shape(o["shape"]), shape(o["run_shape"]), o["source"])
         for o in contract["outputs"]],
    )  # fmt: skip
    lines += [f"Batches: {cell(contract['batch']['reason'])}.", ""]
    for entry in contract["inputs"]:
        if entry.get("trial"):
            good = [str(a["shape"]) for a in entry["trial"]["accepted"]]
            bad = [str(a["shape"]) for a in entry["trial"]["refused"]]
            lines += [f"Tried for {cell(entry['name'])}: runs {', '.join(good)}"
                      + (f"; refused {', '.join(bad)}." if bad else "."), ""]  # fmt: skip
    rows = [(i["name"], i["role"], _filled(i, contract)) for i in contract["inputs"]
            if i.get("role", "data") != "data" or (i.get("fill") or {}).get("kind") != "random"
            or i.get("range")]  # fmt: skip
    if rows:
        lines += table(("input", "is", "made-up items have"), rows)
    if contract.get("state"):
        lines += [f"Inference ran {contract['steps']} steps an input; times are of one step.", ""]
    rows = []
    for name, rule in sorted(contract["preprocess"].items()):
        hidden = ("source", "kind")
        said = ", ".join(f"{k} {_short(v)}" for k, v in sorted(rule.items()) if k not in hidden)
        rows.append((name, said, rule["source"]))
    if rows:
        lines += table(("preprocessing of", "values", "stated by"), rows)
    post = contract["postprocess"]
    said = ", ".join(
        f"{k} {_short(v)}" for k, v in sorted(post.items()) if k not in ("source", "kind")
    )
    lines += table(
        ("postprocessing", "values", "stated by"), [(post["kind"], said, post["source"])]
    )
    lines += ["Unknown, and what would settle it:", ""]
    lines += bullets(f"{cell(u['what'])}: {cell(u['settle'])}" for u in contract["unknown"])
    return lines


def _filled(entry: dict[str, Any], contract: dict[str, Any]) -> str:
    """Return what an input is filled with when it is made up, in words."""
    fill = entry.get("fill") or {"kind": "random"}
    words = {"positions": "0, 1, 2 …", "length": "the length of the data"}
    said = words.get(fill["kind"], _short(fill["value"]) if "value" in fill else "")
    if fill["kind"] == "random":
        low, high = entry.get("range") or ("", "")
        said = f"{low} … {high} ({entry.get('range_source') or 'the user'})"
    if fill.get("guessed"):
        said += ", a guess"
    fed = (contract.get("state") or {}).get(entry["name"])
    return f"{said}; then what {fed} gave" if fed else said


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        shown = [_short(v) for v in value[:8]]
        return "[" + ", ".join(shown) + (", …]" if len(value) > 8 else "]")
    return str(value)


def _inputs(facts: dict[str, Any]) -> list[str]:
    found = facts["inputs"]
    if not found:
        return ["## Inputs", "", NOT_RUN, ""]
    return [
        "## Inputs",
        "",
        f"{len(found['samples'])}, {found['kind']}: {cell(found['why'])}.",
        "",
        *([f"Rows from {cell(found['rows_from'])}.", ""] if found.get("rows_from") else []),
        *(
            [f"Known answers: {cell(found['answers_from'])}.", ""]
            if found.get("answers_from")
            else []
        ),
        *(
            ["Searched: " + ", ".join(f"`{s}`" for s in found["searched"]), ""]
            if found["searched"]
            else []
        ),
    ]


def _inference(facts: dict[str, Any]) -> list[str]:
    found = facts["inference"]
    if not found:
        return ["## Input to output", "", NOT_RUN, ""]
    rows = [
        (s["id"], s["origin"], s["truth"], s["answer"], ", ".join(f"`{r}`" for r in s["raw"]))
        for s in found["samples"]
    ]
    lines = ["## Input to output", "", *figure(facts, "inputs")]
    lines += table(("input", "origin", "known answer", "answer", "raw output"), rows)
    checks = [
        ("largest difference when the same input is run again", number(found["repeat_difference"])),
        ("largest difference when inputs share a batch", number(found["batch_difference"])),
        ("output numbers that are not finite", found["not_finite"]),
        ("different inputs give different answers", yes(found["answers_differ"])),
    ]
    return [*lines, *table(("check", "value"), checks)]


def _targets(facts: dict[str, Any]) -> list[str]:
    targets, quality = facts["verdict"].get("targets") or [], facts["quality"]
    lines = ["## Targets", ""]
    if not targets:
        lines += ["None was given.", ""]
    else:
        rows = []
        for t in targets:
            met = {True: "pass", False: "missed", None: f"not judged: {t['why']}"}[t["met"]]
            goal = f"{t['rule']} {number(t['target'])} {t['unit']}"
            rows.append((t["name"], goal, number(t["measured"]), number(t["delta"]), met,
                         t["how"] or t.get("settle")))  # fmt: skip
        lines += table(("target", "wanted", "measured", "delta", "result", "how"), rows)
    if quality.get("inputs_with_known_answer"):
        bounds = quality.get("bounds") or {}
        lines += table(
            ("quality", "value", "95 % lower bound", "95 % upper bound"),
            [(k, number(v, 4), *(number(b, 4) for b in bounds.get(k) or (None, None)))
             for k, v in sorted(quality.items()) if k != "bounds"],
        )  # fmt: skip
    return lines


def _environment(facts: dict[str, Any]) -> list[str]:
    found, needs = facts["environment"], facts["dependencies"]
    lines = ["## Environment", ""]
    rows = [("managed as", found.get("kind")), ("interpreter", found.get("python"))]
    machine = found.get("machine") or {}
    rows += (
        [("runtime", found.get("runtime")), ("network", found.get("network"))] if machine else []
    )
    for key in ("cpu", "cores", "ram_gib", "os"):
        rows.append((key, machine.get(key)))
    cards = [
        f"{g.get('name')}, {g.get('memory')}, driver {g.get('driver')}"
        for g in machine.get("gpus", [])
    ]
    rows.append(("graphics cards", "; ".join(cards) or "none"))
    rows.append(("Python", machine.get("python")))
    for name, version in sorted((machine.get("libraries") or {}).items()):
        rows.append((name, version))
    lines += table(("what", "value"), rows)
    listed = [
        (d["distribution"], d["found"] or "missing", d["wanted"], d["group"], d["needed_by"])
        for d in needs.get("list") or []
    ]
    lines += ["Dependencies:", ""]
    lines += table(("package", "found", "documented", "kind", "needed by"), listed)
    if needs.get("installed"):
        done = needs["installed"]
        lines += [f"Installed after the user's answer `explore.install: {done['answer']}`:", ""]
        lines += table(
            ("try", "packages", "result", "log"),
            [(a["strategy"], ", ".join(a["packages"]), a["result"], f"`{a['log']}`")
             for a in done["attempts"]],
        )  # fmt: skip
    return lines


def _reproduce(facts: dict[str, Any]) -> list[str]:
    rows = [
        (f"`{s.get('command', s['script'])}`", s["status"], number(s.get("seconds")),
         f"`{s['log']}`" if s.get("log") else None)
        for s in facts["steps"] or []
        if s["script"] < FIRST_OF_REPORTS
    ]  # fmt: skip
    return [
        "## Commands",
        "",
        "All of it again, from this folder wherever it lies: `python scripts/run_all.py`.",
        "",
        *table(("command", "result", "seconds", "log"), rows),
    ]
