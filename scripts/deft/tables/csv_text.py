"""The text of a CSV table and its rows, read strictly: nothing is taken for something else.

One line is one row. Cells are separated by commas; a cell that holds a comma or a quotation mark
stands in quotation marks, and doubles those inside (RFC 4180, without line breaks in cells).

What pandas, Excel and Python read leniently, and differently, is refused: a quotation mark that
opens a cell and does not close it in the same line, text after the closing one, a carriage return
that ends no line. A quotation mark *inside* an unquoted cell (``0.5" pitch``) is read as it stands,
as all of them do.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from deft.core.errors import HardStop

CELL_CHARACTERS = 131_072  # of one cell; also the limit of Python's reader
COLUMNS_MOST = 512
OTHER_SEPARATORS = {
    ";": "';'",
    "\t": "a tab",
    "|": "'|'",
    "\uff0c": "a full-width comma",
    ":": "':'",
    "^": "'^'",
}
UTF_BOMS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
NO_TABLES = (  # how the files begin that people rename to .csv, or get in a table's place
    (b"PK\x03\x04", "an Excel workbook or another ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls)"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"%PDF-", "a PDF file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML file"),
    (b"version https://git-lfs", "a pointer of Git LFS (git lfs pull fetches the file)"),
)
SAVE_AS = "save it as CSV, UTF-8, separated by commas"


def _stop(path: Path, message: str, line: int | list[int] | None, fix: str) -> HardStop:
    return HardStop("csv_invalid", message, file=path, row=line, fix=fix)


def read_bytes(path: str | Path, first_bytes: int | None = None) -> bytes:
    """Return the bytes of a table (or its first ``first_bytes``).

    Raises
    ------
    HardStop ``missing_input`` (no such file, no right to read it) or ``csv_invalid`` (a folder).
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise _stop(path, "a folder stands where the table is due", None, "put the table there")
        if not path.is_file():
            raise HardStop("missing_input", "the table does not exist", file=path)
        return path.read_bytes()[:first_bytes]
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise HardStop("missing_input", f"the table cannot be read ({error})", file=path) from None


def decode_text(path: str | Path, data: bytes, what: str = "the table") -> str:
    """Return UTF-8 text without its byte order mark.

    Raises
    ------
    HardStop ``csv_invalid`` for UTF-16, UTF-32, another encoding or a NUL, with the line.
    """
    path = Path(path)
    kind = next((name for start, name in NO_TABLES if data.startswith(start)), None)
    if kind:
        raise _stop(path, f"{what} is {kind}", 1, "put plain text in UTF-8 in its place")
    for bom, name in UTF_BOMS:
        if data.startswith(bom):
            raise _stop(path, f"{what} is {name}, not UTF-8", 1, "save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise _stop(
            path,
            f"{what} is not UTF-8: byte 0x{byte:02X} in line {line} (another encoding, such as "
            "Windows-1252 or Latin-1?)",
            line,
            "save it as UTF-8",
        ) from None
    if "\0" in text:
        at = text.index("\0")
        # Every other byte of plain text, from its first letter on; a crash leaves them at the end.
        if "\0" in text[:2] and text.strip("\0"):
            raise _stop(path, f"{what} is UTF-16 or UTF-32, not UTF-8", 1, "save it as UTF-8")
        raise _stop(
            path,
            f"{what} holds a NUL character: the file is damaged, or no text",
            text.count("\n", 0, at) + 1,
            "write the file again",
        )
    return text


