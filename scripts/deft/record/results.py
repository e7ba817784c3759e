"""The flat numbers of a run: ``analysis.json:results``, the only numbers a text may show.

Every value is read from a file that a stage wrote; the only arithmetic here is a difference, a
share or a count of such values. Keys are dotted: ``baseline.far_pct``,
``iter1.labels.bridge.count``. Units stand in the name: ``_pct`` percent, ``_pp`` percentage
points, ``_seconds``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from deft.core import layout
from deft.kpi.certify import CERTIFY_RECALL
from deft.rca.weakness import wrong_side
from deft.record.breakdown import buckets, groupings
from deft.record.causes import FIGURES, looked_for, named_causes
from deft.record.embedding_map import embedding_map
from deft.record.failures import failures_of
from deft.record.judged import judge, lights_and_ext
from deft.record.metric import key_of, result_of
from deft.record.numbers import POINT_FIELDS, Numbers
from deft.record.phase_files import PhaseFiles, dig
from deft.record.proof import proof_numbers
from deft.record.rows import shown_neighbours, shown_weak_parts, weak_parts
from deft.record.run_files import FINAL_AUTOML, RunFiles
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import PASS, is_ng
from deft.tables.corrections import OUT, RIGHT, TABLES, WRONG, from_dicts, of_table

CONFIDENCE_PCT = 95.0
ALPHA = 1 - CONFIDENCE_PCT / 100
# All n defects caught prove recall >= 95 % (at 95 % confidence) from n = ln 0.05 / ln 0.95 on.
MIN_NG_TO_CERTIFY = math.ceil(math.log(ALPHA) / math.log(CERTIFY_RECALL))
RECALL_LEVELS = ("99", "95")  # FAR there is comparable between KPI sets, unlike FAR at 100 %
PROVENANCES = ("real", "sdg")
LABEL_FIELDS = (
    "count",
    "caught",
    "rejected",
    "min_score",
    "max_score",
    "mean_score",
    "recall_lower95_pct",
)
MINING_FIELDS = (
    "targets",
    "candidate_count",
    "kept_count",
    "rejected_count",
    "new_rows",
    "new_real",
    "new_sdg",
    "similarity_threshold",
)
ASSEMBLY_FIELDS = ("previous_rows", "mined_rows", "duplicates", "rows", "real_rows", "sdg_rows")


def collect_results(files: RunFiles) -> dict[str, float]:
    """Return the flat numbers of a run that is already read, sorted by key."""
    out = Numbers()
    _target(out, files)
    _kpi_set(out, files)
    _corrections(out, files)
    _pool(out, files)
    scored: set[str] = set()
    for phase in files.phases:
        _phase(out, files, phase)
        scored |= _scored(phase)
        if phase.metrics:
            out.put(f"{phase.name}.models_scored_so_far", len(scored))
    _mined_again(out, files)
    _metric(out, files)
    _run(out, files, len(scored))
    _best(out, files)
    _failures(out, files)
    _map(out, files)
    _export(out, files)
    proof_numbers(out, files)
    return dict(sorted(out.items()))


def _scored(phase: PhaseFiles) -> set[str]:
    """Return one entry per weight file whose KPI scores were looked at."""
    kinds = phase.inference.get("kinds") or {}
    found = {
        str(k.get("weights_sha256") or f"{phase.name}/{name}")
        for name, k in kinds.items()
        if isinstance(k, dict)
    }
    return found or {f"{phase.name}/{kind}" for kind in phase.metrics.get("kinds") or {}}


def _target(out: Numbers, files: RunFiles) -> None:
    out.put("target.far_max_pct", files.target.get("far_max_pct"))
    recall = files.target.get("min_recall")
    target = KpiTarget.from_dict(files.target)
    if target and recall is not None:
        out.put("target.min_recall_pct", target.recall_pct)
    out.put("confidence.one_sided_pct", CONFIDENCE_PCT)
    out.put("certify.recall_pct", 100 * CERTIFY_RECALL)
    out.put("recall_levels.high_pct", float(RECALL_LEVELS[0]))
    out.put("recall_levels.low_pct", float(RECALL_LEVELS[1]))
    out.put("certify.min_ng", MIN_NG_TO_CERTIFY)
    far_max = files.target.get("far_max_pct")
    if isinstance(far_max, int | float) and 0 < far_max < 100:
        # log1p: 1 - x is 1 for the smallest targets, and its logarithm none to divide by.
        needed = math.ceil(math.log(ALPHA) / math.log1p(-far_max / 100))
        out.put("certify.min_pass", needed)
    for name in files.parameters:
        out.put(f"param.{name.get('name')}", name.get("value"))


def _kpi_set(out: Numbers, files: RunFiles) -> None:
    counts = next((p.metrics["counts"] for p in files.phases if p.metrics.get("counts")), None)
    if counts is None:  # before the first evaluation: count the table itself
        labels = files.kpi_labels
        if not labels:
            return
        good, rows = labels.get(PASS, 0), sum(labels.values())
        counts = {"rows": rows, "pass": good, "ng": rows - good, "labels": labels}
    out.put_all("kpi", counts, ("rows", "ng", "pass"))
    for label, n in (counts.get("labels") or {}).items():
        out.put(f"kpi.labels.{label}.count", n)
    classify = dig(files.spec, "dataset", "classify") or {}
    lights = list(classify.get("input_map") or {})
    out.put("kpi.lights.count", len(lights) or None)
    for light in lights:
        out.put(f"kpi.lights.{light}.pictures", counts.get("rows"))
    out.put_all("model", classify, ("image_width", "image_height", "num_golden"))


def _corrections(out: Numbers, files: RunFiles) -> None:
    """Count what people corrected, as the last pre-flight found it."""
    found = from_dicts(files.corrections)
    if not found:
        return
    out.put("corrections.count", len(found))
    out.put("corrections.confirmed", sum(one.verdict == RIGHT for one in found))
    for table in TABLES:
        own = of_table(found, table)
        out.put(f"corrections.{table}.relabelled", sum(one.verdict == WRONG for one in own))
        out.put(f"corrections.{table}.left_out", sum(one.verdict in OUT for one in own))


def _pool(out: Numbers, files: RunFiles) -> None:
    counts = files.pool.get("counts") or files.pool
    out.put_all("pool", counts, ("real_rows", "sdg_rows", "total_rows"))
    rows = files.pool_rows
    if {"label", "provenance"} <= set(rows.columns):
        _by_provenance(out, "pool.labels", rows)


def _by_provenance(out: Numbers, prefix: str, rows: Any) -> None:
    """Count rows per label and provenance, the zeros too."""
    for label, group in rows.groupby("label"):
        for provenance in PROVENANCES:
            out.put(
                f"{prefix}.{label}.{provenance}", int((group["provenance"] == provenance).sum())
            )


def _phase(out: Numbers, files: RunFiles, phase: PhaseFiles) -> None:
    name = phase.name
    out.put_point(name, phase.point)
    out.put_point(f"{name}.best_f1", phase.kind.get("best_f1"))
    out.put_all(name, phase.kind, ("auroc", "average_precision"))
    for level in RECALL_LEVELS:
        point = dig(phase.kind, "far_at_recall", level)
        out.put(f"{name}.far_at_recall_{level}_pct", dig(point, "far_pct"))
        out.put(f"{name}.far_at_recall_{level}_upper95_pct", dig(point, "far_upper95_pct"))
    table = phase.kind.get("recall_table")
    for i, point in enumerate(table if isinstance(table, list) else []):
        out.put_point(f"{name}.recall_table.{i}", point)
        out.put(f"{name}.recall_table.{i}.min_recall_pct", dig(point, "min_recall_pct"))
        row = f"{name}.recall_table.{i}"
        out.difference(f"{row}.gap_pp", f"{row}.far_pct", "target.far_max_pct")
    for kind, content in _mapping(phase.metrics.get("kinds")).items():
        out.put_point(f"{name}.kinds.{kind}", dig(content, "recall_point"))
    for views, content in _mapping(phase.metrics.get("views")).items():
        key = f"{name}.views.{views}"
        out.put_point(key, dig(content, "recall_point"))
        out.put_all(key, content, ("passes", "far_geometric_mean_pct"))
    for label, content in _mapping(phase.metrics.get("labels")).items():
        key = f"{name}.labels.{label}"
        out.put_all(key, content, LABEL_FIELDS)
        if is_ng(label) and f"{key}.count" in out:
            out.put(f"{key}.more_to_certify", max(0, MIN_NG_TO_CERTIFY - out[f"{key}.count"]))
    out.difference(f"{name}.far_delta_pp", f"{name}.far_pct", "baseline.far_pct")
    out.difference(f"{name}.gap_pp", f"{name}.far_pct", "target.far_max_pct")
    out.put_all(f"{name}.weights", phase.metrics.get("weights"), ("epoch", "val_loss"))
    training = ("rows", "validation_rows", "epochs", "steps", "seed")
    out.put_all(f"{name}.train", phase.weights, training)
    _growth(out, files, phase)
    out.put_all(f"{name}.mining", phase.mining, MINING_FIELDS)
    if {"label", "provenance"} <= set(phase.mined.columns):
        _by_provenance(out, f"{name}.mining.labels", phase.mined)
    if phase.point:
        for key, value in judge(files, phase)[1].items():
            out.put(f"{name}.{key}", value)
    _rca(out, phase)
    _causes(out, phase)
    _neighbours(out, phase)
    seconds: dict[str, float] = {}
    for entry in files.log:
        timed = isinstance(entry.get("duration_sec"), int | float)
        if entry.get("iter") == name and entry.get("stage") != "loop_stop" and timed:
            stage = str(entry.get("stage"))
            seconds[stage] = seconds.get(stage, 0.0) + entry["duration_sec"]
    for stage, value in seconds.items():
        out.put(f"{name}.stage_seconds.{stage}", value)
    if seconds:
        out.put(f"{name}.duration_seconds", round(sum(seconds.values()), 3))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _growth(out: Numbers, files: RunFiles, phase: PhaseFiles) -> None:
    """Rows that the phase was trained on: all real for the baseline."""
    key = f"{phase.name}.dataset"
    if phase.name == layout.BASELINE:
        rows = phase.weights.get("rows")
        if rows is None:
            table = files.reader.table(files.table_path("training_csv", layout.BASE_TABLE))
            rows = len(table) or None
        if rows is not None:
            out.put(f"{key}.rows", rows)
            out.put(f"{key}.real_rows", rows)
            out.put(f"{key}.sdg_rows", 0)
    out.put_all(key, phase.assembly, ASSEMBLY_FIELDS)
    rows, synthetic = out.get(f"{key}.rows"), out.get(f"{key}.sdg_rows")
    if rows and synthetic is not None:
        out.put(f"{key}.sdg_share_pct", 100 * synthetic / rows)


def _metric(out: Numbers, files: RunFiles) -> None:
    """What a metric contract asks for, and each phase's answer; nothing where FAR decides."""
    contract = files.contract
    for bound in contract.bounds if contract else ():
        assert contract is not None
        key = key_of(bound, contract.primary)
        out.put(f"{key}.target", bound.target)
        for phase in files.phases:
            result = result_of(files, phase)
            if result is not None:
                value = contract.value_of(result, bound)
                out.put(f"{phase.name}.{key}.value", value)
                out.put(f"{phase.name}.{key}.gap", bound.gap(value))


