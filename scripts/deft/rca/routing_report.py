"""``Routing_Report.md``: six sections, by the headings and words of NVIDIA's own checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from deft.rca.markdown import code, report_text, table_lines
from deft.rca.routing import Routes, most_first, routing_key

DROPPED = "neither (DROPPED)"
DESTINATION = {
    ("yes", "no"): "mining only",
    ("no", "yes"): "anomalygen only",
    ("yes", "yes"): "mining+anomalygen",
    ("no", "no"): DROPPED,
}


@dataclass(frozen=True)
class Routing:
    """What the report speaks of.

    Parameters
    ----------
    pool: label -> parts of the source pool.
    drawn: labels that AnomalyGen can draw, where labels are routed.
    paths: ``gaps``, ``source_pool``, ``mining``, ``anomalygen``, relative to the workspace.
    """

    routes: Routes
    mode: str
    pool: Mapping[str, int]
    drawn: list[str]
    paths: Mapping[str, str]

    @property
    def table(self) -> pd.DataFrame:
        """Labels by falling number of samples, with ``to`` (where they go) and ``pool`` (parts)."""
        in_pool: dict[str, int] = {}
        for label, count in self.pool.items():
            key = routing_key(label)
            in_pool[key] = in_pool.get(key, 0) + count
        found = most_first(self.routes.summary)
        to = [DESTINATION[pair] for pair in zip(found["mining"], found["anomalygen"], strict=True)]
        parts = [in_pool.get(routing_key(label), 0) for label in found["label"]]
        return found.assign(to=to, pool=parts)


def report_markdown(found: Routing) -> str:
    """Return ``Routing_Report.md``; its rows are pictures, one per weak part and light."""
    table = found.table
    dropped = table[table["to"] == DROPPED]
    sections = {
        "Verdict": _verdict(found, len(table) - len(dropped), len(dropped)),
        "Inputs": _inputs(found, table),
        "Per-Label Routing Decisions": _decisions(found, table),
        "Module-Level Summaries": _modules(found),
        "Dropped Labels (routed to NEITHER module)": _dropped(dropped),
        "Recommended Actions": _actions(found, dropped),
    }
    return report_text("Routing of the weak samples", sections)


def _verdict(found: Routing, routed: int, dropped: int) -> list[str]:
    pool = f"{'yes' if found.pool else 'no'}, {code(found.paths['source_pool'])}"
    return [
        f"- Weak samples: {int(found.routes.summary['samples'].sum())}, one per part and light.",
        f"- Mining subset: {len(found.routes.mining)} rows, `mining_gaps.parquet`.",
        f"- AnomalyGen subset: {len(found.routes.anomalygen)} rows, `anomalygen_gaps.parquet`.",
        f"- Source pool present: {pool}.",
        f"- {routed} label(s) go on, {dropped} to no module. Mode: `{found.mode}`.",
    ]


def _inputs(found: Routing, table: pd.DataFrame) -> list[str]:
    columns = ", ".join(code(name) for name in found.routes.mining.columns)
    rows = [
        ("gaps_parquet", code(found.paths["gaps"]), f"{table['samples'].sum()} rows of {columns}"),
        ("source_pool", code(found.paths["source_pool"]), f"{sum(found.pool.values())} parts"),
    ]
    return [
        "The weak samples of the phase before, and the pool that mining searches: real parts and "
        "the pre-generated pairs, staged once for the whole run.",
        "",
        *table_lines(("Input", "Path", "Notes"), rows),
    ]


def _decisions(found: Routing, table: pd.DataFrame) -> list[str]:
    head = ("Label", "Count in gaps", "In source pool?", "Mining?", "AnomalyGen?", "Routed To")
    rows = [
        (
            code(row.label),
            row.samples,
            _in_pool(row.pool),
            row.mining,
            row.anomalygen,
            row.to,
        )
        for row in table.itertuples()
    ]
    rule = (
        "All labels go to mining: the pre-generated pairs are in the pool already, and AnomalyGen "
        "draws nothing in this mode."
        if found.mode == "pregen"
        else "A label goes to mining if the pool has it, to AnomalyGen if that can draw it, or to "
        "both; upper and lower case are one."
    )
    return [rule, "", *table_lines(head, rows)]


def _modules(found: Routing) -> list[str]:
    pool = ", ".join(code(label) for label in sorted(found.pool)) or "none"
    drawn = ", ".join(code(label) for label in found.drawn) if found.mode != "pregen" else ""
    return [
        "### 4.1 k-NN Mining",
        "",
        f"- Labels of the pool: {pool}.",
        f"- Rows routed: {len(found.routes.mining)}, by label: {_by_label(found.routes.mining)}.",
        "",
        "### 4.2 AnomalyGen",
        "",
        f"- Labels that it is asked for: {drawn or 'none (pairs are pre-generated)'}.",
        f"- Rows routed: {len(found.routes.anomalygen)}, by label: "
        f"{_by_label(found.routes.anomalygen)}.",
    ]


def _dropped(dropped: pd.DataFrame) -> list[str]:
    why = "not in the pool, and AnomalyGen cannot draw it; named in `allow_unrouted`"
    fix = "add such parts to the pool"
    rows = [(code(row.label), row.samples, why, fix) for row in dropped.itertuples()]
    return [
        "A label that no module takes stops the run, unless `allow_unrouted` names it. Those that "
        f"were allowed so are listed; here {len(rows)}.",
        "",
        *table_lines(("Label", "Count", "Why dropped", "Suggested fix"), rows),
    ]


def _actions(found: Routing, dropped: pd.DataFrame) -> list[str]:
    lost = ", ".join(code(label) for label in dropped["label"]) or "none"
    bare = found.table.query("mining == 'yes' and pool == 0")["label"]
    alone = ", ".join(code(label) for label in bare) or "none"
    return [
        f"1. Labels without any module: {lost}. Add such parts to the pool, or have AnomalyGen "
        "draw them.",
        f"2. Labels sent to mining of which the pool has no part: {alone}. Mining may still find "
        "parts of other labels that look alike.",
        "3. If both subsets are empty, nothing downstream can run: look at the weak samples first.",
    ]


def _by_label(gaps: pd.DataFrame) -> str:
    counts = gaps["label"].value_counts().sort_index()
    return ", ".join(f"{code(label)} {n}" for label, n in counts.items()) or "none"


def _in_pool(parts: object) -> str:
    return f"yes ({parts})" if parts else "no"