def split_lines(path: str | Path, text: str) -> list[str]:
    r"""Return the lines of a text, ended by ``\n`` or ``\r\n``, without trailing blank ones.

    Raises
    ------
    HardStop ``csv_invalid`` for a carriage return that stands alone.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        at = text.find("\r")
        if at >= 0:
            line = text.count("\n", 0, at) + 1
            raise _stop(
                Path(path),
                f"line {line} holds a carriage return that does not end it",
                line,
                "end lines by LF or CR LF, and keep line breaks out of cells",
            )
    lines = text.split("\n")
    while lines and not lines[-1]:
        lines.pop()
    return lines


def read_rows(path: str | Path, text: str, expected: tuple[str, ...] = ()) -> list[list[str]]:
    """Return the cells of every line; row ``i`` is line ``i + 1``, the header is row 0.

    ``expected``: names that the header must have, to tell another separator by.

    Raises
    ------
    HardStop ``csv_invalid`` naming the line: see the module's text; also a cell of more than
    ``CELL_CHARACTERS``, more than ``COLUMNS_MOST`` columns, rows that are not as long as the
    header.
    """
    path = Path(path)
    lines = split_lines(path, text)
    if not lines or not lines[0].strip(" \t\ufeff"):
        line = 1 if lines else None
        raise _stop(path, "the table has no header line", line, "write the column names in line 1")
    _check_separator(path, lines[0], expected)
    if max(map(len, lines)) > CELL_CHARACTERS:
        _check_lengths(path, lines)
    try:
        width = len(next(csv.reader(lines[:1], strict=True)))
    except csv.Error:
        raise _quote_stop(path, lines) from None
    if width > COLUMNS_MOST:  # before rows of as many cells are made
        raise _stop(
            path,
            f"the header has {width} columns, more than {COLUMNS_MOST}",
            1,
            "remove the columns that are not needed: is a row or a matrix in its place?",
        )
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        rows = []
    if len(rows) != len(lines):  # a cell went over a line's end
        raise _quote_stop(path, lines)
    if any(len(row) != width for row in rows):
        raise _ragged_stop(path, lines, rows)
    return rows


def _check_separator(path: Path, header: str, expected: tuple[str, ...]) -> None:
    hint = re.fullmatch(r'"?sep=(.)"?,*', header.lstrip("\ufeff"), flags=re.IGNORECASE)
    if hint:
        raise _stop(
            path, f"line 1 is a spreadsheet's hint ({header!r}), not the header", 1, "remove line 1"
        )

    def found(separator: str) -> int:
        names = {name.strip().strip('"').strip() for name in header.split(separator)}
        return len(names.intersection(expected))

    known = found(",")
    for separator, name in OTHER_SEPARATORS.items():
        better = found(separator) > known if expected else "," not in header
        if better and header.count(separator) >= max(1, len(expected) - 1):
            raise _stop(
                path, f"this table is separated by {name}", 1, f"only commas are read: {SAVE_AS}"
            )


def _check_lengths(path: Path, lines: list[str]) -> None:
    for number, line in enumerate(lines, start=1):
        if len(line) <= CELL_CHARACTERS:
            continue
        longest = max(map(len, line.split(",")))
        if '"' in line or longest > CELL_CHARACTERS:
            try:
                cells = next(csv.reader([line], strict=True))
            except csv.Error:
                cells = [line]
            longest = max(map(len, cells))
        if longest > CELL_CHARACTERS:
            raise _stop(
                path,
                f"a cell of line {number} has more than {CELL_CHARACTERS} characters",
                number,
                "no path, label or note is so long: is a quotation mark or a line break missing?",
            )


def _quote_stop(path: Path, lines: list[str]) -> HardStop:
    """Return the stop for the first line that is not a row by itself."""
    for number, line in enumerate(lines, start=1):
        if '"' not in line:
            continue
        try:
            next(csv.reader([line], strict=True))
        except csv.Error as error:
            if "expected after" in str(error):
                return _stop(
                    path,
                    f"line {number}: text stands between a closing quotation mark and the next "
                    "comma",
                    number,
                    "double the quotation marks that belong to the text, and put the whole cell "
                    "in quotation marks",
                )
            return _stop(
                path,
                f"line {number}: a quotation mark opens a cell and does not close in this line "
                f"({line[line.rfind(chr(34)) :][:40]!r})",
                number,
                "close it, remove it, or double one that belongs to the text; line breaks in "
                "cells are not read",
            )
    return _stop(path, "the lines of the table cannot be told apart", None, SAVE_AS)


def _ragged_stop(path: Path, lines: list[str], rows: list[list[str]]) -> HardStop:
    width = len(rows[0])
    ragged = [i for i, row in enumerate(rows, start=1) if len(row) != width]
    first = rows[ragged[0] - 1]
    found, text = len(first), lines[ragged[0] - 1]
    fix = "quote cells that hold commas; remove blank lines"
    if not text.strip():
        fix = "remove the blank line"
    for separator, name in OTHER_SEPARATORS.items():
        if text.count(separator) >= max(1, width - 1):
            fix = f"the row is separated by {name}; only commas are read"
    return _stop(
        path,
        f"{len(ragged)} row(s) do not have the header's {width} cells (first: {found})",
        ragged,
        fix,
    )
