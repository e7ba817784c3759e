"""The cells of somebody's table, whatever file they come from, and how it is to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deft.core.errors import HardStop
from deft.core.workspace_source import read_group
from deft.tables.changenet_table import COLUMNS, MANDATORY
from deft.tables.labels import PASS, clean_label, label_fault

NUMBER, DATE, FORMULA, BOOLEAN, FAULT = (
    *("a number", "a date", "a formula", "true or false", "an error value"),
)
ENCODINGS = (
    *(
        "utf-8",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "cp1250",
        "cp1251",
        "cp1252",
        "cp1253",
        "cp1254",
    ),
    *("cp1257", "iso-8859-1", "iso-8859-2", "iso-8859-15", "mac-roman", "cp437", "cp850", "cp852"),
    *("cp932", "shift_jis", "euc_jp", "cp949", "euc_kr", "gb18030", "gbk", "big5", "cp950"),
)
HEADER_WITHIN = 30  # rows in which the header is looked for


@dataclass
class Grid:
    """Cells as text (``""`` = empty), row by row.

    ``numbers`` are the rows' numbers in the file as its own program shows them. ``odd`` says of a
    cell (place in ``rows``, column) that is no text what it is; ``odd_columns`` of a whole column.
    ``merged`` holds (name, first row number, last, first column, last).
    """

    file: Path
    rows: list[list[str]]
    numbers: list[int]
    told: list[str] = field(default_factory=list)  # what was understood, for the user
    odd: dict[tuple[int, int], str] = field(default_factory=dict)
    odd_columns: dict[int, str] = field(default_factory=dict)
    merged: list[tuple[str, int, int, int, int]] = field(default_factory=list)

    def kind(self, row: int, column: int) -> str:
        """Return what a cell is other than text, or ``""``."""
        if not self.rows[row][column]:
            return ""
        return self.odd.get((row, column)) or self.odd_columns.get(column, "")


@dataclass(frozen=True)
class Reading:
    """The ``import_table:`` group; see docs/tables.md."""

    files: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    strip_prefix: str | None = None
    encoding: str | None = None
    separator: str | None = None
    sheet: str | None = None
    header_row: int | None = None
    numbers: Literal["refuse", "text"] = "refuse"
    hidden: Literal["refuse", "read", "skip"] = "refuse"

    def new_labels(self) -> dict[str, str]:
        """Return cleaned label -> label, see :func:`deft.tables.labels.clean_label`."""
        return {clean_label(old): new for old, new in self.labels.items()}


def reading_of(given: Mapping[str, Any] | str | None, tables: Sequence[str]) -> Reading:
    """Return the settings, from the group or its JSON text; ``tables``: names ``files`` may have.

    Raises HardStop ``config_invalid`` for what no table can be read by.
    """
    if not isinstance(given, Mapping):
        given = read_group(given, "import_table", list(Reading.__dataclass_fields__))
    found = Reading(**given)
    for key, names, known in (
        ("files", list(found.files), tables),
        ("columns", list(found.columns), COLUMNS),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise _stop(f"{key} names {unknown}", f"known: {', '.join(known)}")
    if found.encoding is not None and found.encoding.lower() not in ENCODINGS:
        raise _stop(f"encoding is {found.encoding!r}", f"known: {', '.join(ENCODINGS)}")
    theirs = list(found.columns.values())
    if len(set(theirs)) < len(theirs):
        raise _stop(f"columns gives one column two meanings: {theirs}", "name each of them once")
    cleaned: dict[str, str] = {}
    for old, new in found.labels.items():
        fault = label_fault(new)
        if fault:
            raise _stop(f"labels.{old}: {fault}", f"write {PASS} for good parts, else a defect")
        if cleaned.setdefault(clean_label(old), new) != new:
            raise _stop(f"labels has {old!r} twice, in different spellings", "leave one of them")
        if old == PASS and new != PASS:
            raise _stop(f"labels.{PASS} would make good parts {new!r}", "leave the line out")
    return found


def _stop(message: str, fix: str) -> HardStop:
    return HardStop("config_invalid", f"import_table: {message}", fix=fix)


def plain_name(name: str) -> str:
    """Return a column's name without case, blanks, underscores and hyphens.

    >>> plain_name(" Object Name")
    'objectname'
    """
    return "".join(char for char in name.casefold() if char.isalnum())


def places(header: Sequence[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Return the place of each of the fourteen columns that a header has.

    A column of ``columns`` by exactly that name, any other by its own, however it is written.
    """
    stripped = [name.strip() for name in header]
    found: dict[str, int] = {}
    taken = set(columns.values())
    plain = [("" if name in taken else plain_name(name)) for name in stripped]
    for name in COLUMNS:
        if name in columns:
            if columns[name] in stripped:
                found[name] = stripped.index(columns[name])
        elif name in stripped and name not in taken:
            found[name] = stripped.index(name)
        elif plain_name(name) in plain:
            found[name] = plain.index(plain_name(name))
    return found


def is_header(cells: Sequence[str], columns: Mapping[str, str]) -> bool:
    """Return whether a row names every mandatory column."""
    return set(MANDATORY).issubset(places(cells, columns))