def _mined_again(out: Numbers, files: RunFiles) -> None:
    """What history-aware mining leaves out of each lap but the first, or would leave out."""
    known: set[tuple[str, str]] = set()
    for phase in (p for p in files.phases if len(p.mined) or p.mining):
        key, left_out = f"{phase.name}.mining", dig(phase.mining, "history", "already_mined_count")
        found = phase.mined
        named = {"input_path", "object_name"} <= set(found.columns)
        parts = set(zip(found["input_path"], found["object_name"], strict=True)) if named else set()
        out.put(f"{key}.history_left_out", left_out)
        if known and left_out is None:
            out.put(f"{key}.parts", len(parts))
            out.put(f"{key}.mined_before", len(parts & known))
        known |= parts


def _rca(out: Numbers, phase: PhaseFiles) -> None:
    gaps = phase.gaps
    if "weakness" not in gaps:
        return
    key = f"{phase.name}.rca"
    parts = weak_parts(phase)
    out.put(f"{key}.weak_parts", len(parts))
    ng = parts["label"].astype(str).map(is_ng)
    out.put(f"{key}.misclassified", sum(map(wrong_side, parts["weakness"], ng)))
    for i, (_, row) in enumerate(shown_weak_parts(phase).iterrows()):
        out.put(f"{key}.shown.{i}.score", row["siamese_score"])
        out.put(f"{key}.shown.{i}.weakness", row["weakness"])


