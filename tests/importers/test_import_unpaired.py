"""Unpaired sets made into workspaces: goldens, their quality on record, and a lap of the loop."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import unpaired_sets as sets
from workflow_tools import RUN, snakemake, succeed

from deft.core import layout
from deft.importers import plan as planning
from deft.importers.build import build
from deft.importers.folder_settings import FolderSettings
from deft.importers.sources import find_goldens, read_source
from deft.settings.kpi_target import parse_kpi
from deft.tables.changenet_table import read_table

SHARES = {"kpi": 0.3, "validation": 0.2}
KPI = "FAR < 1 % while recall >= 90 %"
OBJECTS = {"visa": "pcb1", "mvtec": "metal_nut", "real_iad": "pcb"}
TABLES = (layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE, layout.POOL_TABLE)


def draw(root: Path, name: str, good: int = 60, bad: int = 40) -> Path:
    """Draw a set that is large enough for every role."""
    if name == "real_iad":
        return sets.real_iad(root, good=good // 2, bad=bad // 2, views=2)
    return getattr(sets, name)(root, (OBJECTS[name],), good, bad)


def imported(root: Path, name: str, out: Path, **more: object) -> planning.Plan:
    """Make a workspace of a set."""
    settings = FolderSettings(root=str(root), layout=name, seed=0, shares=SHARES)
    settings = replace(settings, **more)  # type: ignore[arg-type]
    plan = planning.plan(read_source(settings), settings, parse_kpi(KPI), find_goldens)
    build(plan, settings, out)
    return plan


def rows_of(out: Path) -> list[dict[str, str]]:
    frames = [read_table(out / table) for table in TABLES]
    return [row for frame in frames for row in frame.to_dict("records")]


@pytest.mark.parametrize("name", OBJECTS)
def test_each_set_becomes_a_workspace_with_goldens_of_its_good_parts(tmp_path, name) -> None:
    plan = imported(draw(tmp_path / "set", name, good=20, bad=16), name, tmp_path / "out")
    with (tmp_path / "out" / "import_origins.csv").open(newline="") as file:
        origins = list(csv.DictReader(file))
    rows = rows_of(tmp_path / "out")
    assert {row["object_name"] for row in rows} == {row["object_name"] for row in origins}
    assert len(rows) == len(origins) > 15
    assert all(0.5 <= float(row["golden_match"]) <= 1 for row in origins)
    assert not {row["golden"] for row in origins} & {row["picture"] for row in origins}
    record = json.loads((tmp_path / "out" / "workspace_source.json").read_text())
    told = json.dumps(record)
    assert "CC BY 4.0" in told if name == "visa" else "not for commercial use" in told
    shown = planning.told(plan)
    assert "are set aside and become no rows" in shown
    assert ("\nLICENCE: " in shown) == (name != "visa")


def test_settings_reach_readers_and_search(tmp_path) -> None:
    root = sets.real_iad(tmp_path / "set", views=2)
    settings = FolderSettings(root=str(root), layout="real_iad", views="lights", golden_share=0.25)
    parts = read_source(settings).parts
    assert {tuple(part.pictures) for part in parts} == {("C1", "C2")}
    found = find_goldens(parts, settings)
    assert "goldens: 2 of 8 good part(s) are set aside and become no rows" in found.notes
    middle = sorted(found.match.values())[len(found.match) // 2]
    found = find_goldens(parts, replace(settings, min_golden_match=middle))
    assert found.left_over and min(found.match.values()) >= middle
    two = sets.visa(tmp_path / "two", good=2, bad=2)
    settings = FolderSettings(root=str(two), layout="visa", classes=["pcb2"])
    assert {part.part_type for part in read_source(settings).parts} == {"pcb2"}


@pytest.mark.slow
@pytest.mark.workflow
@pytest.mark.parametrize("name", OBJECTS)
def test_each_set_goes_through_preflight_and_a_lap_of_one_epoch(tmp_path, name) -> None:
    out = tmp_path / "out"
    imported(draw(tmp_path / "set", name), name, out)
    assert any((out / layout.PREGEN_NG).iterdir())
    succeed(snakemake(out, config={"training_epochs": 1, "max_iterations": 1}))
    assert (out / "results" / RUN / "best_model").is_dir()
