"""Readers of unpaired anomaly sets: each layout as it is published, and as people have it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import unpaired_sets as sets

from deft.core.errors import HardStop
from deft.importers.layouts import mvtec, real_iad, visa
from deft.importers.parts import Source
from deft.importers.picture_tree import tree_of

MAKERS = {visa: sets.visa, mvtec: sets.mvtec, real_iad: sets.real_iad}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    top = tmp_path_factory.mktemp("unpaired")
    return {module: make(top / module.NAME) for module, make in MAKERS.items()}


@pytest.fixture
def copy(made, tmp_path):
    """Return a data set of one's own, to spoil."""

    def copied(module) -> Path:
        return Path(shutil.copytree(made[module], tmp_path / "set"))

    return copied


def read(module, root: Path, **how) -> Source:
    return module.find(tree_of(root), **how)


def labels(source: Source) -> dict[str, int]:
    return dict(sorted(Counter(part.label for part in source.parts).items()))


def whys(source: Source) -> str:
    return "\n".join(f"{one.what}: {one.why}" for one in source.left_over)


def test_visa_has_the_defects_of_its_tables_the_first_of_several(made) -> None:
    found = read(visa, made[visa])
    assert labels(found) == {"PASS": 24, "bent": 6, "melt": 6}
    assert not found.left_over
    assert {part.part_type for part in found.parts} == {"pcb1", "pcb2"}
    (several,) = (part for part in found.parts if part.name == "pcb1_Anomaly_001")
    assert several.label == "melt" and "melt, scratch" in several.origin
    assert any("pcb1: 1 picture(s) have several defects" in note for note in found.notes)
    assert found.licence.startswith("VisA, CC BY 4.0")
    assert all(part.pictures[""].path.is_file() and not part.goldens for part in found.parts)
    assert len({part.name for part in found.parts}) == len(found.parts)


def test_one_object_is_read_whether_named_or_given_as_the_root(made) -> None:
    named = read(visa, made[visa], classes=["PCB2"])
    alone = read(visa, made[visa] / "pcb2")
    assert {part.part_type for part in named.parts} == {"pcb2"}
    assert [p.name for p in named.parts] == [p.name for p in alone.parts]


def test_an_archive_in_folders_of_its_own_name_small_letters_and_no_tables(copy, tmp_path) -> None:
    root = copy(visa)
    inner = tmp_path / "got" / "VisA_20220922" / "pcb1"
    inner.mkdir(parents=True)
    shutil.move(root / "pcb1", inner / "pcb1")
    data = inner / "pcb1" / "Data" / "Images"
    data.rename(data.with_name("images"))
    (data.with_name("images") / "Normal").rename(data.with_name("images") / "normal")
    for path in (inner / "pcb1" / "Data" / "images" / "normal").iterdir():
        path.rename(path.with_suffix(".jpg"))
    (inner / "pcb1" / "image_anno.csv").unlink()
    (tmp_path / "got" / "__MACOSX" / "pcb1").mkdir(parents=True)
    (tmp_path / "got" / "__MACOSX" / "pcb1" / "._0000.JPG").write_bytes(b"\0")
    found = read(visa, tmp_path / "got")
    assert labels(found) == {"PASS": 12, "anomaly": 6}
    assert {part.part_type for part in found.parts} == {"pcb1"}
    assert any("no image_anno.csv" in note for note in found.notes)


def test_a_table_with_another_case_of_endings_still_names_its_pictures(copy) -> None:
    root = copy(visa)
    for path in (root / "pcb1" / "Data" / "Images" / "Anomaly").iterdir():
        path.rename(path.with_suffix(".jpg"))
    assert labels(read(visa, root, classes=["pcb1"])) == {"PASS": 12, "bent": 3, "melt": 3}


