"""Readers of annotated boards: what each export becomes, in its published layout and spoiled."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import board_sets as sets
import numpy as np
import pytest
from PIL import Image

from deft.core.errors import HardStop
from deft.importers.board_goldens import BoardGoldens
from deft.importers.board_shift import shift_of
from deft.importers.boxes import Cutting, cut
from deft.importers.folder_settings import FolderSettings
from deft.importers.layouts import coco, cvat, voc, yolo
from deft.importers.parts import FoundPart, LeftOver, Source
from deft.importers.picture_tree import tree_of
from deft.tables.changenet_table import PASS

DEEPPCB = Path(os.environ.get("DEEPPCB_ROOT", "/nowhere"))
SHOTS = sets.shots(boards=2, each=2, good=1)
BY_NAME = {shot.name: shot for shot in SHOTS}
LAYOUTS = {
    "hripcb": (sets.hripcb, voc, "PCB_USED"),
    "roboflow yolo": (sets.roboflow_yolo, yolo, "golden"),
    "label studio yolo": (sets.label_studio_yolo, yolo, "golden"),
    "cvat yolo": (sets.cvat_yolo, yolo, "golden"),
    "roboflow coco": (sets.roboflow_coco, coco, "golden"),
    "label studio coco": (sets.label_studio_coco, coco, "golden"),
    "cvat coco": (sets.cvat_coco, coco, "golden"),
    "cvat xml": (sets.cvat_xml, cvat, "golden"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    """Every layout, written once; a test that spoils one copies it."""
    top = tmp_path_factory.mktemp("made")
    return {name: make(top / name, SHOTS) for name, (make, _, _) in LAYOUTS.items()}


def parts_of(
    root: Path, layout, golden: str | None = "golden", **how
) -> tuple[list[FoundPart], list[LeftOver], list[str]]:
    """Read and cut a set."""
    tree = tree_of(root)
    folder = root / golden if golden else None
    found = layout.find(tree, tree.pictures(but=folder))
    parts, left_over, notes = cut(
        tree, found.pictures, BoardGoldens(tree, folder), Cutting(**{"free_per_picture": 3, **how})
    )
    return parts, [*found.left_over, *left_over], [*found.notes, *notes]


def copied(made: dict[str, Path], name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[name], tmp_path / "set"))


def shot_of(part: FoundPart) -> sets.Shot:
    """Return the drawn picture that a part was cut from."""
    stem = part.pictures[""].path.stem.replace(" ", "_").split("_jpg.rf.")[0]
    return BY_NAME[stem.removeprefix(stem[:9]) if stem.startswith("cb0618f") else stem]


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_gives_the_boxes_that_were_drawn(name, made) -> None:
    _, layout, golden = LAYOUTS[name]
    parts, left_over, _ = parts_of(made[name], layout, golden)
    pictures = {part.pictures[""].path for part in parts}
    drawn = Counter(kind for path in pictures for *_, kind in _shot(path).boxes)
    assert Counter(part.label for part in parts if not part.good) == drawn
    assert len({_shot(path).name for path in pictures}) == len(SHOTS)  # none is lost
    for part in parts:
        x, y, wide, high = part.pictures[""].box
        shot = shot_of(part)
        assert 0 <= x and x + wide <= sets.SIZE[0] and 0 <= y and y + high <= sets.SIZE[1]
        holding = [
            kind
            for x1, y1, x2, y2, kind in shot.boxes
            if x <= x1 + 1 and y <= y1 + 1 and x2 <= x + wide + 1 and y2 <= y + high + 1
        ]
        touched = [
            kind
            for x1, y1, x2, y2, kind in shot.boxes
            if x < x2 - 1 and x1 + 1 < x + wide and y < y2 - 1 and y1 + 1 < y + high
        ]
        assert part.label in holding if not part.good else not touched
        (gold,) = part.goldens[""]
        assert gold.box == part.pictures[""].box and int(gold.path.stem) == shot.board
        assert part.board == f"{shot.board:02d}"
    assert all("rotation" in entry.what for entry in left_over)


def _shot(path: Path) -> sets.Shot:
    return shot_of(FoundPart("", "", "", {"": type("P", (), {"path": path})}, ""))


def test_a_window_of_a_good_part_equals_its_golden_but_for_noise(made) -> None:
    parts, _, _ = parts_of(made["cvat yolo"], yolo)
    for part in parts:
        test, gold = (
            np.asarray(Image.open(p.path).crop((p.box[0], p.box[1], p.box[0] + p.box[2],
                                                p.box[1] + p.box[3])).convert("RGB"), np.int16)
            for p in (part.pictures[""], part.goldens[""][0])
        )  # fmt: skip
        assert (np.abs(test - gold).max() <= 4) == part.good


def test_the_same_set_and_seed_give_the_same_parts_and_another_seed_others(made) -> None:
    first, again, other = (
        parts_of(made["cvat xml"], cvat, seed=seed)[0] for seed in (3, 3, 4)
    )  # fmt: skip
    assert first == again and first != other


def test_a_picture_more_moves_no_window_of_the_others(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    before = {part.name: part.pictures[""].box for part in parts_of(root, voc, "PCB_USED")[0]}
    more = sets.shots(boards=2, each=3)[2]
    sets.hripcb(root, [more])
    after = {part.name: part.pictures[""].box for part in parts_of(root, voc, "PCB_USED")[0]}
    assert before.items() < after.items()


def test_two_augmentations_of_one_original_are_one_board_without_goldens_too(made) -> None:
    parts, _, notes = parts_of(made["roboflow yolo"], yolo, None)
    pictures = {part.pictures[""].path: part.board for part in parts}
    assert len(set(pictures.values())) == len(SHOTS) < len(pictures)
    assert not any(part.goldens for part in parts)
    assert any("no golden boards" in note for note in notes)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda golden: golden.resize((120, 100)), "has 120 x 100 px, the picture 240 x 200"),
        (lambda golden: golden.rotate(90, expand=True), "another place"),
    ],
)
def test_a_golden_of_another_size_is_none(made, tmp_path, spoil, told) -> None:
    root = copied(made, "hripcb", tmp_path)
    file = root / "PCB_USED" / "01.JPG"
    spoil(Image.open(file)).save(file, "JPEG")
    parts, left_over, _ = parts_of(root, voc, "PCB_USED")
    assert {part.board for part in parts} == {"02"}
    assert sum(told in entry.why for entry in left_over) == len(SHOTS) // 2


def test_without_its_number_among_the_goldens_a_board_is_left_over(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    (root / "PCB_USED" / "02.JPG").rename(root / "PCB_USED" / "12.JPG")
    parts, left_over, _ = parts_of(root, voc, "PCB_USED")
    assert {part.board for part in parts} == {"01"}
    assert sum("no golden of it" in entry.why for entry in left_over) == len(SHOTS) // 2


def test_one_golden_picture_serves_all_boards(made, tmp_path) -> None:
    root = copied(made, "cvat xml", tmp_path)
    shutil.rmtree(root / "golden")
    sets.save(root / "good" / "reference.png", sets.golden(1))
    parts, _, _ = parts_of(root, cvat, "good")
    assert {part.goldens[""][0].path.name for part in parts} == {"reference.png"}
    assert len({part.board for part in parts}) == len(SHOTS)  # a golden of many is no board


def test_an_empty_folder_of_goldens_is_a_stop(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    (root / "nothing").mkdir()
    with pytest.raises(HardStop, match="no golden picture lies there"):
        BoardGoldens(tree_of(root), root / "nothing")


# --- boards that lie off their golden -------------------------------------------------------------


def moved(pixels: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Return pixels that show the same board further right and down; the rest is grey."""
    out = np.full_like(pixels, 120)
    height, width = pixels.shape[:2]
    out[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = pixels[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return out


@pytest.mark.parametrize(
    ("dx", "dy", "scale"), [(0, 0, 1), (7, -5, 1), (-23, 14, 1), (31, 26, 6), (0, -9, 6)]
)
def test_a_golden_s_windows_move_with_the_board(tmp_path, dx, dy, scale) -> None:
    """``scale`` 6: pictures of 1440 px, which are compared at 1024."""
    good = np.kron(sets.golden(1), np.ones((scale, scale, 1), np.uint8))
    height, width = good.shape[:2]
    sets.save(tmp_path / "golden" / "g.png", good)
    sets.save(tmp_path / "a.png", moved(good, dx, dy))
    sets.text(tmp_path / "a.txt", "0 0.5 0.5 0.1 0.1\n")
    parts, _, notes = parts_of(tmp_path, yolo, free_per_picture=12)
    boxes = [(p.pictures[""].box, p.goldens[""][0].box) for p in parts]
    off = {(test[0] - golden[0], test[1] - golden[1]) for test, golden in boxes}
    assert len(parts) == 13 and off == {(dx, dy)}
    for part in parts:
        x, y, side, _ = part.goldens[""][0].box
        assert 0 <= x and x + side <= width and 0 <= y and y + side <= height
    told = f"by {max(abs(dx), abs(dy))} px: the windows of the golden are moved"
    assert any(told in note for note in notes) == bool(dx or dy)


def test_a_defect_beyond_the_golden_s_edge_is_no_part(tmp_path) -> None:
    sets.save(tmp_path / "golden" / "g.png", sets.golden(1))
    sets.save(tmp_path / "a.png", moved(sets.golden(1), 20, 0))
    sets.text(tmp_path / "a.txt", "0 0.02 0.5 0.03 0.1\n")
    parts, _, notes = parts_of(tmp_path, yolo)
    assert all(part.good for part in parts)
    assert any("1 window(s) lie beyond the edge" in note for note in notes)


def test_a_golden_of_another_board_is_told(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    sets.save(root / "PCB_USED" / "01.JPG", sets.golden(5))
    _, _, notes = parts_of(root, voc, "PCB_USED")
    assert any(f"{len(SHOTS) // 2} picture(s) hardly agree" in note for note in notes)


def test_a_picture_that_ends_early_is_left_over(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    path = root / "images" / "Short" / "01_short_01.jpg"
    path.write_bytes(path.read_bytes()[:-3000])
    parts, left_over, _ = parts_of(root, voc, "PCB_USED")
    assert path not in {p.pictures[""].path for p in parts}
    assert any("cannot be decoded" in entry.why for entry in left_over)


@pytest.mark.skipif(not DEEPPCB.is_dir(), reason="DEEPPCB_ROOT is not set")
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (6, -11), (-40, 25)])
def test_real_boards_are_laid_on_their_templates(tmp_path, dx, dy) -> None:
    test = next(iter(sorted(DEEPPCB.rglob("*_test.jpg"))))
    template = test.with_name(test.name.replace("_test", "_temp"))
    sets.save(tmp_path / "a.png", moved(np.asarray(Image.open(test).convert("RGB")), dx, dy))
    size = Image.open(test).size
    found, own = shift_of(tmp_path / "a.png", template, size), shift_of(test, template, size)
    assert (found.dx - own.dx, found.dy - own.dy) == (dx, dy) and found.match > 0.8
    assert max(abs(own.dx), abs(own.dy)) <= 3  # the data set's own registration is that good


# --- windows --------------------------------------------------------------------------------------


def one_board(root: Path, lines: str, size: tuple[int, int] = (300, 200)) -> Path:
    sets.save(root / "a.png", sets.golden(1, size))
    sets.text(root / "a.txt", lines)
    return root


@pytest.mark.parametrize(
    ("share", "side"), [(0.02, 64), (0.3, 192), (1.0, 200)]
)  # of the width 300: 6, 90 and 300 px
def test_the_window_follows_the_boxes_within_its_limits(tmp_path, share, side) -> None:
    root = one_board(tmp_path, f"0 0.5 0.5 {share} {min(1, share)}\n")
    part = next(p for p in parts_of(root, yolo, None)[0] if not p.good)
    assert part.pictures[""].box[2:] == (side, side)


def test_a_box_larger_than_the_window_gets_a_wider_one(tmp_path) -> None:
    small = "".join(f"0 0.{i}5 0.1 0.02 0.02\n" for i in range(10))
    root = one_board(tmp_path, small + "0 0.5 0.6 0.4 0.3\n")
    parts, _, notes = parts_of(root, yolo, None)
    wide = [p.pictures[""].box for p in parts if p.pictures[""].box[2] > 64]
    assert len(wide) == 1 and wide[0][2] == 150  # 1.25 * 120 px
    x, y, side, _ = wide[0]
    assert x <= 90 and y <= 90 and x + side >= 210 and y + side >= 150
    assert any("1 window(s) are wider" in note for note in notes)


def test_a_set_that_marks_its_good_parts_is_cut_at_its_boxes_alone(made) -> None:
    def label(name: str) -> str:
        return PASS if name == "spur" else name

    parts, _, notes = parts_of(made["cvat xml"], cvat, label=label)
    drawn = Counter(kind for shot in SHOTS for *_, kind in shot.boxes)
    assert Counter(p.label for p in parts) == {
        PASS: drawn["spur"],
        "short": drawn["short"],
        "missing_hole": drawn["missing_hole"],
    }
    assert any("nothing else is cut" in note for note in notes)


def test_a_class_that_the_map_leaves_out_is_no_part_and_nothing_good_is_cut_there(made) -> None:
    parts, _, notes = parts_of(
        made["cvat xml"], cvat, label=lambda name: "" if name == "spur" else name
    )
    assert {p.label for p in parts} == {PASS, "short", "missing_hole"}
    for part in parts:
        x, y, side, _ = part.pictures[""].box
        for x1, y1, x2, y2, kind in shot_of(part).boxes:
            touches = x < x2 and x1 < x + side and y < y2 and y1 < y + side
            assert not (part.good and kind == "spur" and touches)
    assert any("labels leaves boxes out (spur" in note for note in notes)


# --- the reader as the command calls it -----------------------------------------------------------


def source_of(layout, root: Path, **settings) -> Source:
    return layout.read(tree_of(root), FolderSettings(root=str(root), **settings))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_command_s_reader_gives_the_same_parts(name, made) -> None:
    _, layout, golden = LAYOUTS[name]
    source = source_of(layout, made[name], pass_per_image=3)
    assert source.parts == parts_of(made[name], layout, golden)[0]
    assert source.root == made[name] and source.licence


def test_settings_of_the_group_reach_the_parts(made) -> None:
    source = source_of(
        voc,
        made["hripcb"],
        golden="pcb_used",  # any case
        labels={"SPUR": "", "short": "bridge"},
        board="images/([A-Z])",
        window=96,
        pass_per_image=1,
        licence="my own",
        seed=5,
    )
    assert {p.label for p in source.parts} == {PASS, "bridge", "missing_hole"}
    assert {p.board for p in source.parts} == {"M", "S", "G"}
    assert {p.pictures[""].box[2] for p in source.parts} == {96}
    assert sum(p.good for p in source.parts) <= len(SHOTS) and source.licence == "my own"
    assert {p.goldens[""][0].path.parent.name for p in source.parts} == {"PCB_USED"}


def test_an_archive_s_own_folder_and_goldens_in_it_are_found(made, tmp_path) -> None:
    shutil.copytree(made["hripcb"], tmp_path / "PCB_DATASET" / "PCB_DATASET")
    for golden in (None, "PCB_USED", "PCB_DATASET/PCB_USED"):
        source = source_of(voc, tmp_path, golden=golden)
        assert all(part.goldens for part in source.parts)


@pytest.mark.parametrize("golden", ["gold", "../golden", "/etc"])
def test_goldens_that_are_not_there_are_a_stop(made, golden) -> None:
    with pytest.raises(HardStop, match="import_folder.golden") as stop:
        source_of(voc, made["hripcb"], golden=golden)
    assert "is there 0 times" in stop.value.message


def test_no_root_is_a_stop() -> None:
    with pytest.raises(HardStop, match="root is not set"):
        tree_of(FolderSettings().root)


def test_pictures_that_imagesets_lists_without_a_file_are_good(made, tmp_path) -> None:
    """As CVAT and Datumaro export Pascal VOC."""
    root = copied(made, "hripcb", tmp_path)
    shutil.rmtree(root / "Annotations" / "Good")
    assert "images/Good" in {e.what for e in parts_of(root, voc, "PCB_USED")[1]}
    listed = "".join(f"Good/{shot.name} -1\n" for shot in SHOTS if not shot.boxes)
    sets.text(root / "ImageSets" / "Main" / "default.txt", listed)
    parts, left_over, notes = parts_of(root, voc, "PCB_USED")
    assert "images/Good" not in {e.what for e in left_over}
    assert {p.pictures[""].path.parent.name for p in parts if "good" in p.name} == {"Good"}
    assert any("2 picture(s) are good: ImageSets" in note for note in notes)


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.write_bytes(b""), "zero-byte"),
        (lambda path: path.write_bytes(b"no picture"), "not a picture"),
        (lambda path: turned(path), "EXIF orientation 6"),
        (lambda path: Image.new("RGB", (640, 640)).save(path), "drawn on 240 x 200 px, the"),
        (lambda path: Image.new("RGB", (200, 240)).save(path), "drawn on 240 x 200 px, turned"),
        (lambda path: Image.new("RGB", (8, 8)).save(path), "8 x 8 px"),
    ],
)
def test_a_picture_that_cannot_be_cut_is_left_over(made, tmp_path, spoil, told) -> None:
    root = copied(made, "hripcb", tmp_path)
    path = root / "images" / "Short" / "01_short_01.jpg"
    spoil(path)
    parts, left_over, _ = parts_of(root, voc, "PCB_USED")
    assert path not in {part.pictures[""].path for part in parts}
    assert [e.why for e in left_over if e.what == "images/Short/01_short_01.jpg" and told in e.why]


