"""The combined training table of an iteration: every earlier row unchanged, and the mined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import inside, sha256_file
from deft.mining.neighbours import part_keys
from deft.tables.changenet_table import (
    COLUMNS,
    clean_label,
    image_file,
    in_contract_order,
    line_of,
    read_table,
    rows_of,
)
from deft.tables.coordinates import base_rows
from deft.tables.csv_text import decode_text, read_bytes, read_rows
from deft.tables.goldens import GoldenFolders

PROVENANCE_COLUMNS = ("row", "source", "provenance", "iteration")


@dataclass(frozen=True)
class Assembly:
    """The combined table, its provenance (same order), and the row arithmetic."""

    table: pd.DataFrame
    provenance: pd.DataFrame
    facts: dict[str, Any]


def first_combined(base: pd.DataFrame, workspace: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return base training rows relative to the workspace with cleaned labels, and provenance."""
    table = in_contract_order(base_rows(base, workspace))
    table = table.assign(label=table["label"].map(clean_label))
    provenance = pd.DataFrame(
        {
            "row": range(len(table)),
            "source": "base_train",
            "provenance": "real",
            "iteration": 0,
        }
    )
    return table, provenance


def read_provenance(path: str | Path) -> pd.DataFrame:
    """Read the provenance beside a combined table; raises ``csv_invalid`` for what is none."""
    path = Path(path)
    header, *rows = read_rows(path, decode_text(path, read_bytes(path)), PROVENANCE_COLUMNS)
    table = pd.DataFrame(rows, columns=header, dtype=str)
    if header != list(PROVENANCE_COLUMNS):
        raise HardStop("csv_invalid", f"its columns are {header[:8]}", file=path, row=1)
    for column in ("row", "iteration"):
        wrong = table.index[~table[column].str.fullmatch(r"[0-9]{1,18}")]
        if len(wrong):
            cell = table[column][wrong[0]]
            lines = [line_of(i) for i in wrong]
            raise HardStop(
                "csv_invalid", f"{column} {cell[:40]!r} is no number", file=path, row=lines
            )
        table[column] = table[column].astype("int64")
    return table


def assemble(
    previous: pd.DataFrame,
    previous_provenance: pd.DataFrame,
    mined: pd.DataFrame,
    iteration: int,
) -> Assembly:
    """Append the mined parts that are not there yet.

    ``mined`` has the fourteen columns and ``provenance``. In iteration 1 earlier rows keep their
    source (``base_train``, or what a run goes on with); later they are ``previous_iter_train``.

    Raises
    ------
    HardStop ``silent_drop`` when the row arithmetic does not close.
    """
    seen = set(part_keys(previous))
    fresh = []
    for key in part_keys(mined):
        fresh.append(key not in seen)
        seen.add(key)
    # An empty list would select columns, not rows.
    new = mined[np.array(fresh, dtype=bool)]
    extra = [c for c in previous.columns if c not in COLUMNS]
    table = pd.concat([previous, new.reindex(columns=previous.columns, fill_value="")])
    table = table.reset_index(drop=True)[[*COLUMNS, *extra]]
    if iteration > 1:
        previous_provenance = previous_provenance.assign(source="previous_iter_train")
    provenance = pd.concat(
        [
            previous_provenance,
            pd.DataFrame(
                {
                    "row": range(len(previous), len(table)),
                    "source": "mining_pool",
                    "provenance": new["provenance"].tolist(),
                    "iteration": iteration,
                }
            ),
        ],
        ignore_index=True,
    )
    duplicates = len(mined) - len(new)
    facts = {
        "iteration": iteration,
        "previous_rows": len(previous),
        "mined_rows": len(mined),
        "duplicates": duplicates,
        "rows": len(table),
        "new_rows": len(new),
        "real_rows": int((provenance["provenance"] == "real").sum()),
        "sdg_rows": int((provenance["provenance"] == "sdg").sum()),
        "labels": {k: int(v) for k, v in table["label"].value_counts().sort_index().items()},
        "sources": {k: int(v) for k, v in provenance["source"].value_counts().sort_index().items()},
    }
    check_arithmetic(facts)
    check_growth(previous, table)
    return Assembly(table, provenance, facts)


