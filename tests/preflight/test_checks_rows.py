"""Rows that contradict one another or their pictures are said before the run, with their lines."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from preflight_report import preflight_report
from tiny_workspace import make_tiny_workspace

from deft.core.layout import BASE_TABLE, KPI_TABLE, POOL_TABLE, PREGEN_NG, PREGEN_OK, SPEC

KPI = "kpi/images/kpi/kpi{}/C{}@1_SolderLight.png"
GOLDEN = "kpi/images/golden/kpi{}/C{}@1_SolderLight.png"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "NGC_API_KEY", "NGC_KEY", "HF_HUB_OFFLINE", "AIR_GAPPED"):
        monkeypatch.delenv(name, raising=False)
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)


def preflight(workspace: Path, **config) -> dict[str, dict]:
    """Return the checks by id; a stop is one of them."""
    found = preflight_report(workspace, **config)
    return {check["id"]: check for check in found["checks"]} | {"": found}


def add_row(workspace: Path, table: str, row: str) -> None:
    path = workspace / table
    path.write_text(path.read_text() + row + "," * 10 + "\n")


def copy(workspace: Path, source: str, target: str) -> None:
    shutil.copyfile(workspace / source, workspace / target)


def test_a_sound_workspace_raises_no_doubt(workspace):
    found = preflight(workspace)
    assert found["rows"]["status"] == "ok"
    assert not [id for id in found if id.startswith(("labels_", "pictures_"))]


def test_a_kpi_part_with_two_labels_stops_with_both_rows(workspace):
    add_row(workspace, KPI_TABLE, "./kpi/kpi0,golden/kpi0,PASS,C2000@1")
    check = preflight(workspace)["labels_kpi"]
    assert (check["status"], check["code"]) == ("stop", "csv_invalid")
    assert check["rows"] == [2, 10] and "bridge, PASS" in check["evidence"]


@pytest.mark.parametrize(
    ("table", "row", "id", "lines"),
    [
        (BASE_TABLE, "base/base0,golden/base0,PASS,C0000@1", "labels_base", "rows 2, 8"),
        (POOL_TABLE, "images,golden/pool,PASS,R3000@1", "labels_pool", "rows 2, 10"),
    ],
)
def test_elsewhere_it_is_a_warning(workspace, table, row, id, lines):
    add_row(workspace, table, row)
    check = preflight(workspace)[id]
    assert check["status"] == "warn" and lines in check["evidence"]


def test_two_spellings_are_no_contradiction(workspace):
    add_row(workspace, KPI_TABLE, "kpi/kpi0,golden/kpi0,BRIDGE,C2000@1")
    assert "labels_kpi" not in preflight(workspace)


def test_equal_kpi_pictures_under_two_labels_stop_unless_allowed(workspace):
    copy(workspace, KPI.format(0, 2000), KPI.format(1, 2001))
    check = preflight(workspace)["pictures_kpi_labels"]
    assert (check["status"], check["code"], check["rows"]) == ("stop", "csv_invalid", [2, 3])
    found = preflight(workspace, content_leakage="warn")
    assert found["pictures_kpi_labels"]["status"] == "warn"


def test_training_and_pool_that_contradict_are_named(workspace):
    pool = "augmentation/mining_pool/images/R300{}@1_SolderLight.png"
    copy(workspace, "kpi/images/base/base1/C0001@1_SolderLight.png", pool.format(0))
    check = preflight(workspace)["pictures_base_pool_labels"]
    assert check["status"] == "warn" and "row 2 of " + POOL_TABLE in check["evidence"]
    assert "row 3 of the training table PASS" in check["evidence"]


def test_a_golden_that_is_the_test_picture(workspace):
    copy(workspace, KPI.format(0, 2000), GOLDEN.format(0, 2000))
    add_row(workspace, BASE_TABLE, "base/base0,base/base0,bridge,C0000@1")
    found = preflight(workspace)
    assert "row 2 of " + KPI_TABLE in found["pictures_kpi_golden"]["evidence"]
    assert "1 row(s), 1 labelled as defects" in found["pictures_kpi_golden"]["evidence"]
    assert "row 8 of " + BASE_TABLE in found["pictures_base_golden"]["evidence"]
    assert found["pictures_kpi_golden"]["status"] == "warn"


def test_pictures_of_one_grey_level(workspace):
    Image.new("RGB", (32, 32), (9, 9, 9)).save(workspace / KPI.format(1, 2003))
    Image.new("L", (32, 32), 200).save(workspace / GOLDEN.format(0, 2002))
    check = preflight(workspace)["pictures_kpi_blank"]
    assert check["status"] == "warn"
    assert "test pictures of row 5" in check["evidence"]
    assert "golden pictures of row 4" in check["evidence"]


def test_a_mean_of_levels_0_to_255(workspace):
    spec = yaml.safe_load((workspace / SPEC).read_text())
    augmentation = spec["dataset"]["classify"]["augmentation_config"]
    augmentation["rgb_input_mean"] = [123.675, 116.28, 103.53]
    (workspace / SPEC).write_text(yaml.safe_dump(spec))
    check = preflight(workspace)["spec_rgb_input_mean"]
    assert check["status"] == "warn" and "above 1" in check["evidence"]


def test_a_workspace_of_16_bits_passes_with_its_levels(workspace):
    """Every check that opens a picture reads it by its levels."""
    for path in workspace.rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * 16 + 7).save(path)

    def stopped(**config) -> set[str]:
        found = preflight(workspace, **config)
        return {id for id, check in found.items() if id and check["status"] == "stop"}

    assert {"images_kpi", "images_base", "pregen_images"} <= stopped()
    assert stopped(picture_levels=4095) == set()


def test_the_pool_is_asked_for_no_defects_of_a_word_for_a_good_part(workspace):
    path = workspace / KPI_TABLE
    path.write_text(path.read_text().replace("missing", "合格").replace("bridge", "n.i.O.", 1))
    found = preflight(workspace)
    assert "'合格' (1 rows) would be taken for a defect" in found["table_kpi_labels"]["evidence"]
    asked = [id for id in found if id.startswith("label_coverage:")]
    assert asked == ["label_coverage:n.i.O."]


def test_quotas_are_looked_up_in_any_case(workspace):
    assert "mining_label_quota" not in preflight(workspace, mining_label_quota={"BRIDGE": 0.5})
    check = preflight(workspace, mining_label_quota={"Brigde": 0.5})["mining_label_quota"]
    assert check["status"] == "warn" and "'brigde'" in check["evidence"]
    both = {"bridge": 0.5, "BRIDGE": 0.1}
    assert preflight(workspace, mining_label_quota=both)["mining_label_quota"]["status"] == "stop"


def test_a_label_that_routing_would_drop_stops_before_the_approval(workspace):
    text = (workspace / KPI_TABLE).read_text()
    (workspace / KPI_TABLE).write_text(text.replace("missing", "SCRATCH"))
    assert preflight(workspace)["routing"]["status"] == "ok"
    check = preflight(workspace, routing="by_label")["routing"]
    assert (check["status"], check["code"]) == ("stop", "silent_drop")
    allowed = preflight(workspace, routing="by_label", allow_unrouted=["scratch"])
    assert allowed["routing"]["status"] == "ok"


def test_the_summary_shows_labels_as_the_user_writes_them(workspace):
    text = (workspace / KPI_TABLE).read_text()
    (workspace / KPI_TABLE).write_text(text.replace("bridge", "BRIDGE"))
    found = preflight(workspace)[""]
    assert found["coverage"]["BRIDGE"]["pool"] > 0 and found["coverage"]["BRIDGE"]["pregen"] > 0
    assert "BRIDGE" in found["dataset"]["base"]["labels"]
    assert "BRIDGE" in found["pregen"]["labels"]


def test_a_pair_named_pass_stops_before_the_approval(workspace):
    for side in (PREGEN_NG, PREGEN_OK):
        picture = workspace / side / "B000+bridge_0.png"
        picture.rename(picture.with_name("B000+pass_0.png"))
    check = preflight(workspace)["defect_spec"]
    assert (check["status"], check["code"]) == ("stop", "csv_invalid")
    assert check["file"].endswith("reconstructed_image/B000+pass_0.png")


def test_pairs_whose_names_nearly_say_their_defect_are_named(workspace):
    for side in (PREGEN_NG, PREGEN_OK):
        picture = workspace / side / "B000+bridge_0.png"
        picture.rename(picture.with_name("B000+bridge_0 (1).png"))
    check = preflight(workspace)["pregen_names"]
    assert check["status"] == "warn" and "'B000+bridge_0 (1)'" in check["evidence"]
    assert "1 more" not in check["evidence"]


def test_a_pair_linked_out_of_the_workspace(workspace, tmp_path):
    picture = workspace / PREGEN_NG / "B000+bridge_0.png"
    shutil.move(picture, tmp_path / "x.png")
    picture.symlink_to(tmp_path / "x.png")
    assert preflight(workspace)["pregen_images"]["code"] == "path_escape"


def test_a_name_that_is_not_utf8_is_one_line(workspace):
    for side in (PREGEN_NG, PREGEN_OK):
        folder = str(workspace / side).encode()
        source = folder + b"/B000+bridge_0.png"
        Path(source.decode()).rename(folder.decode() + "/caf\udce9.png")
    check = preflight(workspace)["pregen_pairs"]
    assert check["code"] == "csv_invalid" and "not UTF-8" in check["evidence"]
