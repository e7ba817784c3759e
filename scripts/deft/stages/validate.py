"""The training table of a lap, checked before it costs a training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.assembly.assemble import validate_combined
from deft.core.files import read_json, write_json_atomic
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context
from deft.stages.run_tables import Assembled, combined_tables, leak_check
from deft.tables.changenet_table import read_table
from deft.tables.leakage import Side


@dataclass(frozen=True)
class Files:
    """What :func:`validate` reads and writes."""

    assembled: Path = read("assembly.json, which seals both tables")
    combined: Path = read("the training table")
    provenance: Path = read("its provenance")
    validation: Path = written("validation.json")


def validate(context: Context, files: Files, phase: str, content_leakage: str) -> str:
    """Write ``validation.json``, or stop before the training is paid for."""
    path = files.combined
    combined_tables(context, Assembled(files.assembled, path, files.provenance))
    facts = validate_combined(
        path, context.workspace, context.lights, context.ext, context.goldens.count
    )
    table = read_table(path)
    facts["warnings"] = leak_check(context, Side("training table", path, table), content_leakage)
    facts["assembly"] = read_json(files.assembled)
    write_json_atomic(files.validation, facts)
    update_phase(
        context.run.dir,
        phase,
        stage_completed="data_merge",
        combined_training_csv=context.absolute(path),
        provenance_csv=context.absolute(files.provenance),
    )
    grown = facts["assembly"]
    return (
        f"{grown['previous_rows']} + {grown['new_rows']} = {grown['rows']} training rows "
        f"({grown['duplicates']} already there), valid"
    )
