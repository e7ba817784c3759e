"""``knowledge_base/``: what was used, decided and measured, as Markdown that people read.

One file per topic holds a section per run or phase between two comment lines. Writing a section
again replaces it, so the files can be written as the loop runs and after it. Every number links to
its key in the run's ``analysis.json``, so that `check_quotes` can compare them; a number that is no
result (a year, a level, a count of the manifest, words of a warning) has a mark that says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.core.places import KNOWLEDGE, KNOWLEDGE_PAGES
from deft.core.reading import read_text, set_aside
from deft.core.workspace_source import SOURCE_FILE
from deft.record.advice import phase_notes
from deft.record.metric import phase_met
from deft.record.phase_files import PhaseFiles, dig
from deft.record.phrases import MISSING, PERCENT, PLAIN_PERCENT, SCORE, plain, shown
from deft.record.proof import acceptance, comparisons
from deft.record.run_files import RunFiles

METHODS = """\
- Visual ChangeNet (NVIDIA TAO Toolkit): a siamese network scores a picture against its golden.
- C-RADIOv2 (NVIDIA): the reference backbone. SigLIP (Zhai et al., ICCV 2023): the embedding of
  the k-NN mining.
- Clopper and Pearson, Biometrika 1934: the exact bounds of recall and FAR.
- Hanley and Lippman-Hand, JAMA 1983: what zero events in n trials prove.
- Leeflang et al., Clinical Chemistry 2008: thresholds picked on the data that they are judged by
  look better than they are.
- Dwork et al., Science 2015 (the reusable holdout): a set that is asked many times stops being
  independent. Hence the count of scored models in the report.
"""


def upsert_section(path: Path, key: str, body: str, title: str) -> None:
    """Write a section into a Markdown file, in place of the one with the same key if any."""
    begin, end = f"<!-- begin {key} -->", f"<!-- end {key} -->"
    try:
        text = read_text(path) if path.exists() else f"# {title}\n"
    except HardStop as stop:  # somebody saved it otherwise: theirs is kept, ours goes on
        set_aside(path, stop.message)
        text = f"# {title}\n"
    section = f"{begin}\n{body.strip()}\n{end}\n"
    pattern = re.compile(re.escape(begin) + r"\n.*?" + re.escape(end) + r"\n", re.DOTALL)
    if pattern.search(text):
        # A function as replacement: backslashes in the text stay as they are.
        new = pattern.sub(lambda _: section, text, count=1)
    else:
        new = text.rstrip("\n") + "\n\n" + section
    if new != text or not path.is_file():
        write_text_atomic(path, new)


def write_knowledge(
    files: RunFiles, results: Mapping[str, Any], data: list[dict[str, Any]]
) -> Path:
    """Write the run's sections of every topic; return the ``knowledge_base`` folder."""
    root = files.workspace / KNOWLEDGE

    def put(topic: str, key: str, body: str) -> None:
        upsert_section(root / topic, key, body.replace("\u00a0", " "), KNOWLEDGE_PAGES[topic])

    put("data/datasets.md", files.name, _data(files, results, data))
    put("literature/methods.md", "methods", f"<!-- quotes: off -->\n{METHODS}<!-- quotes: on -->")
    put("decisions/decisions.md", files.name, _run_decisions(files, results))
    for phase in files.phases:
        key = f"{files.name}/{phase.name}"
        put("decisions/decisions.md", key, _decision(files, phase, results))
        if phase.metrics:
            put("methodology_traces/evaluation.md", key, _trace(files, phase, results))
    return root


def sentence(text: str) -> str:
    """Return a note as a sentence: first letter upper case, a full stop at the end."""
    return text[:1].upper() + text[1:] + "."


def no_result(text: str, *numbers: object) -> str:
    """Return a line with the mark that its ``numbers`` (all, when none is named) are no results."""
    named = " ".join(map(str, ("ignore", *numbers)))
    return f"{' '.join(text.split())} <!-- quotes: {named} -->"


def linked(run: str, results: Mapping[str, Any], key: str, form: str) -> str:
    """Return a number of a run as a Markdown link to its key; a dash when there is none."""
    text = shown(results, key, form)
    if text == MISSING:
        return text
    return f"[{text}](../../artifacts/runs/{run}/analysis.json#results.{quote(key)})"


def _data(files: RunFiles, results: Mapping[str, Any], data: list[dict[str, Any]]) -> str:
    lines = [f"## {files.name}", "", _source(files), ""]
    lines += ["| table | rows | sha256 | role |", "|---|---:|---|---|"]
    lines += [
        no_result(f"| `{d['path']}` | {d['rows']} | `{d['sha256'] or ''}` | {d['notes']}") + " |"
        for d in data
    ]
    pool = [
        linked(files.name, results, f"pool.{k}", "%d")
        for k in ("total_rows", "real_rows", "sdg_rows")
    ]
    lines += ["", f"Source pool: {pool[0]} rows, {pool[1]} real, {pool[2]} synthetic."]
    return "\n".join(lines)


def _source(files: RunFiles) -> str:
    """Say where the tables came from and who split them."""
    made = files.reader.record(files.workspace / SOURCE_FILE)
    if not made:
        return (
            "Source and split: the user's own tables, taken as they are. That no part stands on "
            "two sides of the split was checked by key and by picture before the run."
        )
    asked = ", ".join(f"{k} `{v}`" for k, v in sorted((made.get("request") or {}).items()))
    return (
        f"Source: made by `{made.get('kind')}`, request sha256 `{made.get('request_sha256')}`. "
        f"Split by that request: {asked}."
    )


