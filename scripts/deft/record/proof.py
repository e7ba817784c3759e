"""What the phases prove against each other, what noise is, and what the acceptance set said.

Texts that show it take its numbers from ``analysis.json:results`` by the keys that are put here:
``iter1.far_geometric_mean_pct``, ``iter1.against_previous.good.fixed``, ``acceptance.opening``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from deft.core.layout import BASELINE
from deft.kpi.decided import Decisions, compared_decisions, decisions_of
from deft.kpi.decision import proven_phase
from deft.kpi.flips import Compared
from deft.kpi.steady import far_geometric_mean_pct
from deft.record.numbers import Numbers
from deft.record.phase_files import PhaseFiles, dig
from deft.record.run_files import RunFiles
from deft.tables.changenet_table import SCORE_COLUMN

KINDS = ("good", "defects")
TURNED = ("fixed", "broke", "parts", "p")
COUNTS = (
    *("tp", "fn", "fp", "tn", "far_pct", "far_lower95_pct", "far_upper95_pct"),
    *("recall_pct", "recall_lower95_pct", "recall_upper95_pct"),
)
NOISE = ("trainings", "mean_pct", "lowest_pct", "highest_pct", "factor")


def proof_numbers(out: Numbers, files: RunFiles) -> None:
    """Put the numbers of this module."""
    for phase in files.evaluated:
        mean = phase.kind.get("far_geometric_mean_pct")
        if mean is None and (sides := _decisions(phase)) and 0 < sides.ng.sum() < len(sides.ng):
            mean = far_geometric_mean_pct(phase.scores[SCORE_COLUMN].to_numpy(), sides.ng)
        out.put(f"{phase.name}.far_geometric_mean_pct", mean)
    for name, found in comparisons(files).items():
        for of, told in found.items():
            for kind, turned in zip(KINDS, (told.good, told.defects), strict=True):
                out.put_all(f"{name}.{of}.{kind}", turned.as_dict(), TURNED)
    out.put_all("noise", files.noise, NOISE)
    _acceptance(out, acceptance(files))


def _decisions(phase: PhaseFiles) -> Decisions | None:
    threshold = phase.point.get("threshold")
    named = {"input_path", "object_name", SCORE_COLUMN} <= set(phase.scores.columns)
    if not isinstance(threshold, int | float) or not named:
        return None
    return decisions_of(phase.scores, threshold)


def comparisons(files: RunFiles) -> dict[str, dict[str, Compared]]:
    """Return phase -> ``against_previous``, ``against_baseline`` -> what turned."""
    if "comparisons" not in files.memo:
        files.memo["comparisons"] = _comparisons(files)
    found: dict[str, dict[str, Compared]] = files.memo["comparisons"]
    return found


def _comparisons(files: RunFiles) -> dict[str, dict[str, Compared]]:
    sides = [(phase.name, _decisions(phase)) for phase in files.evaluated]
    out: dict[str, dict[str, Compared]] = {}
    first = sides[0][1] if sides and sides[0][0] == BASELINE else None
    for (_, before), (name, now) in pairwise(sides):
        for of, other in (("against_previous", before), ("against_baseline", first)):
            told = compared_decisions(other, now) if other and now else None
            if told is not None:
                out.setdefault(name, {})[of] = told
    return out


def best_proven(files: RunFiles) -> str | None:
    """Return the best proven phase's name, whichever is handed off; None without its scores."""
    sides = [_decisions(phase) for phase in files.evaluated]
    whole = [side for side in sides if side is not None]
    if not whole or len(whole) < len(sides):
        return None
    if any(compared_decisions(side, whole[-1]) is None for side in whole):
        return None
    at = proven_phase([side.rejected for side in whole], whole[-1].ng)
    return files.evaluated[at].name


def acceptance(files: RunFiles) -> dict[str, Any]:
    """Return what the acceptance set said of the model that is handed off, ``{}`` without it."""
    judged = dig(files.acceptance, "asked", "handed_off", "weights_sha256")
    same = judged is not None and judged == files.export.get("weights_sha256")
    return files.acceptance if same else {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _acceptance(out: Numbers, told: dict[str, Any]) -> None:
    if not told:
        return
    names = ("opening", "openings_of_set", "parts_seen_before")
    out.put_all("acceptance", told, names)
    out.put_all("acceptance.set", told.get("set"), ("rows", "good", "defects"))
    for side in ("challenger", "champion"):
        out.put_all(f"acceptance.{side}", told.get(side), COUNTS)
    for kind in KINDS:
        out.put_all(f"acceptance.paired.{kind}", dig(told, "paired", kind), TURNED)
        for name, count in _mapping(dig(told, "paired", "tables", kind)).items():
            out.put(f"acceptance.paired.{kind}.{name}", count)
    gate = ("margin_pct", "newly_missed_upper95_pct", "new_false_alarms_upper975_pct")
    out.put_all("acceptance.gate", told.get("gate"), gate)
    wanting = ("recall_pct", "more_good", "more_defects", "more_defects_to_promote")
    out.put_all("acceptance.certify", told.get("certify"), wanting)
    for label, more in _mapping(dig(told, "certify", "labels")).items():
        key = f"acceptance.labels.{label}"
        out.put(f"{key}.more", more)
        fields = ("count", "caught", "recall_lower95_pct")
        out.put_all(key, dig(told, "challenger", "labels", label), fields)
