"""Tables as a person corrected them (:mod:`deft.tables.corrections`), in memory.

Rows are found by (input_path, golden_path, object_name) relative to the workspace, so that a table
as written and one that a stage has placed compare alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from deft.core.errors import HardStop
from deft.core.layout import CORRECTIONS
from deft.tables.changenet_table import image_file, line_of
from deft.tables.coordinates import base_rows, pool_rows
from deft.tables.corrections import OUT, POOL, TABLES, WRONG, Correction, two_verdicts
from deft.tables.fingerprint import pixel_digest
from deft.tables.labels import clean_label, first_spellings, shown

Part = tuple[str, str, str]  # input_path, golden_path, object_name


def parts_of(rows: pd.DataFrame) -> list[Part]:
    """Return the part of each row of a table that is relative to the workspace."""
    columns = [rows[name].tolist() for name in ("input_path", "golden_path", "object_name")]
    return list(zip(*columns, strict=True))


def placed_rows(rows: pd.DataFrame, table: str, workspace: str | Path) -> pd.DataFrame:
    """Return rows of a table as written (``kpi``, ``training``, ``pool``) in the workspace."""
    return (pool_rows if table == POOL else base_rows)(rows, workspace)


def parts_meant(found: Sequence[Correction], workspace: str | Path) -> list[Part]:
    """Return the part that each correction speaks of; its golden is ``""`` where it names none."""
    out: list[Part] = []
    for one in found:
        named = ("input_path", "golden_path", "object_name")
        cells = {name: [getattr(one, name)] for name in named}
        row = placed_rows(pd.DataFrame(cells, dtype=object), one.table, workspace).iloc[0]
        golden = str(row["golden_path"]) if one.golden_path else ""
        out.append((str(row["input_path"]), golden, one.object_name))
    return out


def matches(
    rows: pd.DataFrame, found: Sequence[Correction], workspace: str | Path
) -> list[Correction | None]:
    """Return the correction of each row of a placed table, None for most."""
    if not found:
        return [None] * len(rows)
    meant = dict(zip(parts_meant(found, workspace), found, strict=True))
    return [
        meant.get((folder, golden, name)) or meant.get((folder, "", name))
        for folder, golden, name in parts_of(rows)
    ]


def corrected(
    rows: pd.DataFrame,
    found: Sequence[Correction],
    workspace: str | Path,
    *,
    placed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return a table with its labels corrected and without the rows that are left out.

    Parameters
    ----------
    found: the corrections of this table (:func:`deft.tables.corrections.of_table`).
    placed: the same rows relative to the workspace; None when ``rows`` are.

    The index of the rows that stay is kept: it names lines of the file.
    """
    if not found:
        return rows
    each = matches(rows if placed is None else placed, found, workspace)
    return relabelled(rows, each)[[not is_out(one) for one in each]]


def is_out(one: Correction | None) -> bool:
    """Return whether a row with this correction counts nowhere."""
    return one is not None and one.verdict in OUT


def relabelled(
    rows: pd.DataFrame, each: Sequence[Correction | None], *, clean: bool = False
) -> pd.DataFrame:
    """Return rows with the new labels of their corrections.

    ``clean``: these get the form that labels have inside, else the table's own spelling.
    """
    spelling = {} if clean else first_spellings(rows["label"])
    labels = [
        (clean_label(one.new_label) if clean else shown(one.new_label, spelling))
        if one is not None and one.verdict == WRONG
        else label
        for one, label in zip(each, rows["label"].tolist(), strict=True)
    ]
    return rows.assign(label=labels)


def corrected_table(
    rows: pd.DataFrame, found: Sequence[Correction], table: str, workspace: str | Path
) -> pd.DataFrame:
    """Return :func:`corrected` of a table as written."""
    if not found:
        return rows
    return corrected(rows, found, workspace, placed=placed_rows(rows, table, workspace))


def picture_digest(
    workspace: str | Path, part: Part, lights: Sequence[str], ext: str, levels: int | None = None
) -> str:
    """Return a digest of a part's test pictures, all lights, as decoded: 16 hexadecimal digits."""
    root, (folder, _, name) = Path(workspace), part
    each = [pixel_digest(image_file(root, folder, name, light, ext), levels) for light in lights]
    return hashlib.sha256(" ".join(each).encode()).hexdigest()[:16]


def unknown_rows(
    found: Sequence[Correction], rows: pd.DataFrame, table: str, workspace: str | Path
) -> HardStop | None:
    """Return the stop for corrections of rows that a placed table does not have once, or None.

    So it does for two verdicts on a row whose cells they write in different ways.
    """
    each = parts_of(rows)
    exact, loose = set(each), [(folder, "", name) for folder, _, name in each]
    if table == POOL:  # a row a light is one part
        loose = [(folder, "", name) for folder, _, name in dict.fromkeys(each)]
    meant = parts_meant(found, workspace)
    for one, part in zip(found, meant, strict=True):
        if part in exact or (part[1] == "" and loose.count(part) == 1):
            continue
        several = part[1] == "" and part in loose
        return HardStop(
            "csv_invalid",
            f"{one.object_name!r} with input_path {one.input_path!r}"
            + (f" and golden_path {one.golden_path!r}" if one.golden_path else "")
            + (" is more than one row" if several else " is no row")
            + f" of {TABLES[table]}",
            file=Path(workspace) / CORRECTIONS,
            row=one.line,
            fix="write golden_path too" if several else "copy the row's own cells, or remove it",
        )
    return two_verdicts(Path(workspace) / CORRECTIONS, found, meant)


def stale(
    one: Correction, label: str, picture: str | None, row: int, workspace: str | Path
) -> HardStop | None:
    """Return the stop for a correction whose row was changed since, or None.

    ``label``: of its row now. ``picture``: :func:`picture_digest` now, None when not compared.
    """
    where = f"row {line_of(row)} of {TABLES[one.table]}"
    what = ""
    if one.label and clean_label(one.label) != clean_label(label):
        what = f"{where} has the label {label!r} now; it was corrected as {one.label!r}"
    elif one.picture and picture is not None and one.picture != picture:
        what = f"the picture of {where} ({one.object_name!r}) is another than the one looked at"
    if not what:
        return None
    return HardStop(
        "csv_invalid",
        what,
        file=Path(workspace) / CORRECTIONS,
        row=one.line,
        fix="look at the row again and write what holds now (label and picture), or remove it",
    )
