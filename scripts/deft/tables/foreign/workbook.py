"""One sheet of an .xlsx file as cells of text, each with what it was.

Numbers are given as written, or as shown where their format is zeros only (``0012``); dates in
ISO form. What a cell shows by any other format stands nowhere in the file.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

from deft.core.errors import HardStop
from deft.tables.csv_text import COLUMNS_MOST
from deft.tables.foreign.grid import (
    BOOLEAN,
    DATE,
    FAULT,
    FORMULA,
    HEADER_WITHIN,
    NUMBER,
    Grid,
    Reading,
    is_header,
)
from deft.tables.foreign.workbook_parts import Attributes, Package, opened

ROWS_MOST = 1_048_576  # Excel's own
DATE_FORMATS = {*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)}  # built in
REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")
ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
NO_FORMAT = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.')  # of a number's format: what shows no digit
FIRST_DAY = datetime.datetime(1899, 12, 30)


@dataclass
class Sheet:
    """A sheet of the workbook; ``visible``: a person sees its tab."""

    name: str
    part: str
    visible: bool


@dataclass
class _Book:
    """What the cells of all sheets refer to."""

    sheets: list[Sheet] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)  # of a style: "date", zeros, or ""
    days_from_1904: bool = False


def workbook_grid(path: Path, data: bytes, reading: Reading) -> Grid:
    """Return the cells of the sheet that is meant.

    Of several the one that ``sheet`` names, else the only visible one whose first rows have the
    mandatory columns.

    Raises HardStop ``csv_invalid``: no workbook, a damaged one, no such sheet, several of them,
    hidden rows unless ``hidden`` says what they are for.
    """
    with opened(path, data) as package:
        other = package.other_kind()
        if other:
            raise _stop(path, f"the table is {other}", "save it as .xlsx or as CSV, UTF-8")
        book = _book(package)
        sheet = _chosen(package, book, reading)
        cells = _Cells(book, path)
        package.parse(sheet.part, cells.start, cells.end, cells.text)
    told = [f"sheet {sheet.name!r}" + (f" of {len(book.sheets)}" if len(book.sheets) > 1 else "")]
    rows = sorted(cells.rows)
    hidden = [number for number in rows if number in cells.hidden]
    if hidden and reading.hidden == "refuse":
        raise _stop(
            path,
            f"{len(hidden)} row(s) of sheet {sheet.name!r} are hidden (by a filter, or by hand)",
            "show all rows, or say what they are for: import_table.hidden: read or skip",
            hidden,
        )
    if hidden:
        told.append(f"{len(hidden)} hidden row(s) {'read' if reading.hidden == 'read' else 'left'}")
    if cells.hidden_columns:
        told.append(f"{cells.hidden_columns} hidden column(s) read")
    if reading.hidden == "skip":
        rows = [number for number in rows if number not in cells.hidden]
    width = max((max(cells.rows[number], default=-1) + 1 for number in rows), default=0)
    grid = Grid(path, [], rows, told, merged=cells.merged)
    for at, number in enumerate(rows):
        row = [""] * width
        for column, (text, kind) in cells.rows[number].items():
            row[column] = text
            if kind:
                grid.odd[at, column] = kind
        grid.rows.append(row)
    return grid


def _chosen(package: Package, book: _Book, reading: Reading) -> Sheet:
    names = ", ".join(repr(sheet.name) for sheet in book.sheets)
    if reading.sheet is not None:
        found = [sheet for sheet in book.sheets if sheet.name == reading.sheet]
        if not found:
            raise _stop(package.path, f"it has no sheet {reading.sheet!r}", f"sheets: {names}")
        return found[0]
    fitting = [
        sheet
        for sheet in book.sheets
        if sheet.visible and _names_columns(package, book, sheet, reading)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        told = ", ".join(repr(sheet.name) for sheet in fitting)
        raise _stop(package.path, f"{len(fitting)} sheets have the columns: {told}",
                    "name one as import_table.sheet")  # fmt: skip
    visible = [sheet for sheet in book.sheets if sheet.visible]
    if len(visible) == 1:  # its columns are told by whoever looks for the header
        return visible[0]
    raise _stop(
        package.path,
        f"no visible sheet has the columns of a ChangeNet table; sheets: {names}",
        "name one as import_table.sheet, or say which columns are which: import_table.columns",
    )


class _Enough(Exception):
    """The first rows of a sheet have been seen."""


def _names_columns(package: Package, book: _Book, sheet: Sheet, reading: Reading) -> bool:
    cells = _Cells(book, package.path, last=max(HEADER_WITHIN, reading.header_row or 0))
    try:
        package.parse(sheet.part, cells.start, cells.end, cells.text)
    except _Enough:
        pass
    for row in cells.rows.values():
        texts = [row.get(column, ("", ""))[0] for column in range(max(row, default=-1) + 1)]
        if is_header(texts, reading.columns):
            return True
    return False


class _Cells:
    """Takes the elements of a sheet; ``rows``: number -> column -> (text, kind)."""

    def __init__(self, book: _Book, path: Path, last: int | None = None) -> None:
        self.rows: dict[int, dict[int, tuple[str, str]]] = {}
        self.hidden: set[int] = set()
        self.hidden_columns = 0
        self.merged: list[tuple[str, int, int, int, int]] = []
        self._book, self._path, self._last = book, path, last
        self._row, self._column = 0, -1
        self._cell: Attributes = {}
        self._value: list[str] = []
        self._formula = self._takes = self._seen = False
        self._phonetic = 0

    def start(self, tag: str, given: Attributes) -> None:
        if tag == "row":
            self._row = int(given.get("r") or self._row + 1)
            self._column = -1
            if self._last is not None and self._row > self._last:
                raise _Enough
            if not 0 < self._row <= ROWS_MOST:
                raise ValueError(f"row {self._row}")
            self.rows.setdefault(self._row, {})
            if _true(given.get("hidden")):
                self.hidden.add(self._row)
        elif tag == "c":
            place = REFERENCE.fullmatch(given.get("r", ""))
            self._column = _column(place[1]) if place else self._column + 1
            self._cell, self._value, self._formula = given, [], False
        elif tag == "f":
            self._formula = True
        elif tag in ("v", "t"):
            inline = self._cell.get("t") == "inlineStr"  # some write both, and the text counts
            self._takes = not self._phonetic and (tag == "t") == inline
        elif tag == "rPh":  # how a text is spoken, beside it
            self._phonetic += 1
        elif tag == "col" and _true(given.get("hidden")):
            self.hidden_columns += int(given.get("max", 1)) - int(given.get("min", 1)) + 1
        elif tag == "mergeCell":
            corners = REFERENCE.findall(given.get("ref", ""))
            if len(corners) == 2:
                (left, top), (right, bottom) = corners
                rows, columns = (int(top), int(bottom)), (_column(left), _column(right))
                self.merged.append((given["ref"], *rows, *columns))

    def text(self, data: str) -> None:
        if self._takes:
            self._value.append(data)

    def end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._takes = False
        elif tag == "rPh":
            self._phonetic -= 1
        elif tag == "c":
            text, kind = self._meant("".join(self._value))
            if self._formula:
                kind, text = FORMULA, text or "(not computed)"
            if text:
                if self._column >= COLUMNS_MOST:
                    told = f"row {self._row} has a cell beyond column {COLUMNS_MOST}"
                    raise _stop(
                        self._path, told, "remove what is not part of the table", [self._row]
                    )
                self.rows[self._row][self._column] = (text, kind)

    def _meant(self, value: str) -> tuple[str, str]:
        kind = self._cell.get("t", "n")
        if kind == "s":
            return (self._book.texts[int(value)] if value.strip() else ""), ""
        if kind in ("inlineStr", "str"):
            return _unescaped(value), ""
        value = value.strip()
        if kind == "e":
            return value, FAULT
        if kind == "b":
            return ("TRUE" if _true(value) else "FALSE") if value else "", BOOLEAN
        if kind == "d":
            return value, DATE
        style = int(self._cell.get("s") or 0)
        shown = self._book.formats[style] if style < len(self._book.formats) else ""
        return _number(value, shown, self._book.days_from_1904)


def _number(value: str, shown: str, days_from_1904: bool) -> tuple[str, str]:
    if not value:
        return "", ""
    number = float(value)
    if shown == "date":
        try:
            day = FIRST_DAY + datetime.timedelta(days=number + (1462 if days_from_1904 else 0))
        except OverflowError:
            return value, DATE
        return day.isoformat(" ").removesuffix(" 00:00:00"), DATE
    if number.is_integer() and abs(number) < 1e15:
        whole = str(int(number))
        return (whole.zfill(len(shown)) if number >= 0 else whole), NUMBER
    return repr(number), NUMBER


def _book(package: Package) -> _Book:
    book = _Book()
    main = [part for kind, part in package.targets("").values() if kind == "officeDocument"]
    name = main[0] if main else "xl/workbook.xml"
    targets = package.targets(name)

    def start(tag: str, given: Attributes) -> None:
        if tag == "workbookPr":
            book.days_from_1904 = _true(given.get("date1904"))
        elif tag == "sheet":
            kind, part = targets.get(given.get("id", ""), ("", ""))
            if kind == "worksheet":  # and not a chart's
                visible = given.get("state", "visible") == "visible"
                book.sheets.append(Sheet(given.get("name", ""), part, visible))

    package.parse(name, start)
    for kind, part in targets.values():
        if kind == "sharedStrings" and package.has(part):
            _read_texts(package, part, book)
        elif kind == "styles" and package.has(part):
            _read_formats(package, part, book)
    if not book.sheets:
        raise _stop(package.path, "the workbook has no sheet with cells", "save it again as .xlsx")
    return book


def _read_texts(package: Package, part: str, book: _Book) -> None:
    pieces: list[str] = []
    state = {"takes": False, "phonetic": 0}

    def start(tag: str, given: Attributes) -> None:
        if tag == "si":
            pieces.clear()
        elif tag == "rPh":
            state["phonetic"] += 1
        elif tag == "t":
            state["takes"] = not state["phonetic"]

    def end(tag: str) -> None:
        if tag == "si":
            book.texts.append(_unescaped("".join(pieces)))
        elif tag == "rPh":
            state["phonetic"] -= 1
        elif tag == "t":
            state["takes"] = False

    package.parse(part, start, end, lambda data: pieces.append(data) if state["takes"] else None)


def _read_formats(package: Package, part: str, book: _Book) -> None:
    own: dict[int, str] = {}
    inside = [""]

    def start(tag: str, given: Attributes) -> None:
        if tag in ("cellXfs", "cellStyleXfs"):
            inside[0] = tag
        elif tag == "numFmt":
            own[int(given.get("numFmtId", -1))] = given.get("formatCode", "")
        elif tag == "xf" and inside[0] == "cellXfs":
            book.formats.append(given.get("numFmtId", "0"))

    package.parse(part, start, lambda tag: inside.__setitem__(0, "") if tag == inside[0] else None)
    book.formats = [_shown(int(number), own) for number in book.formats]


def _shown(number: int, own: dict[int, str]) -> str:
    if number in DATE_FORMATS and number not in own:
        return "date"
    code = own.get(number, "")
    bare = NO_FORMAT.sub("", code.split(";")[0]).lower()
    if re.fullmatch("0+", bare):
        return bare
    return "date" if set("ymdhs") & set(bare) and "general" not in bare else ""


def _unescaped(text: str) -> str:
    return ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _column(letters: str) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _true(value: str | None) -> bool:
    return (value or "").strip().lower() in ("1", "true", "on")


def _stop(path: Path, message: str, fix: str, rows: list[int] | None = None) -> HardStop:
    return HardStop("csv_invalid", message, file=path, row=rows, fix=fix)