def test_what_tables_and_folders_say_differently_becomes_no_row(copy) -> None:
    root = copy(visa)
    table = root / "pcb1" / "image_anno.csv"
    text = table.read_text().replace("Normal/0003.JPG,normal", "Normal/0003.JPG,bent")
    table.write_text(text.replace("Anomaly/000.JPG", "Anomaly/999.JPG", 1))
    found = read(visa, root, classes=["pcb1"])
    assert "Normal/0003.JPG: lies in Normal, image_anno.csv says bent" in whys(found)
    assert "image_anno.csv line 14: no picture pcb1/Data/Images/Anomaly/999.JPG" in whys(found)
    assert labels(found) == {"PASS": 11, "anomaly": 1, "bent": 2, "melt": 3}


@pytest.mark.parametrize(
    ("old", "new", "message", "row"),
    [
        ("image,label,mask", "image,labels,mask", "column(s) ['label'] are missing", [1]),
        ('"melt, scratch"', '"normal, scratch"', "is good and a defect", [15]),
        ("Normal/0001.JPG,normal", "Normal/0001.JPG,", "label '' is empty", [3]),
        ("Anomaly/002.JPG,bent", "Anomaly/000.JPG,melt", "stands twice", [14, 16]),
    ],
)
def test_a_table_that_contradicts_itself_stops(copy, old, new, message, row) -> None:
    root = copy(visa)
    table = root / "pcb1" / "image_anno.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(HardStop) as stop:
        read(visa, root)
    assert stop.value.code == "csv_invalid" and message in stop.value.message
    assert stop.value.rows == row and stop.value.file == str(table)


def test_the_published_split_is_kept_where_it_trains_on_defects(made, copy) -> None:
    found = read(visa, made[visa], keep_split=True)
    assert "split by split_csv/2cls_highshot.csv" in found.notes
    roles = Counter((part.role, part.good) for part in found.parts)
    assert roles == {("base", True): 16, ("kpi", True): 8, ("base", False): 6, ("kpi", False): 6}
    root = copy(visa)
    (root / "split_csv" / "2cls_highshot.csv").unlink()
    with pytest.raises(HardStop, match="one split table with defects in training; found: none"):
        read(visa, root, keep_split=True)
    assert {part.role for part in read(visa, root).parts} == {None}


def test_mvtec_takes_defects_from_folders_and_leaves_masks(made) -> None:
    found = read(mvtec, made[mvtec])
    assert labels(found) == {"PASS": 12, "bent": 3, "melt": 3}
    assert not found.left_over
    assert "MVTec AD, CC BY-NC-SA 4.0: not for commercial use" in found.licence
    assert any(note.startswith("LICENCE: MVTec AD") for note in found.notes)
    assert {part.board for part in found.parts} == {""}


def test_mvtec_as_people_have_it(tmp_path) -> None:
    root = tmp_path / "data"
    sets.mvtec(root / "my_part" / "my_part", objects=("my_part",))
    base = root / "my_part" / "my_part" / "my_part"
    for path in sorted((base / "test" / "bent").iterdir()):
        path.rename(path.with_suffix(".PNG"))
        sets.save(path.with_name(path.stem + "_mask.png"), sets.shot("mask", 0))
    (base / "test" / "good").rename(base / "test" / "OK")
    (base / "test" / "empty").mkdir()
    sets.save(base / "extra" / "a.png", sets.shot("a", 1))
    found = read(mvtec, root)
    assert labels(found) == {"PASS": 12, "bent": 3, "melt": 3}
    assert "3 picture(s): masks beside their pictures" in whys(found)
    assert "extra: 1 picture(s): outside of train, validation and test" in whys(found)
    assert found.licence.startswith("unknown")


def test_copies_of_one_object_stop_until_one_is_named(tmp_path) -> None:
    for split in ("1cls", "2cls_highshot"):
        sets.mvtec(tmp_path / split, objects=("pcb1",), good=4, bad=2)
    with pytest.raises(HardStop, match="pcb1 lies there twice: 1cls/pcb1 and 2cls_highshot/pcb1"):
        read(mvtec, tmp_path)
    found = read(mvtec, tmp_path, classes=["2cls_highshot/pcb1"])
    assert len(found.parts) == 6 and found.licence.startswith("VisA")
    with pytest.raises(HardStop, match="names 'pcb9'; found pcb1"):
        read(mvtec, tmp_path, classes=["pcb9"])


