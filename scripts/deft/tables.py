"""The ChangeNet table: its columns, how it is read and written, its label rule.

One row is one part; the picture of a light is
``{images_dir}/{input_path}/{object_name}_{light}{image_ext}``, the golden one likewise with
``golden_path``. ``input_path`` is a directory.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd

from deft.errors import HardStop
from deft.files import write_text_atomic

MANDATORY = ("input_path", "golden_path", "label", "object_name")
OPTIONAL = (
    "project",
    "boardname",
    "comp_type_2",
    "mpass_mfail",
    "is_valid",
    "comp_name",
    "part_type",
    "number_of_pins",
    "description",
    "comp_type_1",
)
COLUMNS = MANDATORY + OPTIONAL
SCORE_COLUMN = "siamese_score"
PASS = "PASS"
FIRST_ROW_LINE = 2  # the header is line 1


def read_table(
    path: str | Path, *, check_labels: bool = True, first_bytes: int | None = None
) -> pd.DataFrame:
    """Read a ChangeNet table as text, or only its first ``first_bytes`` bytes (whole rows).

    Returns a frame of strings (empty cells are ``""``) with the columns as found; its index is
    0, 1, 2, … so that ``line_of(i)`` names the line in the file.

    Raises
    ------
    HardStop ``missing_input`` (no such file) or ``csv_invalid`` (not UTF-8, ragged rows, missing
    or doubled columns, an empty mandatory cell, a label that is PASS only by case or spaces).
    """
    path = Path(path)
    if not path.is_file():
        raise HardStop("missing_input", "the table does not exist", file=path)
    try:
        text = path.read_bytes()[:first_bytes].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HardStop(
            "csv_invalid", f"the table is not UTF-8 ({error})", file=path, fix="save it as UTF-8"
        ) from None
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or not any(cell.strip() for cell in rows[0]):
        raise HardStop("csv_invalid", "the table has no header line", file=path)
    header = [name.strip() for name in rows[0]]
    _check_header(path, header)
    body = rows[1:]
    while body and not body[-1]:
        body.pop()
    ragged = [i + FIRST_ROW_LINE for i, row in enumerate(body) if len(row) != len(header)]
    if ragged:
        found = len(body[ragged[0] - FIRST_ROW_LINE])
        raise HardStop(
            "csv_invalid",
            f"{len(ragged)} row(s) do not have the header's {len(header)} cells (first: {found})",
            file=path,
            row=ragged,
            fix="quote cells that hold commas or line breaks; remove blank lines",
        )
    table = pd.DataFrame(body, columns=header, dtype=str)
    _check_cells(path, table)
    if check_labels:
        check_pass_spelling(path, table)
    return table


def _check_header(path: Path, header: list[str]) -> None:
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise HardStop("csv_invalid", f"column(s) {doubled} stand twice", file=path, row=1)
    missing = [name for name in MANDATORY if name not in header]
    if missing:
        raise HardStop(
            "csv_invalid",
            f"mandatory column(s) {missing} are missing; found {header}",
            file=path,
            row=1,
            fix=f"every ChangeNet table has the columns {', '.join(MANDATORY)}",
        )


def _check_cells(path: Path, table: pd.DataFrame) -> None:
    for column in MANDATORY:
        empty = table.index[table[column].str.strip() == ""]
        if len(empty):
            raise HardStop(
                "csv_invalid",
                f"{len(empty)} row(s) have an empty {column}",
                file=path,
                row=[line_of(i) for i in empty],
                fix="fill the cell or remove the row",
            )


def check_pass_spelling(path: str | Path, table: pd.DataFrame) -> None:
    """Refuse labels such as ``pass`` or ``PASS `` that training would count as a defect."""
    label = table["label"]
    wrong = table.index[(label.str.strip().str.upper() == PASS) & (label != PASS)]
    if len(wrong):
        raise HardStop(
            "csv_invalid",
            f"label {label[wrong[0]]!r} is PASS only after changing case or spaces; "
            "training would count the part as defective",
            file=path,
            row=[line_of(i) for i in wrong],
            fix="write PASS exactly, or name the defect",
        )


def line_of(index: int) -> int:
    """Return the CSV line of 0-based row ``index`` (tables with one line a row)."""
    return int(index) + FIRST_ROW_LINE


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV (UTF-8, ``\\n``), whole or not at all."""
    return write_text_atomic(path, table.to_csv(index=False, lineterminator="\n"))


def in_contract_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the fourteen columns in order (absent ones empty), then the further ones."""
    further = [name for name in table.columns if name not in COLUMNS]
    return table.reindex(columns=[*COLUMNS, *further], fill_value="")


def clean_label(label: str) -> str:
    """Return ``PASS`` unchanged and any other label stripped and lower-cased."""
    return label if label == PASS else label.strip().lower()


def is_ng(label: str) -> bool:
    """Return whether a label means a defective part, leniently (for foreign tables)."""
    return label.strip().upper() != PASS


def image_name(object_name: str, light: str, ext: str) -> str:
    """Return the file name of one light's picture; an empty light adds no suffix."""
    return f"{object_name}_{light}{ext}" if light else f"{object_name}{ext}"


def image_file(images_dir: str | Path, folder: str, object_name: str, light: str, ext: str) -> Path:
    """Return where TAO looks for a picture."""
    return Path(images_dir) / folder / image_name(object_name, light, ext)


def split_pool_cell(input_path: str) -> tuple[str, str | None]:
    """Split a pool ``input_path`` that may name a file into directory and file name.

    >>> split_pool_cell("images/R821@1_SolderLight.jpg")
    ('images', 'R821@1_SolderLight.jpg')
    >>> split_pool_cell("images/board7")
    ('images/board7', None)
    """
    if re.search(r"\.(png|jpe?g|bmp|tiff?)$", input_path, flags=re.IGNORECASE):
        folder, _, name = input_path.replace("\\", "/").rpartition("/")
        return folder or ".", name
    return input_path, None
