"""NVIDIA's resolver of pool rows and ours find the same file for each row, in every layout."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from nvidia_skills import needs_skills, run_aoi, succeeded
from tiny_workspace import make_tiny_workspace

from deft.core.layout import POOL_TABLE, image_root
from deft.preflight.run import run_preflight
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table
from deft.tables.coordinates import pool_rows, read_pool

pytestmark = needs_skills


def nvidia_layout(path: Path, *, cells: str) -> Path:
    """Return a workspace with all pictures under ``images/``, as NVIDIA's data-layout.md has it."""
    workspace = make_tiny_workspace(
        path, image_root="images", base=6, validation=6, kpi=8, pool=9, pregen=2
    )
    shutil.move(workspace / "augmentation/mining_pool/images", workspace / "images/line1")
    table = read_table(workspace / POOL_TABLE)
    names = [Path(cell).name for cell in table["input_path"]]
    table["input_path"] = {
        "file": [f"images/line1/{name}" for name in names],
        "below": [f"line1/{name}" for name in names],
        "folder": ["line1"] * len(names),
    }[cells]
    table.to_csv(workspace / POOL_TABLE, index=False)
    return workspace


@pytest.mark.parametrize("layout", ["file", "below", "folder", "contract"])
def test_both_find_the_same_file_for_each_pool_row(tmp_path, layout):
    if layout == "contract":
        workspace = make_tiny_workspace(tmp_path / "w", pool=9, pregen=2)
    else:
        workspace = nvidia_layout(tmp_path / "w", cells=layout)
    root, out = image_root(workspace), tmp_path / "resolved.csv"
    told = succeeded(
        run_aoi(
            *("cur", "resolve_mining_pool.py", "--csv", workspace / POOL_TABLE),
            *("--images-root", root, "--output-csv", out, "--image-ext", ".png"),
        )
    )
    assert json.loads(told) == {"ambiguous": 0, "missing": 0, "rows": 9}
    ours = pool_rows(read_pool(workspace), workspace)
    with out.open(newline="") as handle:
        theirs = [root / row["filepath"] for row in csv.DictReader(handle)]
    assert theirs == [
        workspace / folder / f"{name}_SolderLight.png"
        for folder, name in zip(ours["input_path"], ours["object_name"], strict=True)
    ]


def test_the_resolved_table_is_itself_a_pool_table(tmp_path):
    """It has one more column, ``filepath``, which is a name of the loop's own tables too."""
    workspace = nvidia_layout(tmp_path / "w", cells="file")
    table, root = workspace / POOL_TABLE, image_root(workspace)
    before = pool_rows(read_pool(workspace), workspace)
    succeeded(
        run_aoi(
            *("cur", "resolve_mining_pool.py", "--csv", table, "--images-root", root),
            *("--output-csv", table, "--image-ext", ".png"),
        )
    )
    settings = resolve({"encoder": "changenet", "device": "cpu"})
    run_preflight(workspace, workspace / "results/run_1", settings, sources={}, log=lambda _: None)
    after = pool_rows(read_pool(workspace), workspace)
    assert "filepath" in after and after[before.columns].equals(before)
    from deft.pool.source_pool import build_source_pool

    none = before.iloc[:0]
    pool, _ = build_source_pool(read_pool(workspace), none, workspace, ["SolderLight"], ".png")
    assert all(Path(path).is_file() for path in pool["filepath"])