def turned(path: Path) -> None:
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)


def test_junk_and_links_that_lead_out_are_no_pictures(made, tmp_path) -> None:
    root = copied(made, "cvat yolo", tmp_path)
    outside = sets.save(tmp_path / "outside.png", sets.golden(1))
    (root / "obj_train_data" / "leads_out.png").symlink_to(outside)
    for name in ("__MACOSX/._a.png", ".hidden.png", "._01_short_01.png"):
        sets.save(root / "obj_train_data" / name, sets.golden(1))
    (root / "obj_train_data" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    parts, left_over, _ = parts_of(root, yolo)
    assert len({part.pictures[""].path for part in parts}) == len(SHOTS)
    assert [e.why for e in left_over] == ["a link that leads out of the data set"]


# --- VOC ------------------------------------------------------------------------------------------


def voc_set(root: Path, content: str, name: str = "b.xml") -> Path:
    sets.save(root / "b.jpg", SHOTS[0].pixels)
    sets.text(root / name, content)
    return root


@pytest.mark.parametrize(
    "content",
    [
        sets.voc_xml(SHOTS[0], size=None),  # labelImg's <size> is missing,
        sets.voc_xml(SHOTS[0], size=(0, 0)),  # zero
        sets.voc_xml(SHOTS[0], size=(241, 199)),  # or off by a pixel
        sets.voc_xml(SHOTS[0], filename="img_0001"),  # stale, without an ending
        sets.voc_xml(SHOTS[0], cell="{}.6576232910156"),  # PaddleLabel
        sets.voc_xml(SHOTS[0], path="/etc/passwd"),
        '<?xml version="1.0" encoding="gb2312"?>' + sets.voc_xml(SHOTS[0]),
        "\ufeff" + sets.voc_xml(SHOTS[0]),
    ],
)
def test_voc_files_as_tools_write_them_are_read(tmp_path, content) -> None:
    parts, left_over, _ = parts_of(voc_set(tmp_path, content), voc, None)
    assert [p.label for p in parts if not p.good] == [b[4] for b in SHOTS[0].boxes]
    assert not left_over


def test_a_picture_is_found_by_filename_where_the_file_has_another_name(tmp_path) -> None:
    root = voc_set(tmp_path, sets.voc_xml(SHOTS[0], filename="b.png"), "annotation_17.xml")
    assert {p.pictures[""].path.name for p in parts_of(root, voc, None)[0]} == {"b.jpg"}


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB, "document type"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation/>', "document type"),
        ("<annotation><object>", "not readable as XML"),
        ("", "not readable as XML"),
        (sets.voc_xml(SHOTS[0], cell="x{}"), "object 1: <xmin> is"),
        (sets.voc_xml(SHOTS[0], cell="nan"), "no number"),
        (sets.voc_xml(SHOTS[0]).replace("bndbox", "robndbox"), "neither <bndbox> nor <polygon>"),
    ],
)
def test_broken_xml_is_a_stop_that_names_the_file(tmp_path, content, told) -> None:
    with pytest.raises(HardStop, match=told) as stop:
        parts_of(voc_set(tmp_path, content), voc, None)
    assert stop.value.code == "csv_invalid" and stop.value.file.endswith("b.xml")


