"""Folders of several goldens are looked at whole: each file may stand beside any of their parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preflight_report import preflight_report
from several_goldens import make_several

from deft.core.layout import KPI_TABLE

PART = "C2001@1"  # of the KPI table's second row, a good part


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    counts = {"base": 6, "validation": 6, "kpi": 6, "pool": 6, "pregen": 2}
    return make_several(tmp_path_factory.mktemp("several") / "drawn", **counts)


@pytest.fixture
def workspace(drawn, tmp_path):
    return Path(shutil.copytree(drawn, tmp_path / "workspace"))


def golden(workspace: Path, number: int) -> Path:
    return workspace / f"kpi/images/golden/{PART}/ok{number}_SolderLight.png"


def preflight(workspace: Path, **config) -> dict[str, dict]:
    found = preflight_report(workspace, **config)
    return {check["id"]: check for check in found["checks"]}


def test_no_golden_has_to_bear_the_parts_name(workspace):
    found = preflight(workspace)
    assert [check for check in found.values() if check["status"] == "stop"] == []
    assert "24 pictures of 6 rows decode" in found["images_kpi"]["evidence"]
    assert found["rows"]["status"] == found["goldens"]["status"] == "ok"
    # Each pair was opened; drawn patterns are partly of one colour.
    assert " of 12 pairs measured" in found["registration"]["evidence"]


def test_every_golden_of_the_folder_has_to_decode(workspace):
    golden(workspace, 3).write_bytes(b"no picture")
    check = preflight(workspace)["images_kpi"]
    assert check["status"] == "stop" and check["rows"] == [3]
    assert f"golden picture kpi/images/golden/{PART}/ok3_SolderLight.png" in check["evidence"]


def test_too_few_goldens_stop_with_the_row(workspace):
    for number in (2, 3):
        golden(workspace, number).unlink()
    check = preflight(workspace)["goldens"]
    assert (
        check["status"] == "stop" and check["rows"] == [3] and "holds 1 golden" in check["evidence"]
    )


def test_a_folder_that_is_gone_stops_with_the_row(workspace):
    shutil.rmtree(golden(workspace, 1).parent)
    check = preflight(workspace)["goldens"]
    assert check["status"] == "stop" and f"golden/{PART} is no folder" in check["evidence"]


def test_a_test_picture_among_its_goldens_is_named(workspace):
    test = next(workspace.glob(f"kpi/images/kpi/*/{PART}_SolderLight.png"))
    shutil.copyfile(test, golden(workspace, 2))
    check = preflight(workspace)["pictures_kpi_golden"]
    assert check["status"] == "warn" and f"row 3 of {KPI_TABLE}" in check["evidence"]


def test_a_blank_golden_is_named(workspace):
    Image.fromarray(np.full((224, 224, 3), 90, np.uint8)).save(golden(workspace, 3))
    check = preflight(workspace)["pictures_kpi_blank"]
    assert check["status"] == "warn" and "golden pictures of row 3" in check["evidence"]


def test_goldens_under_another_light_are_named_missing(workspace):
    golden(workspace, 3).rename(golden(workspace, 3).with_name("ok3_WhiteLight.png"))
    found = preflight(workspace)
    assert "23 pictures of 6 rows decode" in found["images_kpi"]["evidence"]  # two are left
