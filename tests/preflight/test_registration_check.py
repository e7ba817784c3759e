"""Boards that lie off their goldens are named before a run; aligned ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.core.layout import KPI_TABLE
from deft.preflight.run import run_preflight
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table, write_table


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two KPI boards of ten good parts each; every part has a pattern of its own."""
    made = make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=20, pool=6, pregen=2)
    table = read_table(made / KPI_TABLE)
    rng = np.random.default_rng(0)
    for i, row in enumerate(table.itertuples()):
        coarse = rng.integers(0, 255, (8, 8)).astype(np.uint8)
        golden = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))
        noise = rng.integers(-3, 4, golden.shape)
        test = np.clip(golden.astype(int) + noise, 0, 255).astype(np.uint8)
        for folder, picture in ((row.input_path, test), (row.golden_path, golden)):
            path = made / "kpi/images" / folder / f"{row.object_name}_SolderLight.png"
            Image.fromarray(picture).convert("RGB").save(path)
        table.loc[i, "boardname"] = f"B{i % 2}"
    write_table(table, made / KPI_TABLE)
    return made


def found(workspace: Path) -> dict:
    run = workspace / "results/run_1"
    config = resolve({"encoder": "changenet", "device": "cpu"})
    result = run_preflight(workspace, run, config, sources={}, log=lambda line: None)
    return next(c for c in result.checks if c.id == "registration").as_dict() | {
        "page": (run / "preflight/pairs.html").is_file()
    }


def move(workspace: Path, board: str, dx: int) -> None:
    table = pd.read_csv(workspace / KPI_TABLE, dtype=str)
    for row in table[table["boardname"] == board].itertuples():
        path = workspace / "kpi/images" / row.input_path / f"{row.object_name}_SolderLight.png"
        picture = np.asarray(Image.open(path))
        Image.fromarray(np.roll(picture, dx, axis=1)).save(path)


def test_aligned_boards_are_not_named(workspace: Path) -> None:
    check = found(workspace)
    assert check["status"] == "ok", check
    assert "median shift 0.0 px" in check["evidence"]


def test_a_board_that_lies_off_is_named_with_its_shift(workspace: Path) -> None:
    move(workspace, "B1", 4)
    check = found(workspace)
    assert check["status"] == "warn" and check["page"]
    assert "B1 under SolderLight: median 4.0 px (x +4.0, y +0.0" in check["evidence"]
    assert "B0" not in check["evidence"]