def _causes(out: Numbers, phase: PhaseFiles) -> None:
    if looked_for(phase):
        out.put_all(f"{phase.name}.causes", phase.causes, ("tests", "level"))
    for cause in named_causes(phase):
        for side, counted in cause.sides.items():
            out.put_all(f"{cause.key}.{side}", counted, (*FIGURES, "lift"))


def _neighbours(out: Numbers, phase: PhaseFiles) -> None:
    """Similarities that the report shows; a last lap has them without a root-cause analysis."""
    for i, (_, group) in enumerate(shown_neighbours(phase)):
        for j, similarity in enumerate(group["similarity"]):
            out.put(f"{phase.name}.neighbours.{i}.{j}.similarity", similarity)


def _run(out: Numbers, files: RunFiles, scored: int) -> None:
    swept = dig(files.state, "iterations", FINAL_AUTOML)
    out.put_all(FINAL_AUTOML, swept, ("far_pct", "threshold"))
    out.put("run.max_iterations", files.state.get("max_iterations"))
    out.put("run.iterations_done", sum(p.name != layout.BASELINE for p in files.evaluated))
    out.put("run.phases_evaluated", len(files.evaluated))
    out.put("run.models_scored", scored)
    out.put("run.stages_logged", len(files.log))
    out.put("run.stages_failed", sum(e.get("status") == "error" for e in files.log))
    seconds = [e.get("duration_sec") for e in files.log]
    total = sum(s for s in seconds if isinstance(s, int | float))
    out.put("run.duration_seconds", round(total, 3))
    out.put("run.duration_minutes", round(total / 60, 3))


