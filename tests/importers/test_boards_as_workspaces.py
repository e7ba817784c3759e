"""Annotated boards and TAO's tables as workspaces: what is written, and that the loop runs."""

from __future__ import annotations

from pathlib import Path

import board_sets as sets
import numpy as np
import pandas as pd
import pytest
import workflow_tools
from PIL import Image

from deft.changenet.data.pairs import PairData
from deft.changenet.spec import load_spec
from deft.core import layout
from deft.importers.build import build
from deft.importers.folder_settings import FolderSettings
from deft.importers.plan import Plan, plan
from deft.importers.sources import read_source
from deft.settings.kpi_target import parse_kpi
from deft.tables.changenet_table import PASS, read_table

SHARES = {"kpi": 0.3, "validation": 0.2, "base": 0.25}
TARGET = parse_kpi("FAR < 10% at recall=90%")
MAKERS = {
    "voc": sets.hripcb,
    "yolo": sets.label_studio_yolo,
    "coco": sets.label_studio_coco,
    "cvat": sets.cvat_xml,
}


def imported(name: str, top: Path, **settings) -> tuple[Plan, Path]:
    """Import a made set of a layout; ``tao`` has four lights in the spec and two goldens."""
    root, out = top / "set", top / "workspace"
    if name == "tao":
        sets.tao_set(root, rows=8, goldens=2)
    else:
        MAKERS[name](root, sets.shots(boards=6, each=1, good=1))
    given = FolderSettings(
        root=str(root), layout=name, pass_per_image=4, shares=SHARES, seed=1, **settings
    )
    made = plan(read_source(given), given, TARGET, None)
    build(made, given, out)
    return made, out


def test_rows_of_boards_show_what_was_drawn(tmp_path) -> None:
    made, out = imported("voc", tmp_path)
    parts = {part.name: part for found in made.roles.values() for part in found}
    boards: dict[str, set[str]] = {}
    for role, name in (("base", layout.BASE_TABLE), ("kpi", layout.KPI_TABLE)):
        table = read_table(out / name)
        assert set(table["label"]) == {PASS, *sets.CLASSES}
        boards[role] = set(table["boardname"])
        for row in table.to_dict("records"):
            part = parts[row["object_name"]]
            assert row["label"] == part.label and row["boardname"] == part.board
            for column, picture in (
                ("input_path", part.pictures[""]),
                ("golden_path", part.goldens[""][0]),
            ):
                file = f"{row['object_name']}_WhiteLight.png"
                written = np.asarray(Image.open(out / layout.KPI_IMAGES / row[column] / file))
                x, y, side, _ = picture.box
                whole = np.asarray(Image.open(picture.path).convert("RGB"))
                assert np.array_equal(written, whole[y : y + side, x : x + side])
    assert not boards["base"] & boards["kpi"]


def test_many_lights_and_goldens_reach_the_network(tmp_path) -> None:
    _, out = imported("tao", tmp_path)
    spec = load_spec(out / layout.SPEC)
    assert sorted(spec.lights) == sorted(sets.LIGHTS) and spec.dataset.classify.num_golden == 2
    table = pd.DataFrame(read_table(out / layout.BASE_TABLE))
    data = PairData(spec, table, out / layout.KPI_IMAGES)
    for row in range(len(table)):
        files = [*data.test_files(row), *(f for one in data.golden_files(row) for f in one)]
        assert len(files) == 4 * 3 and all(file.is_file() for file in files)


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize("name", [*MAKERS, "tao"])
def test_a_made_set_passes_preflight_and_a_loop_of_one_epoch(name, tmp_path) -> None:
    _, out = imported(name, tmp_path)
    config = {"max_iterations": 1, "training_epochs": 1, "kpi": TARGET.sentence}
    workflow_tools.succeed(workflow_tools.snakemake(out, config=config))
    metrics = workflow_tools.load(out, "baseline/metrics.json")
    table = read_table(out / layout.KPI_TABLE)
    assert metrics and len(table)
