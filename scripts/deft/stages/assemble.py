"""The next training table: the one before it, and what was mined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.assembly.assemble import assemble as assembled
from deft.core.files import read_json, write_json_atomic
from deft.core.layout import phase_number
from deft.run.stage_files import read, written
from deft.stages.context import Context
from deft.stages.run_tables import Assembled, previous_table
from deft.tables.changenet_table import in_contract_order, read_table, write_table
from deft.tables.sealed import TABLES, seals


@dataclass(frozen=True)
class Files:
    """What :func:`assemble` reads and writes."""

    mined: Path = read("mining.json of the lap, which seals its table")
    table: Path = read("mining_pool.csv of the lap")
    facts: Path = written("assembly.json")
    combined: Path = written("the training table")
    provenance: Path = written("its provenance, row by row")
    previous: Path | None = read("assembly.json of the lap before", default=None)
    previous_combined: Path | None = read("its training table", default=None)
    previous_provenance: Path | None = read("its provenance", default=None)
    start: Path | None = read(
        "start.json of a run that goes on from a promoted model, its tables beside it",
        default=None,
    )


def assemble(context: Context, files: Files, phase: str) -> str:
    """Write the training table of a lap, its provenance and ``assembly.json``."""
    facts = read_json(files.mined)
    checked = context.checked_by(files.mined, files.table.name, rule="mine", rows="parts")
    mined = read_table(checked)
    before = Assembled.of(files.previous, files.previous_combined, files.previous_provenance)
    previous, provenance = previous_table(context, before, files.start)
    result = assembled(previous, provenance, in_contract_order(mined), phase_number(phase))
    if facts["strategy"] == "none":
        result.facts["draws_per_epoch"] = len(previous) + facts["new_rows_of_nearest"]
    write_table(result.table, files.combined)
    write_table(result.provenance, files.provenance)
    rows = dict.fromkeys((files.combined.name, files.provenance.name), len(result.table))
    result.facts[TABLES] = seals(files.facts.parent, rows)
    write_json_atomic(files.facts, result.facts)
    return f"{result.facts['previous_rows']} + {result.facts['new_rows']} rows"
