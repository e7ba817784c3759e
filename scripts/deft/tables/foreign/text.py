"""Text with separators as spreadsheets, databases and machines write it.

What can be told from the file is: UTF-8, a byte order mark, and the separator, by which the header
has the names that are due. No encoding can be told from another by its bytes: any but UTF-8 and
UTF-16 with a mark must be named.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from pathlib import Path

from deft.core.errors import HardStop
from deft.tables.csv_text import CELL_CHARACTERS, COLUMNS_MOST, NO_TABLES, split_lines
from deft.tables.foreign.grid import HEADER_WITHIN, Grid, Reading, is_header

SEPARATORS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}
MARKS = (  # the longer first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What a spreadsheet of a country saves by default, for the advice.
OFTEN = ("cp1252", "cp1250", "cp1251", "cp932", "cp949", "gb18030", "big5")


def text_grid(path: Path, data: bytes, reading: Reading) -> Grid:
    """Return the cells of a text, one line a row.

    Raises HardStop ``csv_invalid``: an encoding that must be named, a quotation mark that does not
    close in its line, no header with the mandatory columns.
    """
    text, encoding = _decoded(path, data, reading.encoding)
    told = []
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")  # of classic Mac OS, which Excel still offers
        told.append("lines end in CR")
    lines = split_lines(path, text)
    named = "\t" if reading.separator == "tab" else reading.separator
    separator, hint = named, 0
    if lines and lines[0].lstrip('"').lower().startswith("sep=") and len(lines[0].strip('",;')) < 6:
        hint = 1  # Excel's own line, of no row
        separator = separator or lines[0].strip('"')[4:5]
        told.append("line 1 is Excel's hint of the separator")
    separator = separator or _separator(path, lines, reading)
    told = [f"{SEPARATORS.get(separator, repr(separator))} separated", encoding, *told]
    rows = [[], *_rows(path, lines[1:], separator, 2)] if hint else _rows(path, lines, separator, 1)
    return Grid(path, rows, list(range(1, len(rows) + 1)), told)


def _decoded(path: Path, data: bytes, named: str | None) -> tuple[str, str]:
    kind = next((name for start, name in NO_TABLES if data.startswith(start)), None)
    if kind:
        raise _stop(path, f"the table is {kind}", "save it as text, .xlsx or Parquet")
    marked = next((name for mark, name in MARKS if data.startswith(mark)), None)
    if named and marked and codecs.lookup(named).name.removesuffix("-sig") not in (
        marked.removesuffix("-sig"), f"{marked}-le", f"{marked}-be"):  # fmt: skip
        raise _stop(path, f"the file says itself that it is {marked.upper()}", "leave encoding out")
    encoding = marked or named or "utf-8"
    if encoding == "utf-8" and b"\0" in data[:2] and data.strip(b"\0"):  # every other byte of text
        fix = "name it, as import_table.encoding: utf-16-le or utf-16-be"
        raise _stop(path, "the table is UTF-16 without a mark", fix)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecoded(path, data, encoding, error) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _stop(path, "the table is damaged, or no text (a NUL)", "export it again", line)
    if named and not marked and not text.isascii() and codecs.lookup(named).name != "utf-8":
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:  # no other encoding makes such bytes by chance
            raise _stop(path, f"encoding is {named}, and the file is UTF-8", "leave encoding out")
    return text.lstrip("\ufeff"), encoding.removesuffix("-sig").upper()


def _undecoded(path: Path, data: bytes, encoding: str, error: UnicodeDecodeError) -> HardStop:
    line = data.count(b"\n", 0, error.start) + 1
    message = f"byte 0x{data[error.start]:02X} in line {line} is not {encoding.upper()}"
    if encoding not in ("utf-8", "utf-8-sig"):
        return _stop(path, message, "name the encoding that it was saved in", line)
    start = max(data.rfind(mark, 0, error.start) for mark in b'\n,;\t|"') + 1
    word = data[start : start + 40].split(b"\n")[0].split(b";")[0].split(b",")[0].split(b"\t")[0]
    seen = {}
    for name in OFTEN:
        try:
            data.decode(name)
            seen[name] = word.decode(name).strip()
        except UnicodeDecodeError:
            continue
    likely = {name: text for name, text in seen.items() if text.replace(" ", "").isalnum()}
    told = ", ".join(f"{name} ({text!r})" for name, text in (likely or seen).items())
    fix = f"save it as UTF-8, or name what it is, as import_table.encoding: {told}"
    return _stop(path, message, fix if seen else "save it as UTF-8", line)


def _separator(path: Path, lines: list[str], reading: Reading) -> str:
    """Return the one separator by which a row has the mandatory names."""
    first = lines[:HEADER_WITHIN]
    if reading.header_row is not None:
        first = lines[reading.header_row - 1 : reading.header_row]
    fitting = [
        mark
        for mark in SEPARATORS
        if any(
            is_header(next(csv.reader([line], delimiter=mark), []), reading.columns)
            for line in first
            if len(line) <= CELL_CHARACTERS
        )  # the reader's own limit
    ]
    if len(fitting) == 1:
        return fitting[0]
    # Told with what was found, by whoever looks for the header: the mark that parts most.
    return max(SEPARATORS, key=lambda mark: sum(line.count(mark) for line in first))


def _rows(path: Path, lines: list[str], separator: str, number: int) -> list[list[str]]:
    try:
        rows = list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error:
        rows = []
    if len(rows) == len(lines) and all(len(row) <= COLUMNS_MOST for row in rows):
        return rows
    return list(_row_by_row(path, lines, separator, number))


def _row_by_row(path: Path, lines: list[str], separator: str, number: int) -> Iterator[list[str]]:
    for line_number, line in enumerate(lines, start=number):
        try:
            cells = next(csv.reader([line], delimiter=separator, strict=True), [])
        except csv.Error as error:
            what = "a quotation mark opens a cell and does not close in this line"
            if "expected after" in str(error):
                what = "text stands between a closing quotation mark and the separator"
            elif "limit" in str(error):
                what = "a cell is longer than any name or note"
            fix = "take line breaks out of cells; double the quotation marks that belong to a text"
            raise _stop(path, f"line {line_number}: {what}", fix, line_number) from None
        if len(cells) > COLUMNS_MOST:
            told = f"line {line_number} has {len(cells)} cells, more than {COLUMNS_MOST}"
            raise _stop(path, told, "remove the columns that are not needed", line_number)
        yield cells


def _stop(path: Path, message: str, fix: str, row: int | None = None) -> HardStop:
    return HardStop("csv_invalid", message, file=path, row=row, fix=fix)