def test_illuminations_of_a_part_stay_together_and_private_sets_become_no_rows(tmp_path) -> None:
    found = read(mvtec, sets.mvtec_ad_2(tmp_path))
    assert labels(found) == {"PASS": 30, "bad": 18}
    boards = Counter(part.board for part in found.parts if "test_public" in part.board)
    assert set(boards.values()) == {3} and len(boards) == 12
    assert "test_private: 6 picture(s): no labels are published for them" in whys(found)
    assert "test_private_mixed: 6 picture(s): no labels" in whys(found)
    assert found.licence.startswith("MVTec AD 2")


@pytest.mark.parametrize(
    ("paths", "expected", "licence"),
    [
        (
            ["PCB/pcb_data_dir_train/normal/a.png", "PCB/pcb_data_dir_test3/anomaly/b.png",
             "PCB/pcb_data_dir_test3/masks/b.png"],
            {"PASS": 1, "anomaly": 1},
            "RobustAD",
        ),
        (
            ["pcb5/train/good/a.png", "pcb5/test/bad/b.png", "pcb5/ground_truth/bad/b.png"],
            {"PASS": 1, "bad": 1},
            "PCB-Bank",
        ),
        (["01/train/ok/a.bmp", "01/test/ko/b.bmp"], {"PASS": 1, "ko": 1}, "unknown"),
        (
            ["pushpins/train/good/a.png", "pushpins/test/logical_anomalies/b.png",
             "pushpins/ground_truth/logical_anomalies/000/000.png"],
            {"PASS": 1, "logical_anomalies": 1},
            "MVTec LOCO",
        ),
        (
            ["bagel/train/good/rgb/a.png", "bagel/train/good/xyz/a.tiff",
             "bagel/test/hole/rgb/b.png", "bagel/test/hole/gt/b.png"],
            {"PASS": 1, "hole": 1},
            "unknown",
        ),
        (
            ["vial/train/good/a.png", "vial/test_public/bad/b.png",
             "vial/ground_truth/test_public/bad/b_mask.png"],
            {"PASS": 1, "bad": 1},
            "MVTec AD 2",
        ),
    ],
)  # fmt: skip
def test_sets_in_mvtecs_layout(tmp_path, paths, expected, licence) -> None:
    for path in paths:
        place = tmp_path / path
        sets.save(place, sets.shot("x", 1)) if not path.endswith(".tiff") else place.parent.mkdir(
            parents=True, exist_ok=True
        )
    found = read(mvtec, tmp_path)
    assert labels(found) == expected and found.licence.startswith(licence)


def test_a_split_without_defects_in_training_cannot_be_kept(made) -> None:
    with pytest.raises(HardStop, match="gives training 9 good and 0 defective") as stop:
        read(mvtec, made[mvtec], keep_split=True)
    assert "keep_split: false" in stop.value.fix


def test_real_iad_labels_each_view_by_its_json(made) -> None:
    found = read(real_iad, made[real_iad])
    assert labels(found) == {"AK": 4, "BX": 4, "PASS": 28}
    assert {part.part_type for part in found.parts} == {"pcb_C1", "pcb_C2", "pcb_C3"}
    boards = Counter(part.board for part in found.parts)
    assert set(boards.values()) == {3} and "pcb/NG/AK/S0008" in boards
    assert not found.left_over
    assert "pcb: labels by realiad_jsons/realiad_jsons/pcb.json" in found.notes
    assert "each view is a part; a sample's views stay together in a split" in found.notes
    assert any(note.startswith("LICENCE: Real-IAD, CC BY-NC-SA") for note in found.notes)