def test_xml_in_another_encoding_is_a_stop(tmp_path) -> None:
    root = voc_set(tmp_path, "")
    (root / "b.xml").write_bytes(sets.voc_xml(SHOTS[0]).encode("utf-16"))
    with pytest.raises(HardStop, match="not UTF-8"):
        parts_of(root, voc, None)


def test_two_pictures_of_a_name_are_told_apart_by_their_folder_or_left_over(made, tmp_path) -> None:
    root = copied(made, "hripcb", tmp_path)
    sets.save(root / "other" / "Short" / "01_short_01.jpg", SHOTS[0].pixels)
    _, left_over, _ = parts_of(root, voc, "PCB_USED")
    entry = next(e for e in left_over if "01_short_01" in e.what)
    assert entry.why.startswith("2 pictures of that name: images/Short/01_short_01.jpg")


# --- YOLO -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("0 0.5 0.5 0.1", "4 values"),
        ("0 0.5 0.5 0.1 0.1 0.93", "a prediction with its confidence"),
        ("0 120 80 20 20", "120, no share of the picture's size"),
        ("x 0.5 0.5 0.1 0.1", "no number"),
        ("0 0.5 nan 0.1 0.1", "no number"),
        ("-1 0.5 0.5 0.1 0.1", "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", "class 0.5"),
        ("3 0.5 0.5 0.1 0.1", "class 3, and classes.txt names 2"),
        ("short 0.5 0.5 0.1 0.1", "no number"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 values"),
    ],
)
def test_a_line_that_cannot_be_a_label_is_a_stop_that_names_it(tmp_path, line, told) -> None:
    root = one_board(tmp_path, f"0 0.5 0.5 0.1 0.1\n{line}\n")
    sets.text(root / "classes.txt", "open\nshort\n")
    with pytest.raises(HardStop, match=told) as stop:
        parts_of(root, yolo, None)
    assert stop.value.rows == [2] and stop.value.file.endswith("a.txt")