def _run_decisions(files: RunFiles, results: Mapping[str, Any]) -> str:
    """Return what holds for the whole run: the choice between phases, warnings, the end."""
    lines = [f"## {files.name}", ""]
    if files.best is not None:
        fars = ", ".join(
            f"{p.name} {linked(files.name, results, f'{p.name}.far_pct', PERCENT)}"
            for p in files.evaluated
        )
        so_far = " so far" if files.running else ""
        why = "the lowest FAR at the required recall"
        if files.by_proof:
            why = "the best proven one by McNemar's test at each phase's own threshold"
        if files.contract is not None:
            why = f"the best by the metric contract, {files.contract.told()}"
        line = (
            f"- Phase: {files.best.name}, {why}{so_far}, the earlier one between equals ({fars})."
        )
        lines.append(no_result(line) if files.contract is not None else line)
    lines += _opened(files, results)
    if files.stop_reason:
        lines.append(no_result(f"- The loop ended: {files.stop_reason}."))
    lines += [
        no_result(f"- Warned before the start, `{c.get('id')}`: {c.get('evidence')}")
        for c in files.checks.get("checks") or []
        if c.get("status") == "warn"
    ]
    return "\n".join(lines)


def _opened(files: RunFiles, results: Mapping[str, Any]) -> list[str]:
    """Return what the sealed acceptance set said and how often it was opened, if it was."""
    told = acceptance(files)
    if not told:
        return []

    def n(key: str, form: str = "%d") -> str:
        return linked(files.name, results, f"acceptance.{key}", form)

    champion = dig(told, "asked", "handed_off", "champion")
    return [
        f"- Acceptance set, opening {n('opening')}: {dig(told, 'gate', 'outcome')}, against "
        f"{champion or 'the target alone (nothing is in production)'}. FAR "
        f"{n('challenger.far_pct', PERCENT)}, recall {n('challenger.recall_pct', PERCENT)}; parts "
        f"that were opened before: {n('parts_seen_before')} of {n('set.rows')}."
    ]


def _decision(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> str:
    def number(key: str, form: str = "%d") -> str:
        return linked(files.name, results, key, form)

    name = phase.name
    lines = [f"## {files.name}, {name}", ""]
    if phase.metrics:
        kinds = [
            f"{kind} FAR {number(f'{name}.kinds.{kind}.far_pct', PERCENT)}"
            for kind in sorted(phase.metrics.get("kinds") or {})
        ]
        lines.append(
            f"- Weights: {phase.chosen}, the lower FAR at the required recall ({', '.join(kinds)})."
        )
        lines.append(
            f"- Threshold {number(f'{name}.threshold', SCORE)}: best F1 among those that reach the "
            f"recall of {number('target.min_recall_pct', PLAIN_PERCENT)}."
        )
    if against := comparisons(files).get(name, {}).get("against_previous"):
        key = f"{name}.against_previous"
        counts = [
            f"{kind} {number(f'{key}.{of}.fixed')} fixed, {number(f'{key}.{of}.broke')} broke, p "
            f"{number(f'{key}.{of}.p', '%.2g')}"
            for of, kind in (("good", "good parts"), ("defects", "defects"))
        ]
        lines.append(f"- Against the phase before: {against.verdict} ({'; '.join(counts)}).")
    if phase.mining:
        n = {k: number(f"{name}.mining.{k}") for k in ("candidate_count", "kept_count", "new_rows")}
        lines.append(
            f"- Mining by {phase.mining.get('strategy', 'nearest')}: {n['kept_count']} of "
            f"{n['candidate_count']} candidates kept, {n['new_rows']} new."
        )
        warned = phase.mining.get("warnings") or []
        lines += [no_result(f"- Warned while mining: {w}") for w in warned]
    if phase.decision:
        stopped = bool(phase.decision.get("stop"))
        reason = phase.decision.get("reason")
        why = no_result(f"- The loop stops: {reason}.")
        lines.append(why if stopped else "- The loop goes on.")
    if files.hard_stop.get("phase") == name:
        stop = files.hard_stop
        lines.append(no_result(f"- Hard stop `{stop.get('code')}`: {stop.get('message')}"))
    notes = phase_notes(files, phase, phase_met(files, phase))
    lines += ["- " + sentence(plain(note, results)) for note in notes]
    return "\n".join(lines)


def _trace(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> str:
    name = phase.name

    def n(key: str, form: str = "%d") -> str:
        return linked(files.name, results, f"{name}.{key}", form)

    weights = phase.metrics.get("weights") or {}
    recall = linked(files.name, results, "target.min_recall_pct", PLAIN_PERCENT)
    lines = [
        f"## {files.name}, {name}",
        "",
        f"- Rule: NO_PASS when the siamese score is above the threshold; required recall {recall}.",
        no_result(
            f"- FAR {n('far_pct', PERCENT)} = {n('fp')} / {n('pass')}, one-sided 95 % upper bound "
            f"{n('far_upper95_pct', PERCENT)}.",
            95,
        ),
        no_result(
            f"- Recall {n('recall_pct', PERCENT)} = {n('tp')} / {n('ng')}, one-sided 95 % lower "
            f"bound {n('recall_lower95_pct', PERCENT)}.",
            95,
        ),
        no_result(
            f"- FAR at recall 99 %: {n('far_at_recall_99_pct', PERCENT)}, at 95 %: "
            f"{n('far_at_recall_95_pct', PERCENT)}.",
            99,
            95,
        ),
        f"- Weights `{weights.get('path')}`, sha256 `{weights.get('sha256')}`.",
        f"- Weight files scored on the KPI set up to here: {n('models_scored_so_far')}.",
    ]
    return "\n".join(lines)
