"""``<phase>_summary.md``: one phase in at most 300 words, for a person or a language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.core.files import write_text_atomic
from deft.record.advice import phase_notes, recommendations
from deft.record.metric import failed_gap, key_of, phase_met
from deft.record.phase_files import PhaseFiles
from deft.record.phrases import PERCENT, PLAIN_PERCENT, SCORE, plain, shown
from deft.record.results import collect_results
from deft.record.run_files import RunFiles, load_run
from deft.record.strict import Strict
from deft.record.verdict import verdict_of
from deft.tables.changenet_table import is_ng

MAX_WORDS = 300
ADVICE_LINES = 3
TYPES_LISTED = 8


def write_summary(run_dir: str | Path, phase: str) -> Path:
    """Write ``<run>/<phase>_summary.md`` and return its path.

    ``run_dir`` is ``<workspace>/results/<run>``. Raises ``ValueError`` when the phase has no files.
    """
    run_dir = Path(run_dir).absolute()
    files = load_run(run_dir, run_dir.parent.parent, Strict())
    found = next((p for p in files.phases if p.name == phase), None)
    if found is None:
        raise ValueError(f"phase {phase!r} has no files in {run_dir}")
    text = summary_text(files, found, collect_results(files))
    return write_text_atomic(run_dir / f"{phase}_summary.md", text)


def summary_text(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> str:
    """Return the summary; the least important lines go first when there are too many words."""
    head = [f"# {phase.name} of {files.name}", ""]
    verdict = verdict_of(files, phase, results)
    if verdict:
        head += ["Verdict:", *(f"- {line}" for line in verdict.brief(results)), ""]
    body = [*evaluation_lines(files, phase, results), *_growth(phase, results)]
    types = type_lines(phase, results)
    met = bool(phase_met(files, phase))
    advice = [
        "- " + plain(line, results) for line in recommendations(files, results, met)[:ADVICE_LINES]
    ]
    while True:
        parts = [*head, *body]
        parts += ["", "Defect types:", *types] if types else []
        parts += ["", "Next:", *advice] if advice else []
        text = "\n".join(parts).replace("\u00a0", " ") + "\n"
        if len(text.split()) <= MAX_WORDS:
            return text
        if advice:
            advice.pop()
        elif types:
            types.pop()
        elif len(body) > 1:
            body.pop()
        else:
            return " ".join(text.split()[:MAX_WORDS]) + "\n"


def evaluation_lines(files: RunFiles, phase: PhaseFiles, results: Mapping[str, Any]) -> list[str]:
    """Return the status of a phase, then its figures with counts and bounds."""
    name = phase.name

    def n(key: str, form: str = "%d") -> str:
        return shown(results, f"{name}.{key}", form)

    if phase.far_pct is None:
        why = "; ".join(plain(note, results) for note in phase_notes(files, phase, None))
        return [f"Not evaluated: {why}."]
    met, contract = phase_met(files, phase), files.contract
    key, bound = failed_gap(files, phase)
    if met is None:
        status = "IN PROGRESS"
    elif met:
        status = "MET"
    elif bound is None:
        status = f"{n(key, '%.2f')}pp from target"
    else:
        unit = f" {bound.unit}" if bound.unit else ""
        status = f"{n(key, '%.4g')}{unit} from target of {bound.display_name}"
    sign = "<" if files.target.get("strict", True) else "≤"
    target = shown(results, "target.far_max_pct", PLAIN_PERCENT)
    recall = shown(results, "target.min_recall_pct", PLAIN_PERCENT)
    wanted = f"FAR {sign} {target} at recall {recall}" if contract is None else contract.told()
    lines = [
        f"Status: {status} ({wanted})",
        f"- FAR {n('far_pct', PERCENT)} ({n('fp')}/{n('pass')} good parts rejected, at most "
        f"{n('far_upper95_pct', PERCENT)}); at recall 99 % {n('far_at_recall_99_pct', PERCENT)}, "
        f"at 95 % {n('far_at_recall_95_pct', PERCENT)}",
        f"- recall {n('recall_pct', PERCENT)} ({n('tp')}/{n('ng')} defects caught, at least "
        f"{n('recall_lower95_pct', PERCENT)}); bounds one-sided, 95 %",
        f"- threshold {n('threshold', SCORE)} on the score (high = defective), "
        f"weights `{Path(str((phase.metrics.get('weights') or {}).get('path', ''))).name}` "
        f"({phase.chosen})",
    ]
    if contract is not None:
        values = [(b, n(f"{key_of(b, contract.primary)}.value", "%.6g")) for b in contract.bounds]
        lines += [f"- {b.display_name} {value} {b.unit}".rstrip() for b, value in values]
    if f"{name}.far_delta_pp" in results and name != "baseline":
        lines.append(f"- against the baseline {n('far_delta_pp', '%+.2f')} percentage points")
    notes = phase_notes(files, phase, met)
    lines += ["- note: " + plain(note, results) for note in notes]
    return lines


def _growth(phase: PhaseFiles, results: Mapping[str, Any]) -> list[str]:
    name = phase.name

    def n(key: str, form: str = "%d") -> str:
        return shown(results, f"{name}.{key}", form)

    lines = []
    if phase.mining:
        lines.append(
            f"- mining ({phase.mining.get('strategy', 'nearest')}): {n('mining.targets')} weak "
            f"pictures, {n('mining.kept_count')} of {n('mining.candidate_count')} candidates kept, "
            f"{n('mining.new_rows')} new rows"
        )
    if f"{name}.dataset.rows" in results:
        lines.append(
            f"- training rows {n('dataset.rows')}, synthetic {n('dataset.sdg_rows')} "
            f"({n('dataset.sdg_share_pct', PERCENT)})"
        )
    return lines


def type_lines(phase: PhaseFiles, results: Mapping[str, Any], *, every: bool = False) -> list[str]:
    """Return a line for each defect type, for the first eight unless ``every``."""
    lines = []
    labels = [label for label in sorted(phase.metrics.get("labels") or {}) if is_ng(label)]
    for label in labels if every else labels[:TYPES_LISTED]:
        key = f"{phase.name}.labels.{label}"
        few = results.get(f"{key}.more_to_certify", 0) > 0
        caught = shown(results, f"{key}.caught", "%d")
        count = shown(results, f"{key}.count", "%d")
        bound = shown(results, f"{key}.recall_lower95_pct", "%.1f %%")
        tail = ", too few to certify" if few else ""
        lines.append(f"- {label}: {caught}/{count} caught, at least {bound}{tail}")
    return lines
