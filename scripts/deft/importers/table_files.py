"""Make a workspace's strict tables from files as people have them, once, and record of what.

Nothing of the user's is lost: a table in another form that stands in the strict one's place is kept
beside it, and a strict table that somebody wrote or changed by hand is never written over.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import replace_atomically, sha256_file, sha256_text, write_text_atomic
from deft.core.layout import TABLES
from deft.tables.changenet_table import read_table
from deft.tables.foreign.convert import Converted, read_foreign
from deft.tables.foreign.grid import Reading
from deft.tables.foreign.record import (
    GIVEN,
    beside,
    read_record,
    row_runs,
    settings_of,
    write_record,
)

Entry = dict[str, Any]  # of the record


@dataclass
class Plan:
    """What is to be done for one table. ``keep``: where the file in its place goes first."""

    name: str
    source: Path
    converted: Converted
    text: str
    keep: Path | None = None


def import_tables(workspace: Path, reading: Reading) -> list[str]:
    """Make every table that is not strict yet; return a line for each.

    All files are read before the first one is written.

    Raises HardStop ``missing_input``, ``config_invalid`` or ``csv_invalid``.
    """
    workspace = workspace.absolute()
    record = read_record(workspace)
    lines, plans = [], []
    for name in TABLES:
        plan = _plan(workspace, name, reading, record.get(name))
        if isinstance(plan, Plan):
            plans.append(plan)
        else:
            lines.append(f"{name}: {plan}")
    for plan in plans:
        table = workspace / TABLES[plan.name]
        if plan.keep is not None:
            replace_atomically(plan.keep, partial(shutil.copyfile, table))
        if not table.is_file() or sha256_file(table) != sha256_text(plan.text):
            write_text_atomic(table, plan.text)
        record[plan.name] = _entry(workspace, plan, reading)
        source = _named(workspace, plan.source)
        lines.append(f"{plan.name}: {source} → {TABLES[plan.name]}: {plan.converted.sentence()}")
    if plans:
        write_record(workspace, record)
    return lines


def _plan(workspace: Path, name: str, reading: Reading, entry: Entry | None) -> Plan | str:
    """Return what is to be written for a table, or in words why nothing is."""
    table = workspace / TABLES[name]
    source = _source(workspace, name, reading, entry)
    if source is None:
        return f"there is no file for {TABLES[name]}"
    found = read_foreign(source, _reading_of(source, table, reading))
    text = found.table.to_csv(index=False, lineterminator="\n")
    kept = table.with_name(table.stem + GIVEN)
    if source == table:
        if _same(table, found):
            return f"{TABLES[name]} is read as it is: {found.sentence()}"
        if kept.exists() and sha256_file(kept) != sha256_file(table):
            raise _stop(
                kept,
                f"{TABLES[name]} is not in the strict form, and {kept.name} holds an earlier one",
                "remove the one that does not count",
            )
        return Plan(name, kept, found, text, keep=kept)
    if table.is_file():
        there = sha256_file(table)
        known = {sha256_text(text), entry["table_sha256"] if entry else ""}
        if source == kept:  # a command that was killed had put it there, and no more
            known.add(sha256_file(kept))
        if there not in known:
            raise _stop(
                table,
                f"{TABLES[name]} was not made from {_named(workspace, source)}, or changed since",
                "move it away; or, if it is the newer one, put it in that file's place",
            )
    return Plan(name, source, found, text)


def _reading_of(source: Path, table: Path, reading: Reading) -> Reading:
    """Return how a source is read: of a table that is strict already, its form is known.

    The settings that say how a file is written are those of the other tables then; ``columns``
    count where the header has any of their names.
    """
    strict = _strict(table) if source == table else None
    if strict is None:
        return reading
    named = not set(reading.columns.values()).isdisjoint(strict.columns)
    columns = reading.columns if named else {}
    return replace(reading, columns=columns, encoding=None, separator=None, header_row=None)


def _source(workspace: Path, name: str, reading: Reading, entry: Entry | None) -> Path | None:
    """Return the file that a table is made from: as set, as recorded, else the only one there."""
    if name in reading.files:
        return workspace / Path(reading.files[name]).expanduser()
    if entry is not None and (workspace / entry["source"]).is_file():
        return workspace / str(entry["source"])
    table = workspace / TABLES[name]
    found = beside(workspace, name)
    kept = [path for path in found if path.name.endswith(GIVEN)]
    if kept and (
        not table.is_file()
        or _strict(table) is not None
        or sha256_file(table) == sha256_file(kept[0])
    ):
        return kept[0]
    if table.is_file():
        if _strict(table) is not None:
            return table
        found.append(table)
    if len(found) > 1:
        names = [_named(workspace, path) for path in found]
        raise _stop(
            table,
            f"{len(found)} files may be the table {name!r}: {', '.join(names)}",
            f"name the one that counts: import_table.files: {{{name}: {names[0]}}}",
        )
    return found[0] if found else None


def _strict(table: Path) -> pd.DataFrame | None:
    """Return a table as the strict reader reads it, None where it does not."""
    try:
        return read_table(table)
    except HardStop:
        return None


def _same(table: Path, found: Converted) -> bool:
    """Return whether the strict reader reads the very same cells."""
    strict, columns = _strict(table), list(found.table.columns)
    if strict is None:
        return False
    return sorted(strict.columns) == sorted(columns) and strict[columns].equals(found.table)


def _entry(workspace: Path, plan: Plan, reading: Reading) -> Entry:
    return {
        "table": TABLES[plan.name],
        "table_sha256": sha256_text(plan.text),
        "source": _named(workspace, plan.source),
        "source_sha256": sha256_file(plan.source),
        "settings": settings_of(reading),
        "understood": plan.converted.sentence(),
        "labels": plan.converted.labels,
        "rows": len(plan.converted.table),
        "row_runs": row_runs(plan.converted.numbers),
    }


def _named(workspace: Path, path: Path) -> str:
    return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else str(path)


def _stop(path: Path, message: str, fix: str) -> HardStop:
    return HardStop("csv_invalid", message, file=path, fix=fix)
