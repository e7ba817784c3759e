"""The numbers behind the four judgements on a phase, and the parts and pictures they name.

:mod:`deft.record.verdict` puts them into words.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deft.kpi import certify
from deft.kpi.handed_off import gap_around, threshold_to_set
from deft.record.numbers import Numbers
from deft.record.phase_files import PhaseFiles, dig
from deft.record.run_files import RunFiles
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import image_name, is_ng
from deft.tables.goldens import Goldens

NAMED = 3  # parts that a sentence names
PAIRS_SHOWN = 6
FEW_PARTS = 3  # a target that hangs on no more of them is fragile
THIN_SHARE = 0.01  # of the span of all scores: a margin below it is thin
PROVABLE_RECALLS = (0.99, 0.95)  # told where the wanted recall cannot be proven by any number
LEAK_CHECKS = {"leakage_pool_kpi": "pool", "leakage_pool_validation": "pool"} | {
    "leakage_base_kpi": "base", "leakage_base_validation": "base"
}  # fmt: skip


@dataclass(frozen=True)
class Near:
    """A training picture that nearly is (or is) a held-out one; paths below the workspace."""

    picture: str
    held_out: str
    mined: bool


@dataclass
class Judged:
    """What the judgements on one phase say of parts and pictures, by name."""

    below: str | None = None  # the part with the highest score that passes
    above: str | None = None  # the part with the lowest score that is rejected
    hangs_on: list[str] = field(default_factory=list)  # the first of them
    hangs_on_good: bool = True
    other_kind: str | None = None  # the phase's other weight file, where it is another one
    near: list[Near] | None = None  # None: the pre-flight kept no pairs


def set_threshold(files: RunFiles, phase: PhaseFiles) -> float | None:
    """Return the threshold to set: the handed-off one, or what would be; None without scores."""
    threshold = phase.point.get("threshold")
    if not isinstance(threshold, int | float):
        return None
    if files.export.get("phase") == phase.name:
        found = dig(files.export, "parity", "at_safe_threshold", "threshold")
        if isinstance(found, int | float):
            return float(found)
    if phase.scores.empty:
        return None
    return threshold_to_set(phase.scores["siamese_score"].to_numpy(np.float32), threshold)


def judge(files: RunFiles, phase: PhaseFiles) -> tuple[Judged, Numbers]:
    """Return what the judgements on an evaluated phase are made of.

    The numbers have keys relative to the phase: ``set_threshold``, ``verdict.proven.more_pass``.
    """
    judged, out = Judged(), Numbers()
    target = KpiTarget.from_dict(files.target)
    judged.near = _near(files, phase)
    if judged.near is not None:
        out.put("verdict.leak.mined", len({n.picture for n in judged.near if n.mined}))
        out.put("verdict.leak.base", len({n.picture for n in judged.near if not n.mined}))
    if not phase.point or target is None:
        return judged, out
    _proven(out, phase.point, target)
    judged.other_kind = _other_kind(phase)
    value = set_threshold(files, phase)
    out.put("set_threshold", value)
    if value is not None and not phase.scores.empty:
        _fragile(judged, out, phase, target, value)
    return judged, out


def _proven(out: Numbers, point: Mapping[str, Any], target: KpiTarget) -> None:
    counts = [point.get(name) for name in ("tp", "fp", "tn", "fn")]
    if not all(isinstance(n, int) and n >= 0 for n in counts):
        return
    tp, fp, tn, fn = (int(n or 0) for n in counts)
    good, defects = fp + tn, tp + fn
    if not good or not defects:
        return
    out.put("verdict.met.allowed_fp", certify.false_alarms_allowed(good, target))
    out.put("verdict.met.fewer_fp", max(0, fp - certify.false_alarms_allowed(good, target)))
    out.put("verdict.proven.far", certify.proves_far(fp, good, target))
    out.put("verdict.proven.recall", certify.proves_recall(tp, defects, target.min_recall))
    out.put("verdict.proven.more_pass", certify.good_parts_needed(fp, good, target))
    more = certify.defects_needed(tp, defects, target.min_recall)
    out.put("verdict.proven.more_ng", more)
    if more is None:
        for recall in PROVABLE_RECALLS:
            needed = certify.defects_needed(tp, defects, recall)
            if recall < target.min_recall and needed:
                out.put("verdict.proven.instead_recall_pct", 100 * recall)
                out.put("verdict.proven.instead_more_ng", needed)
                return


def _other_kind(phase: PhaseFiles) -> str | None:
    """Return the kind of the phase's other weight file; None where both are one file."""
    kinds = [k for k in phase.metrics.get("kinds") or {} if k != phase.chosen]
    if not kinds:
        return None
    digests = [
        dig(phase.inference, "kinds", kind, "weights_sha256") for kind in (kinds[0], phase.chosen)
    ]
    return None if digests[0] is not None and digests[0] == digests[1] else str(kinds[0])