@pytest.mark.parametrize(
    "lines",
    [
        "0 0.5 0.5 0.1 0.1",
        "0.0 0.5 0.5 0.1 0.1\r\n",
        "0\t0.5\t0.5\t0.1\t0.1\n\n",
        "0 0.45 0.45 0.55 0.45 0.55 0.55\n",  # a polygon
        "0 0.45 0.45 0.55 0.45 0.55 0.55 0.45 0.55\n",  # a turned box's corners
        "\ufeff0 0.5 0.5 0.1 0.1\n",
    ],
)
def test_lines_as_tools_write_them_are_read(tmp_path, lines) -> None:
    parts, _, notes = parts_of(one_board(tmp_path, lines), yolo, None)
    assert [p.label for p in parts if not p.good] == ["class0"]
    assert any("no file names the classes" in note for note in notes)


@pytest.mark.parametrize(
    "names", ["[a, b]", "{0: a, 1: b}", "\n  0: a\n  1: b", "\n- a\n- b", "['a', 'b', 'c']"]
)
def test_names_of_classes_are_a_list_or_numbered(tmp_path, names) -> None:
    root = one_board(tmp_path, "1 0.5 0.5 0.1 0.1\n")
    sets.text(root / "pcb.yaml", f"nc: 2\nnames: {names}\n")
    assert "b" in {p.label for p in parts_of(root, yolo, None)[0]}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"data.yaml": "names: [yes, no]"}, "the names of the classes"),  # YAML reads truth values
        ({"data.yaml": "names: a"}, "the names of the classes"),
        ({"data.yaml": "names: ['']"}, "the names of the classes"),
        ({"data.yaml": "names: [a]\nkpt_shape: [17, 3]"}, "key points"),
        ({"data.yaml": "names: [a, b]", "classes.txt": "b\na\n"}, "class 0 is 'a' here and 'b'"),
        ({"data.yaml": "names: [a"}, "not readable as YAML"),
        ({"notes.json": "{"}, "not a JSON file"),
    ],
)
def test_names_that_cannot_be_meant_are_a_stop(tmp_path, files, told) -> None:
    root = one_board(tmp_path, "0 0.5 0.5 0.1 0.1\n")
    for name, content in files.items():
        sets.text(root / name, content)
    with pytest.raises(HardStop, match=told):
        parts_of(root, yolo, None)


