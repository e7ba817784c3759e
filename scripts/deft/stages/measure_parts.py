"""Measure the parts of the KPI set and of the base training table, once for all phases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deft.causes.facts import PART, Camera, measured_rows, write_facts
from deft.core import layout
from deft.core.files import write_json_atomic
from deft.run.stage_files import written
from deft.stages.context import Context
from deft.tables.changenet_table import read_table
from deft.tables.coordinates import base_rows
from deft.tables.sealed import TABLES, seals


@dataclass(frozen=True)
class Files:
    """What :func:`measure_parts` writes; it reads the user's tables."""

    facts: Path = written("parts.parquet: the facts of every part and light")
    record: Path = written("parts.json, which seals it")


def camera_of(context: Context) -> Camera:
    """Return how the run's pictures are found: cells are relative to the workspace."""
    return Camera(
        context.root, context.lights, context.ext, context.goldens, context.picture_levels
    )


def measure_parts(context: Context, files: Files) -> str:
    """Write the facts of the rows of both tables as the user has them, whatever their labels."""
    names = (layout.KPI_TABLE, layout.BASE_TABLE)
    tables = [base_rows(read_table(context.workspace / n), context.workspace) for n in names]
    rows = pd.concat([table[list(PART)] for table in tables], ignore_index=True)
    facts = measured_rows(rows, camera_of(context), "measure parts")
    write_facts(files.facts, facts)
    write_json_atomic(
        files.record, {TABLES: seals(files.facts.parent, {files.facts.name: len(facts)})}
    )
    return f"{len(facts)} pairs of pictures measured"
