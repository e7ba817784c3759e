"""From which lap on a corrected pool row counts: what must run again, and what need not.

A lap that mined a row before it was corrected is mined again, and those after it; a row that no
lap has mined yet counts in the laps to come. What was found once is kept beside the run's
pre-flight, since a lap that is mined again without the row no longer names it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import BASELINE, phase_name, phase_number
from deft.core.reading import check_shape, read_json
from deft.tables.corrections import KPI, POOL, TRAINING, Correction, digest, of_table

KEPT_FILE = "preflight/corrections.json"
SHAPE = {"corrections": [{"table": str, "input_path": str, "object_name": str, "from": str}]}
DECISION = "decision"  # KPI rows: no stage of a finished lap, only what it is judged by
MINED = "mining_filter/mining_pool.csv"


def first_laps(
    workspace: Path, run_dir: Path, found: Iterable[Correction]
) -> dict[tuple[str, ...], int]:
    """Return row of the pool -> number of the lap from which its correction counts."""
    rows = of_table(found, POOL)
    if not rows:
        return {}
    from deft.tables.corrected import parts_meant  # with pandas, and few runs have any

    kept = {
        (c["table"], c["input_path"], c.get("golden_path", ""), c["object_name"]): c["from"]
        for c in kept_corrections(run_dir)
    }
    laps = _mined(run_dir)
    following = max(laps, default=0) + 1
    out: dict[tuple[str, ...], int] = {}
    for one, (folder, golden, name) in zip(rows, parts_meant(rows, workspace), strict=True):
        wanted = {(folder, golden, name), (folder, name)} if golden else {(folder, name)}
        named = [lap for lap, parts in laps.items() if wanted & parts]
        if one.row in kept:
            named.append(phase_number(kept[one.row]))
        out[one.row] = min(named, default=following)
    return out


def _mined(run_dir: Path) -> dict[int, set[tuple[str, ...]]]:
    """Return number of a lap -> its mined parts, with and without their golden picture."""
    out = {}
    for path in sorted(Path(run_dir).glob(f"iter*/{MINED}")):
        lap = phase_number(path.parents[1].name)
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        names = ("input_path", "golden_path", "object_name")
        parts = {tuple(row.get(name) or "" for name in names) for row in rows}
        out[lap] = {(folder, name) for folder, _, name in parts} | parts
    return out


def digest_upto(workspace: Path, run_dir: Path, lap: str, found: list[Correction]) -> str:
    """Return the digest of the pool's corrections that count in a lap; empty without any."""
    laps, number = first_laps(workspace, run_dir, found), phase_number(lap)
    return digest(one for one in of_table(found, POOL) if laps[one.row] <= number)


def kept_corrections(run_dir: Path) -> list[dict[str, Any]]:
    """Return what :func:`keep` wrote; [] where it wrote nothing."""
    path = Path(run_dir) / KEPT_FILE
    if not path.is_file():
        return []
    content = read_json(path)
    if check_shape(content, SHAPE):
        raise HardStop(
            "missing_input",
            "the record of the corrections is damaged",
            file=path,
            fix=f"delete it, then run: {again('preflight')}",
        )
    found: list[dict[str, Any]] = content["corrections"]
    return found


def keep(workspace: Path, run_dir: Path, found: list[Correction]) -> list[dict[str, Any]]:
    """Write and return the corrections of a run, each with where it begins to count.

    ``from``: ``decision`` (KPI), ``baseline`` (training), the lap (pool); nothing is written for a
    run that never had any.
    """
    laps = first_laps(workspace, run_dir, found)
    begins = {KPI: DECISION, TRAINING: BASELINE}
    told = [
        one.as_dict()
        | {"from": begins[one.table] if one.table != POOL else _lap(laps.get(one.row))}
        for one in found
    ]
    path = Path(run_dir) / KEPT_FILE
    if told or path.is_file():
        write_json_atomic(path, {"schema_version": 1, "corrections": told})
    return told


def _lap(number: int | None) -> str:
    return "" if number is None else phase_name(number)  # label_right changes nothing