def test_a_lost_label_file_is_no_good_board(made, tmp_path) -> None:
    root = copied(made, "label studio yolo", tmp_path)
    for name in ("labels/cb0618f0-01_missing_hole_01.txt", "images/cb0618f2-01_short_01.jpg"):
        (root / name).unlink()
    parts, left_over, _ = parts_of(root, yolo)
    assert "cb0618f0-01_missing_hole_01" not in {p.pictures[""].path.stem for p in parts}
    assert {(e.what, e.why.split(":")[0]) for e in left_over} == {
        ("images", "1 picture(s) without annotations"),
        ("labels/cb0618f2-01_short_01.txt", "its picture is not here"),
    }


# --- COCO -----------------------------------------------------------------------------------------


def coco_set(root: Path, change) -> Path:
    """Write one picture with its file, changed."""
    data = sets.coco_data(SHOTS[:1], ["a.png"])
    data = change(data) or data
    sets.save(root / "images" / "a.png", SHOTS[0].pixels)
    sets.text(root / "annotations.json", data if isinstance(data, str) else json.dumps(data))
    return root


def changed(place: str, index: int, **values):
    """Return a change of one record; None takes a key away."""

    def change(data: dict) -> None:
        row = data[place][index]
        for key, value in values.items():
            row.pop(key, None) if value is None else row.__setitem__(key, value)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: "[" * 100_000, "not a JSON file"),
        (lambda d: d.pop("images") and None, "images is missing"),
        (lambda d: d.__setitem__("annotations", {}), "annotations is an object"),
        (lambda d: d["images"].append(3), r"images\[1\] is a whole number"),
        (lambda d: d["images"].append(d["images"][0]), "two pictures have the id 0"),
        (changed("images", 0, file_name=None), "file_name None"),
        (changed("images", 0, id=[]), r"has id \[\]"),
        (changed("images", 0, width="wide"), "'wide', no number"),
        (changed("annotations", 0, bbox=[1, 2, 3], segmentation=[]), "neither a bbox"),
        (changed("annotations", 0, bbox=[1, 2, "3", 4]), "'3', no number"),
        (changed("annotations", 0, bbox=[1, 2, 1e400, 4]), "no number"),
        (changed("annotations", 0, category_id=[1]), "category_id is a list"),
        (changed("categories", 0, name=None), r"categories\[0\] has id 1 and name None"),
        (changed("categories", 0, id=2), "is both"),
    ],
)
def test_a_broken_coco_file_is_a_stop(tmp_path, change, told) -> None:
    with pytest.raises(HardStop, match=told) as stop:
        parts_of(coco_set(tmp_path, change), coco, None)
    assert stop.value.code == "csv_invalid" and stop.value.file.endswith("annotations.json")


