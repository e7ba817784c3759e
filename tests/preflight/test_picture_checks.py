"""Pictures at pre-flight: deep and turned ones stop; what makes all of them missing is said."""

from __future__ import annotations

import csv
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from made_pictures import grey_tiff, png, ramp, turned
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.changenet.infer import score_table
from deft.changenet.model import build_model
from deft.changenet.spec import load_spec
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop
from deft.pool.digest import digest_of, inputs_digest
from deft.preflight import checks_inputs, checks_pictures
from deft.preflight.check import STOP, Context
from deft.settings.config import defaults, resolve

KPI = "kpi/testing_set.csv"
GREY16 = Path(__file__).parents[1] / "tables/pictures/grey16.png"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    return make_tiny_workspace(root / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)


@pytest.fixture
def workspace(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "w"))


def stops(workspace: Path, **config) -> dict[str, HardStop]:
    """The stops of tables and pictures by the id of their check."""
    given = {**defaults(), "workspace": str(workspace), **config}
    ctx = Context(workspace, workspace / "results/run_x", given, {}, lambda text: None)
    found = [*checks_inputs.checks(ctx), *checks_pictures.checks(ctx)]
    return {check.id: check.stop for check in found if check.status == STOP}


def kpi_pictures(workspace: Path, column: str = "input_path") -> list[Path]:
    with (workspace / KPI).open() as handle:
        return [
            workspace / "kpi/images" / row[column] / f"{row['object_name']}_SolderLight.png"
            for row in csv.DictReader(handle)
        ]


