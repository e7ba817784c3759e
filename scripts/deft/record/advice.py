"""What to do next: fixed rules over numbers that are already there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deft.kpi.decision import CUTOFF, POOL_EXHAUSTED
from deft.record.phase_files import PhaseFiles
from deft.record.phrases import PERCENT, PLAIN_PERCENT, Literal, Number, Part, Sentence
from deft.record.results import MIN_NG_TO_CERTIFY
from deft.record.run_files import RunFiles
from deft.tables.labels import clean_label, is_ng

TYPES_NAMED = 4
HALF = 0.5
BEST_NOTES = {  # by FAR? -> while it runs, and at its end
    True: ("lowest FAR so far", "lowest FAR of the run"),
    False: ("best by the metric contract so far", "best of the run by the metric contract"),
}


def _said(*parts: Part) -> list[Part]:
    """Return the beginning of a sentence, to which lists of more parts can be added."""
    return list(parts)


def phase_notes(files: RunFiles, phase: PhaseFiles, met: bool | None) -> list[Sentence]:
    """Return the short notes on a phase, for its table line and its card."""
    notes: list[Sentence] = []
    if phase is files.best:
        so_far, whole = BEST_NOTES[files.contract is None]
        notes.append([so_far if files.running else whole])
    if phase.kind.get("degenerate"):
        notes.append(["the threshold rejects every good part (degenerate)"])
    before = files.phases[: files.phases.index(phase)]
    previous = next((p for p in reversed(before) if p.far_pct is not None), None)
    if previous and phase.far_pct is not None and phase.far_pct > (previous.far_pct or 0):
        notes.append(["FAR rose against ", Literal(previous.name)])
    if phase.decision.get("reason") == POOL_EXHAUSTED:
        notes.append(["mining found no new row; the loop ends here"])
    if phase.decision.get("reason") == CUTOFF:
        notes.append(["the cutoff rejects every new neighbour; the loop ends here"])
    if phase.far_pct is None and not notes:
        notes.append(["in progress" if files.running else "not evaluated"])
    if met:
        notes.append(["target met"])
    return notes


def recommendations(files: RunFiles, results: Mapping[str, Any], met: bool) -> list[Sentence]:
    """Return recommendations, the most pressing first."""
    best = files.best
    out: list[Sentence] = []
    if files.hard_stop:
        code = str(files.hard_stop.get("code", ""))
        fix = files.hard_stop.get("fix")
        out.append(
            _said("Resolve the hard stop ", Literal(code), " first")
            + ([": ", Literal(str(fix))] if fix else [""])
            + [". Everything before it is intact; the run resumes from there."]
        )
    if best is None:
        return [*out, ["Nothing was evaluated yet; advice follows the first evaluation."]]
    if files.arm in ("random", "none"):
        out.append(
            _said("This run is a control arm (mining: ", Literal(files.arm), "). Compare it with a")
            + [" run that mines by similarity; do not deploy it."]
        )
    elif any(p.mining for p in files.phases):
        out.append(
            _said("How much of the gain is due to the choice of rows (mining: ", Literal(files.arm))
            + [") is not known from this run: in trials a random choice of as many rows often did"]
            + [" nearly as well. Run the control arm (mining: random) once to see."]
        )
    if best.kind.get("degenerate"):
        out.append(
            ["The threshold that reaches the required recall rejects every good part. Look at the"]
            + [" weakest defects first: a wrong label or a missing picture is the usual cause."]
        )
    out += _views(best, results)
    out += _coverage(files, best, results)
    out += _evidence(best, results, met)
    if any(p.decision.get("reason") == POOL_EXHAUSTED for p in files.phases):
        out.append(
            ["The pool holds nothing new for the weak samples. Add production pictures of the"]
            + [" weak types, or generate pairs for them, and start a new run."]
        )
    told: set[str] = set()
    for phase in files.phases:
        warnings = [str(w) for w in phase.mining.get("warnings") or []]
        for warning in [w for w in warnings if w not in told][:TYPES_NAMED]:
            told.add(warning)
            out.append(["From mining in ", Literal(phase.name), ": ", Literal(warning)])
    last = files.evaluated[-1]
    if last is not best and (last.far_pct or 0) > (best.far_pct or 0):
        out.append(
            _said("The last lap is behind ", Literal(best.name), "; the hand-off takes the better")
            + [" one. Look at the rows that were mined in between."]
        )
    return out


def _views(best: PhaseFiles, results: Mapping[str, Any]) -> list[Sentence]:
    """Say where other views of the same weights do better on the KPI set."""
    own = best.metrics.get("score_views")
    mean = "far_geometric_mean_pct"
    found = {
        name: results[f"{best.name}.views.{name}.{mean}"]
        for name in best.metrics.get("views") or {}
        if f"{best.name}.views.{name}.{mean}" in results
    }
    if own not in found or min(found, key=lambda name: found[name]) == own:
        return []
    name = min(found, key=lambda name: found[name])
    key, now = f"{best.name}.views.{name}", f"{best.name}.views.{own}"
    return [
        _said("With score_views: ", Literal(name), " the same weights have FAR ")
        + [Number(f"{key}.far_pct", PERCENT), " instead of ", Number(f"{now}.far_pct", PERCENT)]
        + [" at the required recall, and ", Number(f"{key}.{mean}", PERCENT), " instead of "]
        + [Number(f"{now}.{mean}", PERCENT), " in the geometric mean over recalls; a part then "]
        + ["takes ", Number(f"{key}.passes"), " passes of the network instead of "]
        + [Number(f"{now}.passes"), "."]
    ]


def _coverage(files: RunFiles, best: PhaseFiles, results: Mapping[str, Any]) -> list[Sentence]:
    """Name defect types of the KPI set that the pool has no part of."""
    if not any(key.startswith("pool.labels.") for key in results):
        return []
    pool = {clean_label(str(label)) for label in files.pool_rows["label"].unique()}
    absent = [
        label
        for label in sorted(best.metrics.get("labels") or {})
        if is_ng(label) and clean_label(label) not in pool
    ]
    if not absent:
        return []
    names: list[Any] = []
    for label in absent[:TYPES_NAMED]:
        names += [", " if names else "", Literal(label)]
    return [["The mining pool has no part labelled ", *names, "; mining cannot help there."]]


def _evidence(best: PhaseFiles, results: Mapping[str, Any], met: bool) -> list[Sentence]:
    """Say what the counts can and cannot prove."""
    out: list[Sentence] = []
    name = best.name
    labels = sorted(
        (label for label in best.metrics.get("labels") or {} if is_ng(label)),
        key=lambda label: (results.get(f"{name}.labels.{label}.count", 0), label),
    )
    few = [
        label
        for label in labels
        if results.get(f"{name}.labels.{label}.count", 0) < MIN_NG_TO_CERTIFY
    ]
    if few:
        line: list[Any] = ["Collect more defects for the KPI set; too few to certify a recall of "]
        line += [Number("certify.recall_pct", PLAIN_PERCENT), " for the type: "]
        for i, label in enumerate(few[:TYPES_NAMED]):
            key = f"{name}.labels.{label}"
            line += [", " if i else "", Literal(label), " (", Number(f"{key}.count")]
            line += [" there, ", Number(f"{key}.more_to_certify"), " more needed)"]
        out.append([*line, " and others." if len(few) > TYPES_NAMED else "."])
    needed = results.get("certify.min_pass")
    if needed and results.get(f"{name}.pass", 0) < needed:
        out.append(
            _said("To prove FAR below ", Number("target.far_max_pct", PLAIN_PERCENT), " at ")
            + [Number("confidence.one_sided_pct", PLAIN_PERCENT), " confidence takes at least "]
            + [Number("certify.min_pass"), " good parts without one false alarm; this set has "]
            + [Number(f"{name}.pass"), "."]
        )
    if met:
        out.append(
            ["Before deployment, score the best model once, at its frozen threshold, on parts that"]
            + [" no phase has seen. The figures here come from the set that chose the model."]
        )
    elif results.get("best.improvement_pp", 0) <= 0:
        out.append(
            ["No lap improved on the baseline. Check the weak samples for wrong labels and the"]
            + [" pool for parts that look like them before adding laps."]
        )
    share = results.get(f"{name}.far_at_recall_95_pct")
    full = results.get(f"{name}.far_pct")
    if share is not None and full and share < HALF * full:
        out.append(
            _said("A few hard defects set the threshold: FAR is ")
            + [Number(f"{name}.far_pct", PERCENT), " at the required recall but "]
            + [Number(f"{name}.far_at_recall_95_pct", PERCENT), " at "]
            + [Number("recall_levels.low_pct", PLAIN_PERCENT), ". Review those defects by eye."]
        )
    return out