@pytest.mark.parametrize(
    ("change", "labels"),
    [
        (lambda d: d.pop("categories") and None, {"class1"}),
        (changed("annotations", 0, bbox=None), {"missing_hole"}),  # a polygon alone
        (changed("annotations", 0, segmentation={"counts": "x", "size": [2, 2]}), {"missing_hole"}),
        (changed("annotations", 0, iscrowd=1), set()),
        (changed("annotations", 0, category_id=99), set()),
        (changed("annotations", 0, category_id=None), set()),
        (changed("annotations", 0, bbox=[30, 30, 0, 0]), set()),
        (changed("images", 0, width=None, height=None), {"missing_hole"}),
        (lambda d: d.__setitem__("annotations", []), set()),
        (lambda d: d.pop("annotations") and None, set()),
    ],
)
def test_coco_files_as_tools_write_them_are_read(tmp_path, change, labels) -> None:
    """SHOTS[0] has two boxes; the second keeps its class where only the first is changed."""
    root = coco_set(tmp_path, change)
    parts, left_over, _ = parts_of(root, coco, None)
    kept = {p.label for p in parts if not p.good}
    drawn = len(json.loads((root / "annotations.json").read_text()).get("annotations", []))
    bad = sum(not p.good for p in parts)
    assert kept - {"missing_hole"} == labels - {"missing_hole"}
    assert bad == (drawn if labels else max(0, drawn - 1))
    assert len(left_over) == drawn - bad  # what is no part is told of
    assert any(p.good for p in parts)


