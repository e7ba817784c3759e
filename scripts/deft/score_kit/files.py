"""Files and tables that are read whole, and appear whole or not at all."""

from __future__ import annotations

import csv
import errno
import os
import stat
from pathlib import Path

from .errors import Stop

SAVE_AS = "save it as CSV, UTF-8, separated by commas, one line a row"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def read_file(path: Path) -> bytes:
    """Return a file's bytes; raises OSError, also for a pipe, which would be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file stands there")
    return path.read_bytes()


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a CSV; raises Stop ``missing_input``, ``csv_invalid``."""
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"the table is not UTF-8 (byte {error.start})"
        raise Stop("csv_invalid", why, file=path, fix=SAVE_AS) from None
    except OSError as error:
        why = f"the table cannot be read ({error.strerror})"
        raise Stop("missing_input", why, file=path, fix="give the table's path") from None
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise Stop("csv_invalid", f"a quotation mark is out of place ({error})", file=path,
                   fix=SAVE_AS) from None  # fmt: skip
    if len(rows) != len(lines):
        raise Stop("csv_invalid", "a cell goes over the end of its line", file=path, fix=SAVE_AS)
    header = [name.strip() for name in rows[0]] if rows else []
    between = next((name for mark, name in SEPARATORS.items() if header and mark in header[0]), "")
    if len(header) == 1 and between:
        why = f"the cells are separated by {between}, not by commas"
        raise Stop("csv_invalid", why, file=path, rows=[1], fix=SAVE_AS)
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise Stop("csv_invalid", f"column(s) {doubled} stand twice", file=path, rows=[1])
    ragged = [i + 1 for i, row in enumerate(rows) if len(row) != len(header)]
    if ragged:
        raise Stop(
            "csv_invalid",
            f"{len(ragged)} row(s) do not have the header's {len(header)} cells",
            file=path,
            rows=ragged,
            fix="quote cells that hold commas; remove blank lines",
        )
    return header, rows[1:]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a neighbour and move it into place; raises Stop ``missing_input``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        try:
            beside.unlink(missing_ok=True)
        except OSError:  # its folder is not there
            pass


def cannot_write(path: Path, error: OSError) -> Stop:
    """Return the stop for a file that cannot be written."""
    why = f"cannot be written ({error.strerror})"
    return Stop("missing_input", why, file=path, fix="give another --out, or make room")