def _best(out: Numbers, files: RunFiles) -> None:
    best = files.best
    if best is None:
        return
    judged = ("set_threshold", "verdict.proven.far", "verdict.proven.recall")
    for key in (*judged, "ng", "pass", *POINT_FIELDS, "gap_pp"):
        out.put(f"best.{key}", out.get(f"{best.name}.{key}"))
    out.put_all("best", best.metrics.get("weights"), ("epoch", "val_loss"))
    groupings(best, KpiTarget.from_dict(files.target), out)
    buckets(best, out)
    out.difference("best.improvement_pp", "baseline.far_pct", f"{best.name}.far_pct")


def _failures(out: Numbers, files: RunFiles) -> None:
    thresholds = {p.name: out.get(f"{p.name}.set_threshold") for p in files.phases}
    found = failures_of(files, thresholds, len(lights_and_ext(files)[0]))
    if found is not None:
        out.put("failures.parts", found.failing)
        out.put("failures.shown", found.shown_failing)
        for name, (fixed, broke) in found.flips.items():
            out.put(f"{name}.flips.fixed", fixed)
            out.put(f"{name}.flips.broke", broke)


def _map(out: Numbers, files: RunFiles) -> None:
    found = embedding_map(files)
    if found is not None:
        out.put("map.variance_pct", found.variance_pct)
        out.put("map.pool_rows", found.rows)


def _export(out: Numbers, files: RunFiles) -> None:
    """How the ONNX agrees with the KPI's scores; absent before the hand-off."""
    found = dig(files.export, "parity", "at_safe_threshold")
    fields = ("pairs", "largest_difference", "smallest_margin", "flips", "threshold")
    out.put_all("export", found, fields)
    out.put_all("export", files.export, ("opset", "kpi_rows"))
    int8 = ("flips", "largest_difference", "speed_ratio", "kept")
    out.put_all("export.int8", dig(files.export, "int8"), int8)
