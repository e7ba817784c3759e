"""Seals: what a stage's record says of the tables beside it, and who reads a table checks.

A record (``mining.json``, ``assembly.json``, …) holds ``tables``: name -> ``{sha256, rows}``, the
name being relative to the record's folder. A table that was cut, edited or exchanged after its
stage wrote it is then a stop in the next one, not another result.

A record of an earlier version may hold no seal of a table: that is said once, and the table is
taken as it is. A finished run of that version stays finished.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.reading import require_file, shortened

if TYPE_CHECKING:  # pandas takes a second, and not every stage reads a table
    import pandas as pd

TABLES = "tables"
UNREADABLE = ("missing_input", "csv_invalid", "silent_drop")  # codes of a file nobody can use
SHOWN = 12  # digits of a digest in a message

_said: set[tuple[str, str]] = set()  # (record, table) of this process that were told as unsealed


def seal(path: str | Path, rows: int) -> dict[str, Any]:
    """Return the seal of a table that was just written with so many rows."""
    return {"sha256": sha256_file(path), "rows": int(rows)}


def seals(folder: str | Path, rows: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Return the seals of tables below a folder; ``rows``: name -> number of rows."""
    return {name: seal(Path(folder) / name, count) for name, count in sorted(rows.items())}


def seal_of(facts: Any, name: str) -> dict[str, Any]:
    """Return what a record says of a table, ``{}`` when it says nothing."""
    tables = facts.get(TABLES) if isinstance(facts, Mapping) else None
    found = tables.get(name) if isinstance(tables, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def seal_of_kind(facts: Any, kind: str) -> dict[str, Any]:
    """Return what ``inference.json`` says of the table of a kind of weights."""
    kinds = facts.get("kinds") if isinstance(facts, Mapping) else None
    found = kinds.get(kind) if isinstance(kinds, Mapping) else None
    found = found if isinstance(found, Mapping) else {}
    return {k: found[n] for k, n in (("sha256", "csv_sha256"), ("rows", "rows")) if n in found}


def check(
    path: str | Path,
    told: Mapping[str, Any],
    record: str | Path,
    *,
    rule: str,
    target: str | Path | Sequence[str] | None = None,
    explain: Callable[[Path], object] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Return ``path`` when it is the very file that a record speaks of.

    Parameters
    ----------
    told: the seal, ``{sha256, rows}``; what it lacks (an earlier version's record) is not checked.
    record: the file that holds the seal.
    rule: the one that makes the file; ``target``: its path as it is typed for Snakemake,
        or all words of the command.
    explain: reads a file that is not the recorded one and has as many rows; a stop of its own (a
        score that is no number, in row 5) says more than two digests.

    Raises
    ------
    HardStop ``missing_input`` (no such file, or another file that is no table), ``silent_drop``
    (other number of rows) or ``csv_invalid`` (the same number of rows, other content).
    """
    path, record = Path(path), Path(record)
    target = path if target is None else target
    words = [str(target)] if isinstance(target, str | Path) else [*target]
    advice = (
        f"put the file back as it was, or delete it and run: {again(*words)} "
        f"(rule {rule} makes it again); then run the same command again"
    )
    if not path.is_file():
        raise HardStop(
            "missing_input",
            f"{path.name} is gone, of which {record.name} speaks",
            file=path,
            fix=f"run: {again(*words)} (rule {rule} makes it again), then the same command",
        )
    wanted, rows = told.get("sha256"), told.get("rows")
    table = isinstance(rows, int)
    if not wanted:
        _say_unsealed(path, record, say)
        found_rows = count_rows(path) if table else rows
        if found_rows == rows:
            return path
        raise _other_rows(path, record, found_rows, rows, advice)
    found = sha256_file(path)
    if found == wanted:
        return path
    found_rows = count_rows(path) if table else None
    if table and found_rows != rows:
        raise _other_rows(path, record, found_rows, rows, advice)
    told_by_reader = _explained(path, explain)
    raise HardStop(
        "csv_invalid" if table else "missing_input",
        f"{path.name} is not the file that {record.name} speaks of: its SHA-256 is "
        f"{found[:SHOWN]}…, recorded is {str(wanted)[:SHOWN]}…"
        + (f" (rows: {rows}, as recorded)" if table else "")
        + (f"; {told_by_reader}" if told_by_reader else ""),
        file=path,
        fix=advice,
        evidence={"record": str(record), "sha256": found, "recorded_sha256": wanted, "rows": rows},
    )


def _explained(path: Path, explain: Callable[[Path], object] | None) -> str:
    """Raise the reader's own stop, or return its words where it only says that it cannot read.

    For such a file the advice is the seal's: which rule makes it again.
    """
    try:
        if explain is not None:
            explain(path)
    except HardStop as stop:
        if stop.code not in UNREADABLE:
            raise
        return stop.message
    except Exception as error:  # of whatever the file holds: that it is another one is known
        return shortened(error)
    return ""


def _other_rows(path: Path, record: Path, found: int | None, rows: Any, advice: str) -> HardStop:
    has = "cannot be read as a table" if found is None else f"has {found} rows"
    return HardStop(
        "silent_drop",
        f"{path.name} {has}, but {record.name} speaks of {rows}: rows were lost or added after "
        "it was written",
        file=path,
        fix=advice,
        evidence={"record": str(record), "rows": found, "recorded_rows": rows},
    )


def _say_unsealed(path: Path, record: Path, say: Callable[[str], None]) -> None:
    key = (os.path.abspath(record), path.name)
    if key not in _said:
        _said.add(key)
        say(f"note: {record.name} is an earlier version's and holds no digest of {path.name}")


def count_rows(path: Path) -> int | None:
    """Return the rows of a CSV (without its header) or parquet file, None when it is neither."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq  # the light stages do without it

            return int(pq.read_metadata(path).num_rows)
        with path.open(encoding="utf-8", newline="") as handle:
            return max(sum(1 for row in csv.reader(handle) if row) - 1, 0)
    except Exception:  # whatever a damaged file makes of its reader
        return None


def read_parquet(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a parquet table, or these columns of it; raises ``csv_invalid`` when it is none."""
    from deft.core.parquet import read_frame  # the light stages do without Arrow

    require_file(path)
    return read_frame(path, columns or (), only=columns is not None, code="csv_invalid")
