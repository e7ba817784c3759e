"""The facts of every part of a table: measured, kept as parquet, and brought together by part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.causes.measure import LENGTH, NUMBERS, Measured, measure
from deft.core.errors import HardStop
from deft.core.files import made_again, replace_atomically
from deft.core.parquet import read_frame
from deft.core.progress import Progress
from deft.tables.changenet_table import image_file
from deft.tables.differing import read_grey
from deft.tables.goldens import Goldens

PART = ("input_path", "golden_path", "object_name")
KEY = (*PART, "light")
SIGNATURE = "signature"
PHOTOMETRY = ("brightness", "contrast", "sharpness")
Z = {name: f"{name}_z" for name in PHOTOMETRY}
SPREAD_FLOOR = {
    "brightness": 2.0,
    "contrast": 2.0,
    "sharpness": 0.005,
}  # of a set that is all alike


@dataclass(frozen=True)
class Camera:
    """How pictures are found and read: their root, lights, extension, goldens, and full scale."""

    root: Path
    lights: Sequence[str]
    ext: str
    goldens: Goldens
    levels: int | None = None


def measured_rows(rows: pd.DataFrame, camera: Camera, what: str) -> pd.DataFrame:
    """Return the facts of every distinct part and light: ``KEY``, numbers, signature.

    ``rows``: cells relative to ``camera.root``. ``what`` names them in the progress.

    Raises
    ------
    HardStop ``missing_input`` or ``image_invalid`` naming the picture.
    """
    parts = list(dict.fromkeys(rows[list(PART)].itertuples(index=False, name=None)))
    wanted = [(*part, light) for part in parts for light in camera.lights]

    def one(key: tuple[str, str, str, str]) -> Measured:
        folder, golden, name, light = key
        pair = (
            image_file(camera.root, folder, name, light, camera.ext),
            camera.goldens.file(golden, name, light),
        )
        test, known = (read_grey(path, camera.levels) for path in pair)
        return measure(test, known)

    progress = Progress(len(wanted), what)
    found: list[Measured] = []
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as workers:
        for each in workers.map(one, wanted):
            found.append(each)
            progress(1)
    progress.close()
    table = pd.DataFrame(wanted, columns=list(KEY))
    for name in NUMBERS:
        table[name] = np.array([getattr(each, name) for each in found], np.float64)
    table[SIGNATURE] = pd.Series([each.signature for each in found], dtype=object)
    return table


def write_facts(path: Path, table: pd.DataFrame) -> None:
    """Write what :func:`measured_rows` gives."""
    fields = [(name, pa.string()) for name in KEY] + [(name, pa.float64()) for name in NUMBERS]
    schema = pa.schema([*fields, (SIGNATURE, pa.list_(pa.float32()))])
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    replace_atomically(path, lambda p: pq.write_table(arrow, p))


def read_facts(path: Path) -> pd.DataFrame:
    """Read them again; raises HardStop ``missing_input`` for a file that is damaged."""
    table = read_frame(path, [*KEY, *NUMBERS, SIGNATURE], only=True)
    # Spoiled metadata can make an index of a column.
    odd = [name for name in (*KEY, *NUMBERS, SIGNATURE) if name not in table]
    if not odd:
        odd += [name for name in NUMBERS if table[name].dtype != np.float64]
        odd += [n for n in KEY if not table[n].map(lambda cell: isinstance(cell, str)).all()]
        odd += [] if table[SIGNATURE].map(_is_signature).all() else [SIGNATURE]
    if odd:
        raise HardStop(
            "missing_input",
            f"no facts of parts: column(s) {odd} hold something else",
            file=path,
            fix=made_again(path),
        )
    return table.reset_index(drop=True)


def _is_signature(cell: Any) -> bool:
    fits = isinstance(cell, np.ndarray) and cell.dtype == np.float32 and cell.shape == (LENGTH,)
    return fits and bool(np.isfinite(cell).all())


@dataclass(frozen=True)
class Parts:
    """Facts of n parts: ``numbers`` (n rows: ``NUMBERS``, ``light``) and ``signatures`` (n, 37).

    ``light``: the one in which test and golden differ most, which the difference is told of.
    """

    numbers: pd.DataFrame
    signatures: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)


def unmeasured(rows: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose part the facts do not have."""
    known = set(facts[list(PART)].itertuples(index=False, name=None))
    gone = [key not in known for key in rows[list(PART)].itertuples(index=False, name=None)]
    return rows[np.array(gone, bool)]


def of_parts(rows: pd.DataFrame, facts: pd.DataFrame) -> Parts:
    """Return the facts of each row's part, in order; rows without any are ``KeyError``."""
    by_part = {key: at.index for key, at in facts.groupby(list(PART), sort=False)}
    found: list[dict[str, Any]] = []
    signatures: list[np.ndarray] = []
    columns: dict[Any, dict[str, Any]] = {
        at: {str(name): value for name, value in row.items()}
        for at, row in facts[[*NUMBERS, "light"]].to_dict("index").items()
    }
    known = facts[SIGNATURE].to_dict()
    for key in rows[list(PART)].itertuples(index=False, name=None):
        lights = [columns[at] for at in by_part[key]]
        worst = max(range(len(lights)), key=lambda i: lights[i]["peak"])
        numbers = dict(lights[worst])
        for name in ("shift_pct", "rotation_deg"):
            numbers[name] = max(one[name] for one in lights)
        for name in ("match_before", "match"):
            numbers[name] = min(one[name] for one in lights)
        found.append(numbers)
        signatures.append(np.asarray(known[by_part[key][worst]], np.float32))
    numbers_of = pd.DataFrame(found, columns=[*NUMBERS, "light"])
    stacked = (
        np.stack(signatures).astype(np.float32) if signatures else np.zeros((0, 0), np.float32)
    )
    return Parts(numbers_of, stacked)


def against(parts: Parts, training: Parts) -> Parts:
    """Return parts with ``*_z``: how many spreads of the training parts they lie off the median.

    Of brightness, contrast and sharpness of the light told of, each against that light's own; the
    spread is the middle half's, as a standard deviation (IQR / 1.349).
    """
    numbers = parts.numbers.copy()
    for name, z in Z.items():
        numbers[z] = 0.0
        for light in numbers["light"].unique():
            known = training.numbers.loc[training.numbers["light"] == light, name]
            if known.empty:
                known = training.numbers[name]
            low, middle, high = known.quantile([0.25, 0.5, 0.75])
            spread = max((high - low) / 1.349, SPREAD_FLOOR[name])
            here = numbers["light"] == light
            numbers.loc[here, z] = (numbers.loc[here, name] - middle) / spread
    return replace(parts, numbers=numbers)
