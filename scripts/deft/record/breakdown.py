"""FAR and recall of the KPI set's groups (part type, board, …), worst first, and score buckets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from deft.kpi.certify import CERTIFY_RECALL, proves_far, proves_recall
from deft.kpi.operating_point import far_upper_bound, recall_lower_bound
from deft.record.numbers import Numbers
from deft.record.phase_files import PhaseFiles
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import is_ng

# Columns of a ChangeNet table that group parts, and what a person calls them.
GROUPED = {
    "label": "Label",
    "part_type": "Part type",
    "boardname": "Board",
    "project": "Project",
    "comp_type_1": "Component type",
    "number_of_pins": "Pins",
    "light": "Light",
}
MOST_GROUPS = 500  # a column with more values names parts, not groups of them
ROWS_SHOWN = 12
BUCKETS = 10


@dataclass
class Group:
    """One value of a column and the key of its numbers."""

    value: str
    key: str
    few_good: bool  # too few to prove the target's FAR even without a false alarm
    few_defects: bool  # too few to prove a recall of 95 % even with all caught


@dataclass
class Grouping:
    """The groups of one column, worst first; ``key`` has ``groups``, how many there are."""

    column: str
    title: str
    key: str
    groups: list[Group] = field(default_factory=list)
    all: bool = True


@dataclass
class Bucket:
    """One range of scores ``[low, high)``; the last one holds its end too."""

    key: str
    last: bool
    notes: list[str] = field(default_factory=list)


def groupings(phase: PhaseFiles, target: KpiTarget | None, out: Numbers) -> list[Grouping]:
    """Return the tables of a phase by column, and put their numbers under ``<phase>.by.…``.

    Worst first: by false alarms and misses per part, then the more parts, then the name.
    """
    table, threshold = phase.scores, phase.point.get("threshold")
    if table.empty or not isinstance(threshold, int | float):
        return []
    ng = table["label"].astype(str).map(is_ng).to_numpy(bool)
    above = table["siamese_score"].to_numpy(np.float32) > np.float32(threshold)
    found: list[Grouping] = []
    seen: list[np.ndarray] = []
    for column, title, values in _columns(table):
        codes, names = pd.factorize(values)  # numbered as they come
        if any(np.array_equal(codes, other) for other in seen):
            continue  # the same groups under another name
        seen.append(codes)
        counts = {
            name: np.bincount(codes[mask], minlength=len(names))
            for name, mask in (
                ("pass", ~ng), ("ng", ng), ("fp", above & ~ng), ("tp", above & ng),
            )
        }  # fmt: skip
        wrong = counts["fp"] + counts["ng"] - counts["tp"]
        parts = counts["pass"] + counts["ng"]
        order = np.lexsort([np.asarray(names, dtype=str), -parts, -wrong / parts])
        key = f"{phase.name}.by.{column}"
        out.put(f"{key}.groups", len(names))
        grouping = Grouping(column, title, key, all=len(names) <= ROWS_SHOWN)
        for i, at in enumerate(order[:ROWS_SHOWN]):
            row = {name: int(values[at]) for name, values in counts.items()}
            _put(out, f"{key}.{i}", row)
            few_good = target is not None and not proves_far(0, row["pass"], target)
            few_defects = not proves_recall(row["ng"], row["ng"], CERTIFY_RECALL)
            group = Group(
                str(names[at]),
                f"{key}.{i}",
                few_good and row["pass"] > 0,
                few_defects and row["ng"] > 0,
            )
            grouping.groups.append(group)
        found.append(grouping)
    return found


def _columns(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series]]:
    for column, title in GROUPED.items():
        if column in table:
            values = table[column].astype(str).str.strip().replace("", "(none)")
            if 2 <= values.nunique() <= MOST_GROUPS:
                yield column, title, values


def _put(out: Numbers, key: str, row: dict[str, int]) -> None:
    for name, count in row.items():
        out.put(f"{key}.{name}", count)
    if row["pass"]:
        out.put(f"{key}.far_pct", 100 * row["fp"] / row["pass"])
        out.put(f"{key}.far_upper95_pct", 100 * float(far_upper_bound(row["fp"], row["pass"])))
    if row["ng"]:
        out.put(f"{key}.recall_pct", 100 * row["tp"] / row["ng"])
        bound = recall_lower_bound(row["tp"], row["ng"])
        out.put(f"{key}.recall_lower95_pct", 100 * float(bound))


def buckets(phase: PhaseFiles, out: Numbers) -> list[Bucket]:
    """Return the score table: good and defective parts per range, the worst parts noted.

    Its numbers stand under ``<phase>.buckets.…``; the ranges divide the span of the scores.
    """
    table, threshold = phase.scores, phase.point.get("threshold")
    if table.empty or not isinstance(threshold, int | float):
        return []
    scores = table["siamese_score"].to_numpy(np.float64)
    ng = table["label"].astype(str).map(is_ng).to_numpy(bool)
    low, high = float(scores.min()), float(scores.max())
    if ng.all() or not ng.any() or low == high:
        return []
    probability = low >= 0 and high <= 1
    edges = np.linspace(0.0 if probability else low, 1.0 if probability else high, BUCKETS + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, BUCKETS - 1)
    found = []
    for i in range(BUCKETS):
        key = f"{phase.name}.buckets.{i}"
        out.put(f"{key}.low", edges[i])
        out.put(f"{key}.high", edges[i + 1])
        out.put(f"{key}.pass", int((~ng & (place == i)).sum()))
        out.put(f"{key}.ng", int((ng & (place == i)).sum()))
        found.append(Bucket(key, i == BUCKETS - 1))

    def at(value: float) -> int:
        return int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, BUCKETS - 1))

    lowest = int(np.flatnonzero(ng)[scores[ng].argmin()])
    highest = int(np.flatnonzero(~ng)[scores[~ng].argmax()])
    found[at(scores[lowest])].notes.append(f"← worst defect: {table.iloc[lowest]['object_name']}")
    found[at(scores[highest])].notes.append(
        f"← worst good part: {table.iloc[highest]['object_name']}"
    )
    found[at(threshold)].notes.append("← threshold")
    return found
