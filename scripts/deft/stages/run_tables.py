"""Tables of a run that several stages read, each checked by the record that seals it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.assembly.assemble import first_combined, read_provenance
from deft.core import layout
from deft.kpi.evaluation import Correct, read_scores
from deft.mining.neighbours import part_keys
from deft.record.promoted_start import CARRIED, CARRIED_PROVENANCE
from deft.stages.context import Context, facts_of
from deft.tables import sealed
from deft.tables.changenet_table import read_table
from deft.tables.coordinates import base_rows
from deft.tables.corrected import corrected_table, is_out, matches, relabelled
from deft.tables.corrections import KPI, POOL, TRAINING, from_dicts
from deft.tables.leakage import Side, check_leakage

ROUTING_RECORD = "routing.json"  # beside the routed gaps: their seals


@dataclass(frozen=True)
class Assembled:
    """The training table of a lap: ``assembly.json`` and the two tables that it seals."""

    record: Path
    combined: Path
    provenance: Path

    @classmethod
    def of(
        cls, record: Path | None, combined: Path | None, provenance: Path | None
    ) -> Assembled | None:
        """Return the table of the lap before, of which a first lap has none."""
        if record is None or combined is None or provenance is None:
            return None
        return cls(record, combined, provenance)


def validated_table(context: Context, record: Path, table: Path) -> Path:
    """Return the combined table of a lap, as it was validated (``validation.json``)."""
    # Always there in the workflow; a stage that is run by hand may have been given a table.
    facts = facts_of(record) if record.is_file() else {}
    return context.checked(table, facts, record, rule="assemble")


def routed_gaps(context: Context, path: Path) -> Path:
    """Return the gaps that were routed to a lap's mining."""
    record = path.with_name(ROUTING_RECORD)
    facts = facts_of(record) if record.is_file() else {}
    told = sealed.seal_of(facts, path.name)
    return context.checked(path, told, record, rule="route")


def scored_table(context: Context, record: Path, kind: str) -> Path:
    """Return the inference table of a kind of weights, as the inference left it beside its record.

    ``record``: ``inference.json``.
    """
    path = record.parent / kind / "inference.csv"
    told = sealed.seal_of_kind(facts_of(record), kind)
    return context.checked(path, told, record, rule="infer", explain=read_scores)


def combined_tables(context: Context, assembled: Assembled) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training table of a lap and its provenance, as they were assembled."""
    for path in (assembled.combined, assembled.provenance):
        context.checked_by(assembled.record, path.name, rule="assemble", rows="rows")
    return read_table(assembled.combined), read_provenance(assembled.provenance)


def previous_table(
    context: Context, previous: Assembled | None, start: Path | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training table before a lap, relative to the workspace, and its provenance.

    ``previous``: of the lap before; None before the first, which starts from the base table and,
    where the run goes on from a promoted model (``start``), the rows that were mined for that.
    """
    if previous is not None:
        return combined_tables(context, previous)
    table, provenance = first_combined(base_table(context), context.workspace)
    if start is None:
        return table, provenance
    carried, told = carried_tables(context, start)
    known = set(part_keys(table))
    fresh = np.array([key not in known for key in part_keys(carried)], bool)
    carried = carried.reindex(columns=table.columns, fill_value="")[fresh]
    table = pd.concat([table, carried], ignore_index=True)
    provenance = pd.concat([provenance, told[fresh]], ignore_index=True)
    return table, provenance.assign(row=range(len(table)))


def carried_tables(context: Context, record: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows mined for a promoted model, as they are corrected now, and provenance."""
    table, provenance = (
        read_it(context.checked_by(record, name, rule="gate"))
        for name, read_it in ((CARRIED, read_table), (CARRIED_PROVENANCE, read_provenance))
    )
    each = matches(table, context.corrections(POOL), context.workspace)
    stays = np.array([not is_out(one) for one in each], bool)
    return relabelled(table, each, clean=True)[stays], provenance[stays]


def base_table(context: Context) -> pd.DataFrame:
    """Return the user's training table as it is corrected."""
    table = read_table(context.workspace / layout.BASE_TABLE)
    found = context.corrections(TRAINING)
    return corrected_table(table, found, TRAINING, context.workspace)


def kpi_correct(context: Context, kept: Iterable[dict[str, Any]]) -> Correct | None:
    """Return what corrects an inference table as a record says; None where it says nothing."""
    found = from_dicts(kept)
    if not found:
        return None
    return partial(corrected_table, found=found, table=KPI, workspace=context.workspace)


def leak_check(context: Context, side: Side, content_leakage: str) -> list[str]:
    """Compare rows with the validation and the KPI set; return warnings or stop."""
    held_out = [
        Side(
            name,
            context.workspace / table,
            base_rows(read_table(context.workspace / table), context.workspace),
        )
        for name, table in (("validation", layout.VALIDATION_TABLE), ("KPI", layout.KPI_TABLE))
    ]
    with context.pictures_kept():
        return check_leakage(
            [side],
            held_out,
            workspace=context.workspace,
            lights=context.lights,
            ext=context.ext,
            content_leakage=content_leakage,
            levels=context.picture_levels,
        )