def test_real_iads_views_as_lights_of_one_part(made, copy) -> None:
    found = read(real_iad, made[real_iad], views="lights")
    assert labels(found) == {"AK": 2, "BX": 2, "PASS": 8}
    assert all(tuple(part.pictures) == ("C1", "C2", "C3") for part in found.parts)
    root = copy(real_iad)
    next(root.glob("realiad_256/pcb/OK/S0003/*_C2_*")).unlink()
    found = read(real_iad, root, views="lights")
    assert len(found.parts) == 11 and "OK/S0003: no view C2" in whys(found)


def test_real_iad_without_its_json_says_what_it_cannot_know(copy) -> None:
    root = copy(real_iad)
    shutil.rmtree(root / "realiad_jsons")
    found = read(real_iad, root / "realiad_256")
    assert labels(found) == {"AK": 6, "BX": 6, "PASS": 24}
    assert any("every view of a defective sample counts as defective" in n for n in found.notes)
    with pytest.raises(HardStop, match="needs the published split of pcb"):
        read(real_iad, root, keep_split=True)


def test_real_iads_top_view_alone(copy) -> None:
    root = copy(real_iad)
    shutil.rmtree(root / "realiad_jsons" / "realiad_jsons")
    found = read(real_iad, root)
    assert {part.part_type for part in found.parts} == {"pcb_C1"} and len(found.parts) == 12
    assert "24 picture(s): not in realiad_jsons/realiad_jsons_sv/pcb.json" in whys(found)


def _edit(path: Path, change) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("meta"), "meta is missing"),
        (lambda d: d["train"][0].pop("anomaly_class"), "train[0].anomaly_class is missing"),
        (lambda d: (d.pop("train"), d.pop("test")), "train is missing"),
        (
            lambda d: d["train"].append({**d["test"][0], "anomaly_class": "XX"}),
            "is AK in test, and another class",
        ),
    ],
)
def test_a_broken_json_of_real_iad_stops(copy, change, message) -> None:
    root = copy(real_iad)
    path = root / "realiad_jsons" / "realiad_jsons" / "pcb.json"
    _edit(path, lambda data: data["test"].sort(key=lambda e: e["anomaly_class"]))
    _edit(path, change)
    with pytest.raises(HardStop) as stop:
        read(real_iad, root)
    assert stop.value.code == "csv_invalid" and stop.value.file == str(path)
    assert message in stop.value.message


def test_real_iads_paths_with_the_object_or_backslashes_before_them(copy) -> None:
    root = copy(real_iad)
    path = root / "realiad_jsons" / "realiad_jsons" / "pcb.json"

    def change(data) -> None:
        for entry in data["train"]:
            entry["image_path"] = "pcb/" + entry["image_path"]
        for entry in data["test"]:
            entry["image_path"] = entry["image_path"].replace("/", "\\")
        data["test"].append({**data["test"][0], "image_path": "OK/S9999/none_C1_.jpg"})

    _edit(path, change)
    found = read(real_iad, root)
    assert labels(found) == {"AK": 4, "BX": 4, "PASS": 28}
    assert "pcb.json: 1 picture(s) of it are not here" in whys(found)


def test_two_resolutions_stop_until_one_is_named(copy) -> None:
    root = copy(real_iad)
    shutil.copytree(root / "realiad_256", root / "realiad_512")
    with pytest.raises(HardStop, match="pcb lies there twice"):
        read(real_iad, root)
    assert len(read(real_iad, root, classes=["realiad_512/pcb"]).parts) == 36


@pytest.mark.parametrize("module", MAKERS)
def test_the_label_map_renames_and_leaves_out(made, module) -> None:
    first, second = ("AK", "BX") if module is real_iad else ("bent", "melt")
    found = read(module, made[module], label=lambda name: {first: "", second: "other"}[name])
    assert set(labels(found)) == {"PASS", "other"}
    assert "left out by the label map" in whys(found)


@pytest.mark.parametrize("module", MAKERS)
def test_another_layout_or_nothing_stops(made, tmp_path, module) -> None:
    sets.save(tmp_path / "a" / "b.png", sets.shot("x", 1))
    with pytest.raises(HardStop, match="no object of this layout lies below the folder"):
        read(module, tmp_path)
