"""A sealed acceptance set and a grown pool for the tiny workspace."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from tiny_workspace import COLUMNS, _draw, _save, _write_csv

POOL = "augmentation/mining_pool/mining_pool.csv"
ACCEPTANCE = "kpi/acceptance_set.csv"
LIGHT = "SolderLight"


def draw_parts(workspace: Path, folder: str, role: str, first: int, labels: list[str]) -> list:
    """Draw parts below ``folder`` with their goldens; return their rows."""
    rng = np.random.default_rng(first)
    rows = []
    for i, label in enumerate(labels):
        name = f"A{first + i}@1"
        test, golden = _draw(rng, label, 32)
        _save(workspace / folder / f"{name}_{LIGHT}.png", test)
        _save(workspace / f"kpi/images/golden/{role}/{name}_{LIGHT}.png", golden)
        rows.append({"golden_path": f"golden/{role}", "label": label, "object_name": name})
    return rows


def write_acceptance(workspace: Path, rows: list[dict[str, str]]) -> Path:
    """Write rows as the acceptance set."""
    _write_csv(workspace / ACCEPTANCE, rows, COLUMNS)
    return workspace / ACCEPTANCE


def seal_acceptance(workspace: Path, good: int = 30, defects: int = 30) -> list[dict[str, str]]:
    """Draw an acceptance set of parts that no other table has; return its rows."""
    labels = ["PASS"] * good + ["bridge", "missing"] * (defects // 2)
    drawn = draw_parts(workspace, "kpi/images/acceptance", "acceptance", 7000, labels)
    rows = [{**row, "input_path": "acceptance"} for row in drawn]
    write_acceptance(workspace, rows)
    return rows


def grow_pool(workspace: Path, first: int, count: int) -> None:
    """Append drawn production samples to the mining pool."""
    labels = ["bridge" if i % 3 == 0 else "PASS" for i in range(count)]
    rows = draw_parts(workspace, "augmentation/mining_pool/images", "pool", first, labels)
    with (workspace / POOL).open("a", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n", restval="")
        for row in rows:
            file = f"images/{row['object_name']}_{LIGHT}.png"
            writer.writerow({**row, "input_path": file, "boardname": "line1"})