def test_no_good_part_is_cut_where_something_unknown_lies(tmp_path) -> None:
    everywhere = changed("annotations", 0, iscrowd=1, bbox=[0, 0, *sets.SIZE])
    parts, left_over, _ = parts_of(coco_set(tmp_path, everywhere), coco, None)
    assert not any(part.good for part in parts)
    assert "no class is told" in {entry.why for entry in left_over}


@pytest.mark.parametrize("bbox", [[500, 20, 10, 10], [200, 20, 90, 10], [-60, 5, 80, 9]])
def test_a_box_off_its_picture_takes_the_picture_with_it(tmp_path, bbox) -> None:
    def change(data: dict) -> None:
        data["annotations"][0] |= {"bbox": bbox}

    root = coco_set(tmp_path, change)
    sets.coco_data(SHOTS[1:2], ["b.png"])
    parts, left_over, _ = parts_of(root, coco, None)
    assert not parts and "annotations[0]" in left_over[0].why


def test_an_annotation_of_no_picture_and_other_json_files_are_told(made, tmp_path) -> None:
    root = copied(made, "cvat coco", tmp_path)
    path = root / "annotations" / "instances_default.json"
    data = json.loads(path.read_text())
    data["annotations"].append({**data["annotations"][0], "image_id": 999})
    data["images"].append({"id": 77, "file_name": "gone.png", "width": 1, "height": 1})
    path.write_text(json.dumps(data))
    sets.text(root / "package.json", "{}")
    told = {(e.what.split(": ")[-1], e.why) for e in parts_of(root, coco)[1]}
    assert told == {
        (f"annotations[{len(data['annotations']) - 1}]", "no image has the id 999"),
        ("gone.png", "its picture is not here"),
        ("package.json", "no COCO file"),
    }