def check_arithmetic(facts: dict[str, Any]) -> None:
    """Raise ``silent_drop`` unless rows in = rows out + duplicates."""
    rows_in = facts["previous_rows"] + facts["mined_rows"]
    rows_out = facts["rows"] + facts["duplicates"]
    if rows_in != rows_out:
        raise HardStop(
            "silent_drop",
            f"{rows_in} rows went in, {facts['rows']} came out and {facts['duplicates']} were "
            f"duplicates: {rows_in - rows_out} are unaccounted for",
            evidence=facts,
        )


def check_growth(previous: pd.DataFrame, table: pd.DataFrame) -> None:
    """Raise ``silent_drop`` unless every earlier row stands unchanged at its place."""
    head = table.iloc[: len(previous)][list(previous.columns)].reset_index(drop=True)
    if not head.equals(previous.reset_index(drop=True)):
        raise HardStop("silent_drop", "rows of the previous training table changed or vanished")


def validate_combined(
    path: str | Path, workspace: str | Path, lights: list[str], ext: str, num_golden: int = 1
) -> dict[str, Any]:
    """Check schema, label rule and the existence of every picture; return counts for the record.

    Raises
    ------
    HardStop ``csv_invalid``, ``path_escape`` or ``missing_input``, naming file and rows.
    """
    table = read_table(path)
    unclean = table.index[table["label"] != table["label"].map(clean_label)]
    if len(unclean):
        raise HardStop(
            "csv_invalid",
            f"label {table['label'][unclean[0]]!r} is not stripped and lower-cased",
            file=path,
            row=[line_of(i) for i in unclean],
        )
    check_pictures_exist(table, path, workspace, lights, ext, num_golden)
    return {
        "rows": len(table),
        "labels": {k: int(v) for k, v in table["label"].value_counts().sort_index().items()},
        "sha256": sha256_file(path),
    }


def check_pictures_exist(
    table: pd.DataFrame,
    path: str | Path,
    workspace: str | Path,
    lights: list[str],
    ext: str,
    num_golden: int = 1,
) -> None:
    """Raise ``missing_input`` for the rows whose test or golden picture is absent.

    With several goldens a part, ``csv_invalid`` for a row whose folder holds fewer.
    """
    root = Path(workspace)
    for column in ("input_path", "golden_path"):
        for i, folder in enumerate(table[column].tolist()):
            if folder.startswith(("/", "../")) or "/../" in folder:
                inside(root, folder, what=f"{column} in row {line_of(i)} of {path}:")
    several = num_golden > 1
    if several:
        cells = table["golden_path"].tolist()
        folders = GoldenFolders(root, cells, lights, ext, num_golden, path)
    known: dict[tuple[str, str], list[Path]] = {}  # what is absent of a folder's part

    def absent_of(folder: str, name: str, golden: bool) -> list[Path]:
        key = folder, "" if golden else name
        if key not in known:
            files = [image_file(root, folder, name, light, ext) for light in lights]
            files = folders.files_in(folder) if golden else files
            known[key] = [file for file in files if not file.is_file()]
        return known[key]

    for column in ("input_path", "golden_path"):
        golden = several and column == "golden_path"
        rows = enumerate(rows_of(table, column, "object_name"))
        found = [(line_of(i), absent_of(folder, name, golden)) for i, (folder, name) in rows]
        absent = [line for line, files in found for _ in files]
        if absent:
            first = next(files[0] for _, files in found if files)
            raise HardStop(
                "missing_input",
                f"{len(absent)} picture(s) named by {column} do not exist; first: {first}",
                file=path,
                row=absent,
            )