def _fragile(
    judged: Judged, out: Numbers, phase: PhaseFiles, target: KpiTarget, value: float
) -> None:
    table = phase.scores
    scores = table["siamese_score"].to_numpy(np.float32)
    ng = table["label"].astype(str).map(is_ng).to_numpy()
    low, high = gap_around(scores, value)
    if low is not None:
        out.put("verdict.fragile.margin_below", value - low)
        judged.below = part_name(table.iloc[int(np.flatnonzero(scores == np.float32(low))[0])])
    if high is not None:
        out.put("verdict.fragile.margin_above", high - value)
        judged.above = part_name(table.iloc[int(np.flatnonzero(scores == np.float32(high))[0])])
    margins = [value - low] if low is not None else []
    margins += [high - value] if high is not None else []
    span = float(scores.max() - scores.min())
    out.put("verdict.fragile.thin", bool(margins) and min(margins) < THIN_SHARE * span)
    rows, judged.hangs_on_good = certify.hangs_on(scores, ng, phase.point["threshold"], target)
    out.put("verdict.fragile.parts", len(rows) or None)
    judged.hangs_on = [part_name(table.iloc[int(row)]) for row in rows[:NAMED]]


def part_name(row: Any) -> str:
    """Return a part of a ChangeNet table as a person finds it: name, label, board."""
    board = str(row.get("boardname") or "") or str(row.get("input_path") or "")
    told = [str(row.get("label") or "")] + ([board] if board else [])
    return f"{row.get('object_name')} ({', '.join(told)})"


def _near(files: RunFiles, phase: PhaseFiles) -> list[Near] | None:
    """Return the near-copies among what the phase was trained on; mined ones first."""
    kept = [c for c in files.checks.get("checks") or [] if isinstance(c, dict) and "pairs" in c]
    looked = [c for c in files.checks.get("checks") or [] if isinstance(c, dict)]
    if not kept:
        told = any(str(c.get("id", "")).endswith("_near") for c in looked)
        return None if told or not looked else []
    known = files.phases[: files.phases.index(phase) + 1]
    mined = {path for p in known for path in picture_paths(files, p.mined)}
    found = []
    for check in kept:
        side = LEAK_CHECKS.get(str(check.get("id")).removesuffix("_near"))
        for pair in check["pairs"] if side and isinstance(check["pairs"], list) else ():
            if isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, str) for p in pair):
                if side == "base" or pair[0] in mined:
                    found.append(Near(pair[0], pair[1], side == "pool"))
    return sorted(set(found), key=lambda n: (not n.mined, n.picture, n.held_out))


def lights_and_ext(files: RunFiles) -> tuple[Sequence[str], str]:
    """Return the lights and the ending of picture names, as the spec has them."""
    classify = dig(files.spec, "dataset", "classify") or {}
    return list(classify.get("input_map") or {}) or [""], str(classify.get("image_ext") or "")


def goldens_of(files: RunFiles) -> Goldens:
    """Return which golden is shown beside a part; cells are relative to the workspace."""
    count = dig(files.spec, "dataset", "classify", "num_golden")
    return Goldens(files.workspace, *lights_and_ext(files), count if isinstance(count, int) else 1)


def picture_paths(files: RunFiles, table: Any) -> Iterator[str]:
    """Yield the test pictures of a table whose rows are relative to the workspace."""
    if not {"input_path", "object_name"} <= set(table.columns):
        return
    lights, ext = lights_and_ext(files)
    for folder, name in zip(table["input_path"], table["object_name"], strict=True):
        for light in lights:
            yield posixpath.join(posixpath.normpath(str(folder)), image_name(name, light, ext))