def test_a_picture_in_two_files_has_the_boxes_of_both_once(made, tmp_path) -> None:
    root = copied(made, "cvat coco", tmp_path)
    before = Counter(p.label for p in parts_of(root, coco)[0] if not p.good)
    shutil.copy(root / "annotations/instances_default.json", root / "annotations/merged.json")
    parts, _, notes = parts_of(root, coco)
    assert Counter(p.label for p in parts if not p.good) == before
    assert any("annotated more than once" in note for note in notes)


def test_licences_that_the_files_name_are_told(made) -> None:
    assert yolo.licence(tree_of(made["roboflow yolo"])) == "data.yaml says: CC BY 4.0"
    assert yolo.licence(tree_of(made["cvat yolo"])) == yolo.LICENCE
    assert coco.licence(tree_of(made["roboflow coco"])) == "the files say: CC BY 4.0"
    assert coco.licence(tree_of(made["cvat coco"])) == coco.LICENCE


# --- CVAT -----------------------------------------------------------------------------------------


def cvat_set(root: Path, shapes: str) -> Path:
    sets.save(root / "images" / "a.png", sets.golden(1))
    head = '<annotations><image id="0" name="a.png" width="240" height="200">'
    sets.text(root / "annotations.xml", f"{head}{shapes}</image></annotations>")
    return root


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="x" xtl="90" ytl="80" xbr="110" ybr="100"/>',
        '<box label="x" xtl="90" ytl="80" xbr="110" ybr="100" rotation="45"/>',
        '<polygon label="x" points="90,80;110,80;110,100"/>',
        '<polyline label="x" points="90.0,80.0;110.0,100.0"/>',
        '<points label="x" points="90,80;110,100"/>',
        '<ellipse label="x" cx="100" cy="90" rx="10" ry="10"/>',
        '<mask label="x" rle="1,2" left="90" top="80" width="20" height="20"/>',
    ],
)
def test_shapes_count_by_their_bounds(tmp_path, shape) -> None:
    parts, left_over, _ = parts_of(cvat_set(tmp_path, shape), cvat, None)
    (part,) = [p for p in parts if not p.good]
    x, y, side, _ = part.pictures[""].box
    assert part.label == "x" and not left_over
    assert x <= 90 and y <= 80 and x + side >= 110 and y + side >= 100


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ('<box label="x" xtl="90" ytl="80" xbr="110"/>', "ybr is '', no number"),
        ('<polygon label="x" points="90;110,80"/>', "points are no pairs"),
        ('<polygon label="x" points=""/>', "points are no pairs"),
    ],
)
def test_a_shape_without_its_place_is_a_stop(tmp_path, shapes, told) -> None:
    with pytest.raises(HardStop, match=told):
        parts_of(cvat_set(tmp_path, shapes), cvat, None)


def test_a_tag_has_no_place_and_a_video_no_pictures(tmp_path) -> None:
    _, left_over, _ = parts_of(cvat_set(tmp_path / "a", '<tag label="bad"/>'), cvat, None)
    assert [entry.why for entry in left_over] == ["has no place"]
    root = cvat_set(tmp_path / "b", "")
    sets.text(root / "annotations.xml", '<annotations><track id="0"/></annotations>')
    with pytest.raises(HardStop, match="annotations of a video"):
        parts_of(root, cvat, None)


@pytest.mark.parametrize(
    ("layout", "other", "told"),
    [(cvat, "hripcb", "layout voc reads it"), (voc, "cvat xml", "layout cvat reads it"),
     (yolo, "hripcb", "no annotated picture"), (coco, "hripcb", "no annotated picture")],
)  # fmt: skip
def test_the_wrong_layout_says_which_is_right(made, layout, other, told) -> None:
    with pytest.raises(HardStop, match=told):
        parts_of(made[other], layout, None)
