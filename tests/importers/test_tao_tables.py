"""TAO's own tables and specs as somebody copies them: lights, several goldens, container paths.

With ``TAO_VECTORS`` the edge cases that TAO's own loader was given.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import board_sets as sets
import pytest
import yaml

from deft.changenet.spec import load_spec
from deft.core.errors import HardStop
from deft.importers.folder_settings import FolderSettings
from deft.importers.layouts import tao
from deft.importers.picture_tree import tree_of

VECTORS = Path(os.environ.get("TAO_VECTORS", "/nowhere"))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return sets.tao_set(tmp_path_factory.mktemp("tao") / "set")


@pytest.fixture
def root(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "set", copy_function=os.link))


def read(root: Path, **how) -> tao.FoundRows:
    return tao.find(tree_of(root), **how)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    sets.text(path, text.replace(old, new))


def test_every_row_has_all_its_lights_in_the_order_of_the_spec(made) -> None:
    found = read(made)
    assert len(found.parts) == 18 and not found.left_over
    for part in found.parts:
        assert tuple(part.pictures) == tuple(part.goldens) == sets.LIGHTS
        for light, picture in part.pictures.items():
            assert picture.path.name == f"{part.name}_{light}.jpg" and picture.path.is_file()
            (golden,) = part.goldens[light]
            assert golden.path.parent.parent.parent == made / "images" / "golden"
            assert golden.path.name == picture.path.name
    assert {part.label for part in found.parts} == {"PASS", "MISSING", "BRIDGE"}
    assert {part.board for part in found.parts} >= {"train_B0", "validation_B1", "test_B2"}
    first = next(part for part in found.parts if part.board == "train_B0")
    assert first.origin == "labels/train.csv line 2"


def test_the_lights_are_those_that_the_checked_spec_has(made) -> None:
    part = read(made).parts[0]
    assert list(part.pictures) == load_spec(made / "experiment.yaml", engine="tao").lights


def test_roles_are_those_of_the_spec_only_when_asked(made) -> None:
    assert {part.role for part in read(made).parts} == {None}
    kept = read(made, keep_split=True).parts
    assert {(part.board.split("_")[0], part.role) for part in kept} == {
        ("train", "base"),
        ("validation", "validation"),
        ("test", "kpi"),
    }


def test_the_command_s_reader_follows_the_settings(made) -> None:
    settings = FolderSettings(labels={"missing": "", "BRIDGE": "short"}, board="images/([a-z]+)_")
    source = tao.read(tree_of(made), settings)
    assert {part.label for part in source.parts} == {"PASS", "short"}
    assert {part.board for part in source.parts} >= {"train_B0"}  # the column counts first
    assert {e.why for e in source.left_over} == {"labels leaves 'MISSING' out"}
    assert source.licence == tao.LICENCE and source.layout == "tao"


def test_several_goldens_are_all_those_of_the_folder(tmp_path) -> None:
    found = read(sets.tao_set(tmp_path, goldens=3))
    for part in found.parts:
        names = [[golden.path.name for golden in part.goldens[light]] for light in sets.LIGHTS]
        assert names == [[f"G{i}_{light}.jpg" for i in range(3)] for light in sets.LIGHTS]
    assert "experiment.yaml: 3 goldens stand beside a test picture" in found.notes


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("golden/train_B0/C1/G0_SolderLight.jpg", "holds 2 golden(s) ending in _SolderLight.jpg"),
        ("golden/train_B0/C1/G1_WhiteLight.jpg", "no G1_WhiteLight.jpg in images/golden/train_B0"),
        ("train_B0/C1_UniformLight.jpg", "no C1_UniformLight.jpg in images/train_B0"),
        ("golden/train_B0/C1", "golden_path 'golden/train_B0/C1' is no folder below images"),
    ],
)
def test_a_row_without_a_picture_is_left_over(tmp_path, lost, told) -> None:
    root = sets.tao_set(tmp_path, goldens=3)
    path = root / "images" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = read(root)
    assert len(found.parts) == 17
    ((what, why),) = [(entry.what, entry.why) for entry in found.left_over]
    assert what == "labels/train.csv line 3" and told in why


@pytest.mark.parametrize("lights", [sets.LIGHTS, ("SolderLight",), ("",), ("UV", "WhiteLight")])
def test_without_a_spec_the_names_tell_the_lights(tmp_path, lights) -> None:
    found = read(sets.tao_set(tmp_path, lights=lights, spec=False, ext=".PNG"))
    known = [light for light in tao.LIGHTS if light in lights]
    wanted = [*known, *(light for light in lights if light not in known)]
    assert len(found.parts) == 18 and list(found.parts[0].pictures) == wanted


def test_without_a_spec_two_readings_of_the_names_are_a_stop(tmp_path) -> None:
    root = sets.tao_set(tmp_path, lights=("SolderLight",), spec=False)
    sets.save(root / "images" / "test_B0" / "C0.jpg", sets.golden(1))
    with pytest.raises(HardStop, match="which pictures of C0 count") as stop:
        read(root)
    assert stop.value.rows == [2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("train_B0,golden", "/data/images/train_B0,golden"),
        ("train_B0,golden", "./train_B0/,golden"),
        ("train_B0,golden/train_B0/C1", "train_B0/C1_SolderLight.jpg,golden/train_B0/C1"),
        ("golden/train_B0/C1", "golden\\train_B0\\C1"),
        (",C1,", ",/C1,"),
    ],
)
def test_cells_as_containers_windows_and_exports_write_them(root, old, new) -> None:
    before = [(p.name, p.label, p.pictures, p.goldens) for p in read(root).parts]
    edit(root / "labels" / "train.csv", old, new)
    found = read(root)
    assert not found.left_over
    told = [
        (p.name, p.label, {k: v.path.resolve() for k, v in p.pictures.items()}) for p in found.parts
    ]
    assert told == [
        (n, label, {k: v.path.resolve() for k, v in pictures.items()})
        for n, label, pictures, _ in before
    ]


def test_endings_in_capitals_are_the_spec_s(root) -> None:
    for path in sorted((root / "images").rglob("*.jpg")):
        path.rename(path.with_suffix(".JPG"))
    assert len(read(root).parts) == 18


def test_tables_that_moved_are_found_by_name_and_others_told(root) -> None:
    (root / "data").mkdir()
    (root / "labels").rename(root / "data" / "csv")
    (root / "data" / "csv" / "test.csv").unlink()
    found = read(root)
    assert len(found.parts) == 12
    assert sum("test.csv is not below the folder" in note for note in found.notes) == 2


def test_a_table_that_two_sets_name_is_read_once(made) -> None:
    assert sum(part.board.startswith("test") for part in read(made).parts) == 6


def test_a_spec_of_optical_inspection_has_its_keys_one_level_up(root) -> None:
    data = yaml.safe_load((root / "experiment.yaml").read_text())
    sets.text(root / "experiment.yaml", yaml.safe_dump({"dataset": data["dataset"]["classify"]}))
    assert len(read(root).parts) == 18


@pytest.mark.parametrize(
    ("old", "new", "code", "told"),
    [
        ("image_ext: .jpg", "image_ext: 3", "spec_invalid", "image_ext 3"),
        ("num_golden: 1", "num_golden: many", "spec_invalid", "num_golden 'many'"),
        ("{SolderLight: 0,", "{SolderLight: x,", "spec_invalid", "input_map"),
        ("task: classify", "task: [", "spec_invalid", "not readable as YAML"),
    ],
)
def test_a_spec_that_cannot_be_used_is_a_stop(root, old, new, code, told) -> None:
    edit(root / "experiment.yaml", old, new)
    with pytest.raises(HardStop, match=told) as stop:
        read(root)
    assert stop.value.code == code and stop.value.file.endswith("experiment.yaml")


def test_two_specs_that_disagree_are_a_stop_and_two_that_agree_are_not(root) -> None:
    shutil.copy(root / "experiment.yaml", root / "inference.yaml")
    assert len(read(root).parts) == 18
    edit(root / "inference.yaml", "image_ext: .jpg", "image_ext: .png")
    with pytest.raises(HardStop, match="ext '.png' here, '.jpg' in experiment.yaml"):
        read(root)


@pytest.mark.parametrize(
    ("label", "told"),
    [("pass", "PASS only after changing case"), ("PASS ", "PASS only after"), ("OK", None)],
)
def test_a_label_is_what_the_label_map_says(root, label, told) -> None:
    edit(root / "labels" / "train.csv", ",PASS,C2,", f",{label},C2,")
    assert {p.label for p in read(root, label=lambda c: "PASS" if c == label else c).parts} == {
        "PASS",
        "MISSING",
        "BRIDGE",
    }
    if told is None:
        assert "OK" in {part.label for part in read(root).parts}
        return
    with pytest.raises(HardStop, match=told) as stop:
        read(root)
    assert stop.value.rows == [4] and "import_folder.labels" in stop.value.fix


def test_a_cell_that_leads_out_is_a_stop(root) -> None:
    sets.save(root.parent / "secret" / "C1_SolderLight.jpg", sets.golden(1))
    edit(root / "labels" / "train.csv", "train_B0,golden/train_B0/C1", "../../secret,golden")
    with pytest.raises(HardStop, match="leads out of the data set") as stop:
        read(root)
    assert stop.value.code == "path_escape"


def test_a_link_of_a_picture_that_leads_out_is_no_picture(root) -> None:
    outside = sets.save(root.parent / "outside.jpg", sets.golden(1))
    (root / "images/train_B0/C1_WhiteLight.jpg").unlink()
    (root / "images/train_B0/C1_WhiteLight.jpg").symlink_to(outside)
    found = read(root)
    assert len(found.parts) == 17
    assert {entry.why for entry in found.left_over} == {
        "a link that leads out of the data set",
        "no C1_WhiteLight.jpg in images/train_B0",
    }


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n", "input_path,golden_path,label\na,b,c\n"])
def test_a_folder_without_a_table_is_a_stop(tmp_path, content) -> None:
    if content:
        sets.text(tmp_path / "x.csv", content)
    with pytest.raises(HardStop, match="no table with the columns input_path"):
        read(tmp_path)


def test_no_row_with_pictures_is_a_stop_that_names_the_first(root) -> None:
    shutil.rmtree(root / "images")
    with pytest.raises(HardStop, match="no row of 3 table") as stop:
        read(root)
    assert stop.value.code == "missing_input"


# --- what TAO's own loader was given --------------------------------------------------------------

EDGES = VECTORS / "dataset" / "edge_cases.json"
edges = json.loads(EDGES.read_text()) if EDGES.is_file() else {}


@pytest.mark.skipif(not edges, reason="TAO_VECTORS is not set")
@pytest.mark.parametrize("name", sorted(edges) or ["none"])
def test_what_tao_s_loader_reads_is_read_or_told(name, tmp_path) -> None:
    case = edges[name]
    images = shutil.copytree(VECTORS / "dataset" / "images", tmp_path / "images")
    if not case.get("error"):
        shutil.copytree(images / "board1" / "in", images / "7", dirs_exist_ok=True)
    table = case["csv"].replace("<images_dir>", "/data/images")
    (tmp_path / "train.csv").write_bytes(table.encode())
    sets.text(
        tmp_path / "spec.yaml",
        "dataset: {classify: {train_dataset: {csv_path: train.csv, images_dir: /data/images}, "
        "image_ext: .png, input_map: {SolderLight: 0}}}\n",
    )
    wrong_labels = {"label_spellings", "empty_csv_header_only"}
    if case.get("error") or name in wrong_labels:
        if name.startswith("grid_"):
            assert read(tmp_path).parts
            return
        with pytest.raises(HardStop):
            read(tmp_path)
        return
    found = read(tmp_path)
    assert len(found.parts) == len(case["ok"]) and not found.left_over
    for part, (_, label) in zip(found.parts, case["ok"], strict=True):
        assert part.good == (label == 0.0)
