"""The root causes of a phase: facts of its KPI parts against its training table and its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.causes.catalogue import GROUPS, SEPARATOR
from deft.causes.facts import PART, measured_rows, of_parts, read_facts, unmeasured
from deft.causes.find import FALSE_ALARMS, MISSES, cells, find_causes, sides_of
from deft.causes.flags import Flags, Labelled, raise_flags
from deft.core.files import write_json_atomic
from deft.rca.weakness import misclassified
from deft.stages.context import Context
from deft.stages.measure_parts import camera_of
from deft.stages.run_tables import Assembled, previous_table
from deft.tables.changenet_table import SCORE_COLUMN, write_table
from deft.tables.coordinates import base_rows
from deft.tables.labels import clean_label, is_ng
from deft.tables.sealed import TABLES, seals

MINED_MOST = 400  # mined rows that are measured in a lap, defects first: a lap costs seconds
DIGITS = 6


@dataclass(frozen=True)
class Causes:
    """``found``: what ``causes.json`` holds. ``cells`` (n,): each KPI part's named causes."""

    found: dict[str, Any]
    cells: list[str]


@dataclass(frozen=True)
class Sources:
    """Facts of KPI and base parts (with the record that seals them), the training table."""

    facts: Path
    record: Path
    assembled: Assembled | None  # of the phase's own training table; None = the base table


def causes_of(
    context: Context,
    sources: Sources,
    table: pd.DataFrame,
    threshold: float,
    other: pd.DataFrame,
    out: Path,
) -> Causes:
    """Write ``causes.json`` and the table of facts beside it; return what holds of each part.

    Parameters
    ----------
    table: the phase's scored KPI table as it counts (:func:`deft.kpi.evaluation.read_scores`).
    other: the same parts as the phase's other weights score them. threshold: of the phase.
    """
    checked = context.checked_by(sources.record, sources.facts.name, rule="measure_parts")
    facts = read_facts(checked)
    training, _ = previous_table(context, sources.assembled)
    kpi_rows = base_rows(table, context.workspace)
    training_rows, left = _looked_at(training, facts)
    every = pd.concat([kpi_rows[list(PART)], training_rows[list(PART)]])
    missing = unmeasured(every, facts)
    if len(missing):
        more = measured_rows(missing, camera_of(context), "measure mined parts")
        facts = pd.concat([facts, more], ignore_index=True)
    kpi, known = _labelled(kpi_rows, facts), _labelled(training_rows, facts)
    flags = raise_flags(kpi, known, set(training["label"].map(clean_label)))
    scores = table[SCORE_COLUMN].to_numpy(np.float32).astype(np.float64)
    groups = table[[name for name in GROUPS if name in table]]
    groups = groups.assign(light=kpi.parts.numbers["light"].to_numpy())
    found = find_causes(scores, kpi.ng, threshold, flags.flags, groups)
    # Rows of the file, which corrections may leave out.
    index, light = table.index.to_numpy(), groups["light"].tolist()
    for cause in found["causes"]:
        cause["example_lights"] = [str(light[at]) for at in cause["examples"]]
        cause["examples"] = [int(index[at]) for at in cause["examples"]]
    each = cells(found, flags.flags)
    spread = rank_spread(scores, other[SCORE_COLUMN].to_numpy(np.float64))
    found |= {
        "limits": flags.limits,
        "training": {"rows": len(training), "measured": len(training_rows), "left_out": left},
        "unstable": unstable(scores, other, kpi.ng, threshold),
    }
    name = out.with_suffix(".csv").name
    _write_facts(out.with_suffix(".csv"), table, kpi.ng, flags, each, spread, threshold)
    found[TABLES] = seals(out.parent, {name: len(table)})
    write_json_atomic(out, found)
    return Causes(found, each)


def _looked_at(training: pd.DataFrame, facts: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the training rows that are measured or will be, and how many are not looked at.

    Of rows that nobody measured yet (mined ones) at most ``MINED_MOST``, defects first, spread over
    the table.
    """
    new = unmeasured(training, facts)
    if len(new) <= MINED_MOST:
        return training, 0
    bad = new["label"].map(is_ng).to_numpy(bool)
    ranked = np.concatenate([_spread(np.flatnonzero(bad)), _spread(np.flatnonzero(~bad))])
    gone = new.index[np.sort(ranked[MINED_MOST:])]
    return training.drop(index=gone), len(gone)


def _spread(rows: np.ndarray) -> np.ndarray:
    """Return rows so reordered that any number of first ones is spread over all."""
    if not len(rows):
        return rows
    # The golden ratio's multiples fill the unit interval evenly.
    place = (np.arange(len(rows)) * 0.6180339887498949) % 1
    order: np.ndarray = rows[np.argsort(np.argsort(place))]
    return order


def _labelled(rows: pd.DataFrame, facts: pd.DataFrame) -> Labelled:
    labels = np.array([clean_label(label) for label in rows["label"]], dtype=object).astype(str)
    return Labelled(of_parts(rows, facts), labels, rows["label"].map(is_ng).to_numpy(bool))


def rank_spread(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far each part's ranks (n,) by two scorings lie apart, in percent of all parts."""
    ranks = [pd.Series(one).rank(method="average").to_numpy() for one in (scores, others)]
    return np.asarray(100 * np.abs(ranks[0] - ranks[1]) / max(1, len(scores)))


def unstable(
    scores: np.ndarray, other: pd.DataFrame, ng: np.ndarray, threshold: float
) -> dict[str, int]:
    """Return how many wrong parts the phase's other weights get right, each at its own threshold.

    That threshold catches as many defects as the phase's does. No test belongs to it: which parts
    are wrong is what is looked at.
    """
    others = other[SCORE_COLUMN].to_numpy(np.float64)
    wrong = misclassified(scores, ng, threshold)
    caught = int((ng & ~wrong).sum())
    own = np.sort(others[ng])[::-1]
    level = float(own[caught - 1]) if caught else np.inf
    right = np.where(ng, others >= level, others < level)
    return {
        f"{name}_{what}": int(np.sum(found))
        for name, side in ((MISSES, ng), (FALSE_ALARMS, ~ng))
        for what, found in (("wrong", wrong & side), ("right_by_other", wrong & side & right))
    }


def _write_facts(
    path: Path,
    table: pd.DataFrame,
    ng: np.ndarray,
    flags: Flags,
    each: list[str],
    spread: np.ndarray,
    threshold: float,
) -> None:
    scores = table[SCORE_COLUMN].to_numpy(np.float64)
    misses, alarms = sides_of(scores, ng, threshold)
    golden = table["golden_path"].astype(str)
    shared = golden.map(golden[alarms.wrong].value_counts()).fillna(0).to_numpy(int)
    holds = [
        SEPARATOR.join(str(name) for name, on in zip(flags.flags, row, strict=True) if on)
        for row in flags.flags.to_numpy(bool).tolist()
    ]
    known = [n for n in ("boardname", "part_type") if n in table]
    facts = flags.facts.round(DIGITS).reset_index(drop=True)
    frame = table[["input_path", "golden_path", "object_name", "label", *known]].assign(
        row=table.index,
        siamese_score=table[SCORE_COLUMN],
        looked_at=np.where(misses.wrong, MISSES, np.where(alarms.wrong, FALSE_ALARMS, "")),
        named_causes=each,
        holds=holds,
        score_spread_pct=spread.round(DIGITS),
        # Of the others: a part's own false alarm says nothing of its golden.
        golden_false_alarms=shared - (alarms.wrong).astype(int),
    )
    write_table(pd.concat([frame.reset_index(drop=True), facts], axis=1), path)