def edit(workspace: Path, column: str, change: Callable[[str], str], table: str = KPI) -> None:
    with (workspace / table).open() as handle:
        reader = csv.DictReader(handle)
        header, rows = reader.fieldnames, [{**r, column: change(r[column])} for r in reader]
    with (workspace / table).open("w", newline="") as handle:
        writer = csv.DictWriter(handle, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def change_spec(workspace: Path, **classify) -> None:
    path = workspace / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["dataset"]["classify"].update(classify)
    path.write_text(yaml.safe_dump(spec))


def rename(workspace: Path, change: Callable[[str], str]) -> None:
    for path in list((workspace / "kpi/images").rglob("*.png")):
        path.rename(path.with_name(change(path.name)))


# --- deep and turned pictures -------------------------------------------------------------------


def test_a_grey_picture_of_16_bits_is_a_stop_that_names_mode_rows_and_level(workspace):
    shutil.copy(GREY16, kpi_pictures(workspace)[1])
    png(kpi_pictures(workspace)[4], ramp(4095), 0)
    png(kpi_pictures(workspace, "golden_path")[2], ramp(1023), 0)
    stop = stops(workspace)["images_kpi"]
    assert stop.code == "image_invalid" and stop.rows == [3, 4, 6]
    assert "mode I;16" in stop.message and "3 of mode I;16" in stop.message
    assert "largest level of all 65535" in stop.message
    assert "picture_levels" in stop.fix and "65535" in stop.fix
    assert not stops(workspace, picture_levels=65535)
    above = stops(workspace, picture_levels=4095)["images_kpi"]
    assert "outside of 0 to picture_levels: 4095" in above.message and above.rows == [3]


@pytest.mark.parametrize("kind", ["colour", "float", "32 bits"])
def test_other_deep_pictures(workspace, kind):
    path = kpi_pictures(workspace)[0]
    if kind == "colour":
        png(path, np.stack([ramp(4095)] * 3, -1).reshape(24, -1), 2)
    else:
        grey_tiff(path, ramp(4095) / 4095 if kind == "float" else ramp(4095),
                  "<f4" if kind == "float" else "<u4")  # fmt: skip
    stop = stops(workspace)["images_kpi"]
    assert "deeper than 8 bits" in stop.message and stop.rows == [2]
    assert not stops(workspace, picture_levels=1 if kind == "float" else 4095)


def test_deep_pregenerated_pictures(workspace):
    path = next((workspace / "augmentation/anomalygen/original_image").glob("*.png"))
    png(path, ramp(4095), 0)
    assert "picture_levels" in stops(workspace)["pregen_images"].fix
    assert not stops(workspace, picture_levels=4095)


@pytest.mark.parametrize("column", ["input_path", "golden_path"])
def test_a_turned_picture_is_a_stop(workspace, column):
    path = kpi_pictures(workspace, column)[2]
    turned(path, 6, np.asarray(Image.open(path)))
    stop = stops(workspace)["images_kpi"]
    assert stop.code == "image_invalid" and stop.rows == [4]
    assert "orientation 6" in stop.message and "upright" in stop.fix


def test_the_loader_stops_at_what_the_sample_left_out(workspace):
    goldens = kpi_pictures(workspace, "golden_path")
    for path in goldens:
        png(path, ramp(4095), 0)
    spec = load_spec(workspace / "specs/baseline_spec.yaml")
    save_weights(workspace / "m.pth", build_model(spec), epoch=0, step=1)
    with pytest.raises(HardStop, match="deeper than 8 bits") as stop:
        score_table(spec, workspace / "m.pth", workspace / KPI, workspace / "kpi/images")
    assert stop.value.code == "image_invalid" and stop.value.rows == [2]


def test_deep_pictures_give_distinct_scores(workspace):
    """All were white before, and all scores equal."""
    levels = np.asarray(Image.open(GREY16)).astype(np.int64)
    for i, path in enumerate(kpi_pictures(workspace)):
        png(path, np.roll(levels, 3 * i, axis=1), 0)
    spec = load_spec(workspace / "specs/baseline_spec.yaml")
    torch.manual_seed(0)  # some random heads give two pictures one rounded score
    save_weights(workspace / "m.pth", build_model(spec), epoch=0, step=1)
    scores, table = score_table(
        spec, workspace / "m.pth", workspace / KPI, workspace / "kpi/images", levels=65535
    )
    assert len(set(scores.tolist())) == len(table) == 6


def test_containers_cannot_read_by_levels():
    with pytest.raises(HardStop, match="picture_levels: 4095.*engine: tao"):
        resolve({"engine": "tao", "picture_levels": 4095})


@pytest.mark.parametrize("wrong", [0, -1, 4095.5, True, "white"])
def test_levels_are_a_count(wrong):
    with pytest.raises(HardStop, match="picture_levels"):
        resolve({"picture_levels": wrong})


def test_a_run_under_way_does_not_know_of_the_key_until_it_is_set(workspace):
    before = {k: v for k, v in defaults().items() if k != "picture_levels"}
    assert digest_of(inputs_digest(workspace, before)) == digest_of(
        inputs_digest(workspace, defaults())
    )
    asked = {**defaults(), "picture_levels": 4095}
    assert digest_of(inputs_digest(workspace, asked)) != digest_of(inputs_digest(workspace, before))


# --- why pictures are missing -------------------------------------------------------------------


def nfd(workspace: Path) -> None:
    edit(workspace, "object_name", lambda v: v.replace("C", "Ü"))
    rename(workspace, lambda n: unicodedata.normalize("NFD", n.replace("C2", "Ü2")))


def into_subfolders(workspace: Path) -> None:
    for path in kpi_pictures(workspace):
        (path.parent / "top").mkdir(exist_ok=True)
        path.rename(path.parent / "top" / path.name)


CAUSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "upper case ending": (
        lambda w: rename(w, lambda n: n.replace(".png", ".PNG")),
        "the files end in .PNG, dataset.classify.image_ext is '.png'",
    ),
    "another ending": (
        lambda w: change_spec(w, image_ext=".jpg"),
        "the files end in .png, dataset.classify.image_ext is '.jpg'",
    ),
    "no dot": (lambda w: change_spec(w, image_ext="png"), "'png', without its dot"),
    "light's case": (
        lambda w: rename(w, lambda n: n.replace("SolderLight", "solderlight")),
        "the light is written solderlight in the file names, SolderLight in input_map",
    ),
    "no light": (
        lambda w: rename(w, lambda n: n.replace("_SolderLight", "")),
        "the files have no light in their names",
    ),
    "other lights": (
        lambda w: change_spec(w, input_map={"White": 0}),
        "the files have the light(s) SolderLight, input_map of the spec has White",
    ),
    "root repeated": (
        lambda w: edit(w, "input_path", lambda v: f"kpi/images/{v}"),
        "the cells begin with kpi/images/, but paths start at kpi/images/ already",
    ),
    "root's end repeated": (
        lambda w: edit(w, "input_path", lambda v: f"images/{v}"),
        "the cells begin with images/, but",
    ),
    "blank behind a name": (
        lambda w: edit(w, "object_name", lambda v: f"{v} "), "object_name has a blank at an end",
    ),
    "invisible character in a name": (
        lambda w: edit(w, "object_name", lambda v: f"{v}\u200b"),
        "the cell holds an invisible character (U+200B)",
    ),
    "invisible character in a folder": (
        lambda w: edit(w, "input_path", lambda v: f"\ufeff{v}"),
        "the cell holds an invisible character (U+FEFF)",
    ),
    "blank behind a folder": (
        lambda w: edit(w, "input_path", lambda v: f"{v} "), "blanks at an end",
    ),
    "folder's case": (
        lambda w: edit(w, "input_path", str.upper), "upper and lower case",
    ),
    "Unicode form": (nfd, "another Unicode form of the same letters (NFC and NFD)"),
    "ending in the name": (
        lambda w: edit(w, "object_name", lambda v: f"{v}.png"), "has the ending .png already",
    ),
    "file in the name": (
        lambda w: edit(w, "object_name", lambda v: f"{v}_SolderLight.png"),
        "has the ending .png already",
    ),
    "light in the name": (
        lambda w: edit(w, "object_name", lambda v: f"{v}_SolderLight"),
        "has the light _SolderLight already",
    ),
    "subfolders": (into_subfolders, "the pictures lie in subfolders"),
    "no such folder": (
        lambda w: edit(w, "input_path", lambda v: f"{v}x"),
        "the cells name folders that do not exist; kpi/images/ has the folders base, golden, kpi",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CAUSES)
def test_what_makes_pictures_missing_is_said(workspace, mistake):
    make, words = CAUSES[mistake]
    make(workspace)
    stop = stops(workspace)["images_kpi"]
    assert stop.code == "missing_input" and words in stop.message, stop.message
    assert "likely cause" in stop.message


def test_one_missing_picture_has_no_common_cause(workspace):
    kpi_pictures(workspace)[3].unlink()
    stop = stops(workspace)["images_kpi"]
    assert stop.rows == [5] and "likely cause" not in stop.message


def test_mostly_missing_gives_the_count(workspace):
    for path in kpi_pictures(workspace)[1:]:
        path.rename(path.with_suffix(".PNG"))
    kpi_pictures(workspace)[0].unlink()
    stop = stops(workspace)["images_kpi"]
    assert "likely cause (5 of 6 looked at): the files end in .PNG" in stop.message


# --- cells that name folders otherwise ----------------------------------------------------------


@pytest.mark.parametrize("table", [KPI, "train/base/training_set.csv"])
def test_absolute_paths_inside_the_workspace_are_taken(workspace, table):
    for column in ("input_path", "golden_path"):
        edit(workspace, column, lambda v: f"{workspace}/kpi/images/{v}", table)
    assert not stops(workspace)
    spec = load_spec(workspace / "specs/baseline_spec.yaml")
    save_weights(workspace / "m.pth", build_model(spec), epoch=0, step=1)
    files = (workspace / "m.pth", workspace / table, workspace / "kpi/images")
    absolute, _ = score_table(spec, *files, workspace=workspace)
    for column in ("input_path", "golden_path"):
        edit(workspace, column, lambda v: v.removeprefix(f"{workspace}/kpi/images/"), table)
    assert np.array_equal(score_table(spec, *files)[0], absolute)


def test_absolute_paths_of_the_pool(workspace):
    pool = "augmentation/mining_pool/mining_pool.csv"
    edit(workspace, "input_path", lambda v: f"{workspace}/augmentation/mining_pool/{v}", pool)
    assert not stops(workspace)


def test_a_moved_workspace_never_reads_in_the_old_place(workspace, tmp_path):
    edit(workspace, "input_path", lambda v: f"{workspace}/kpi/images/{v}")
    copy = Path(shutil.copytree(workspace, tmp_path / "copy"))
    stop = stops(copy)["table_kpi"]
    assert stop.code == "path_escape" and str(workspace) in stop.message
    spec = load_spec(copy / "specs/baseline_spec.yaml")
    save_weights(copy / "m.pth", build_model(spec), epoch=0, step=1)
    with pytest.raises(HardStop, match="outside the workspace") as told:
        score_table(spec, copy / "m.pth", copy / KPI, copy / "kpi/images", workspace=copy)
    assert told.value.code == "path_escape" and told.value.rows == [2]


def test_paths_of_windows(workspace):
    edit(workspace, "input_path", lambda v: f"C:\\data\\{v}")
    stop = stops(workspace)["table_kpi"]
    assert stop.code == "path_escape" and "a path of a Windows machine" in stop.message
    assert "import_table.strip_prefix" in stop.fix


def test_backslashes_part_no_folders(workspace):
    """The pre-flight read them as /, the loader did not."""
    edit(workspace, "input_path", lambda v: v.replace("/", "\\"))
    stop = stops(workspace)["table_kpi"]
    assert stop.code == "csv_invalid" and "backslashes" in stop.message and stop.rows[0] == 2
