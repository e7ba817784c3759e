"""The DeepPCB importer, on a drawn copy of the layout and (where there is one) on a real sample.

``DEEPPCB_ROOT`` names the real copy; by default it is looked for beside the repository.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.importers.deeppcb import import_deeppcb
from deft.importers.deeppcb_pairs import draw_defect
from deft.importers.deeppcb_pool import TRUTH, as_on_a_line
from deft.importers.deeppcb_settings import Settings
from deft.importers.deeppcb_source import (
    DEFECT_TYPES,
    DEFECTS,
    Box,
    find_groups,
    read_boxes,
    read_pair,
)
from deft.importers.deeppcb_windows import (
    RARE_MIN,
    Crop,
    Window,
    defect_windows,
    pass_windows,
    rare_share,
)
from deft.importers.lite0 import MODEL
from deft.pool.pregen.parts import check_allocation, pregen_parts
from deft.tables.changenet_table import PASS, image_file, read_table
from deft.tables.coordinates import base_rows, pool_rows, read_pool
from deft.tables.leakage import find_key_leaks

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("DEEPPCB_ROOT", REPOSITORY.parent / "shared" / "data" / "deeppcb"))
SIDE = 256
SMALL = Settings(window=64, pass_per_image=3, base_rows=24, seed=3)
TABLES = {
    "base": layout.BASE_TABLE,
    "validation": layout.VALIDATION_TABLE,
    "kpi": layout.KPI_TABLE,
}


def draw_board(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[tuple]]:
    """Return (test, template, box lines) of a board with vertical tracks and one box per type."""
    template = np.full((SIDE, SIDE), 255, np.uint8)
    for x in range(12, SIDE, 32):
        template[:, x : x + int(rng.integers(8, 12))] = 0
    test, lines = template.copy(), []
    for kind in DEFECT_TYPES:
        x = 20 + 36 * (kind - 1) + int(rng.integers(0, 6))
        y = int(rng.integers(30, 60)) if kind % 2 else int(rng.integers(180, 220))
        test[y : y + 12, x : x + 12] = 255 - test[y : y + 12, x : x + 12]
        lines.append((x, y, x + 12, y + 12, kind))
    noise = rng.integers(0, 8, (SIDE, SIDE)).astype(np.uint8)
    return np.where(test > 127, test - noise, test + noise), template, lines


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A DeepPCB copy of four groups with eight board pictures each; commas in one group."""
    root = tmp_path_factory.mktemp("deeppcb copy")
    rng = np.random.default_rng(0)
    for group in ("00001", "00002", "00003", "00004"):
        folder = root / "PCBData" / f"group{group}"
        (folder / group).mkdir(parents=True)
        (folder / f"{group}_not").mkdir()
        for i in range(8):
            name = f"{group}{i:03d}"
            test, template, lines = draw_board(rng)
            cv2.imwrite(str(folder / group / f"{name}_test.jpg"), test)
            cv2.imwrite(str(folder / group / f"{name}_temp.jpg"), template)
            between = "," if group == "00002" else " "
            text = "\n".join(between.join(map(str, line)) for line in lines) + "\n\n"
            (folder / f"{group}_not" / f"{name}.txt").write_text(text)
    return root


@pytest.fixture(scope="module")
def imported(copy, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "my workspace"
    import_deeppcb(copy, out, SMALL)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_pretrained_backbone_comes_along(copy, tmp_path):
    given, out = tmp_path / "lite0.pth", tmp_path / "workspace"
    torch.save(timm.create_model(MODEL, pretrained=False).state_dict(), given)
    assert import_deeppcb(copy, out, replace(SMALL, backbone=str(given)))
    spec = load_spec(out / layout.SPEC)
    named = spec.model.backbone.pretrained_backbone_path
    assert (out / named).is_file() and spec.model.backbone.type == f"timm:{MODEL}"
    # The same weights from another place are the same request; without them it is another one.
    moved = tmp_path / "moved.pth"
    given.rename(moved)
    assert import_deeppcb(copy, out, replace(SMALL, backbone=str(moved))) == {}
    with pytest.raises(HardStop, match="backbone_sha256"):
        import_deeppcb(copy, out, SMALL)
    with pytest.raises(HardStop, match="does not exist"):
        import_deeppcb(copy, tmp_path / "new", replace(SMALL, backbone=str(given)))
    assert not (tmp_path / "new").exists()


def all_rows(out: Path):
    sides = {name: base_rows(read_table(out / table), out) for name, table in TABLES.items()}
    sides["pool"] = pool_rows(read_pool(out), out)
    return sides


def window_of(row) -> Window:
    x, y, side = map(int, re.findall(r"\d+", row.description))
    return Window(x, y, side, row.label)


def check_whole(root: Path, out: Path) -> None:
    """Check what must hold of any import: files, roles, labels, windows."""
    spec = load_spec(out / layout.SPEC)
    groups = find_groups(root)
    pictures = {p.name: p for group in groups.values() for p in group}
    sides = all_rows(out)
    seen: dict[str, str] = {}
    for role, rows in sides.items():
        for row in rows.itertuples():
            test, golden = (
                cv2.imread(str(image_file(out, folder, row.object_name, "WhiteLight", ".png")), 0)
                for folder in (row.input_path, row.golden_path)
            )
            source = pictures[row.boardname]
            window = window_of(row)
            cut = window.cut(cv2.imread(str(source.test), 0))
            assert np.array_equal(test, cut)
            assert np.array_equal(golden, window.cut(cv2.imread(str(source.template), 0)))
            boxes = read_boxes(source.boxes)
            if row.label == PASS:
                assert not any(window.touches(box) for box in boxes)
                assert rare_share(test) >= RARE_MIN
            else:
                near = [b for b in boxes if b.defect == row.label and window.touches(b)]
                assert near
            digest = hashlib.sha256(test.tobytes()).hexdigest()
            assert seen.setdefault(digest, role) == role
    names = sorted(sides)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert not set(sides[a]["boardname"]) & set(sides[b]["boardname"])
            assert find_key_leaks(sides[a], sides[b]) == []
    parts = pregen_parts(out, spec.lights)
    check_allocation(parts, out)
    assert parts
    assert not {p.board for p in parts} & {b for rows in sides.values() for b in rows["boardname"]}


def test_an_import_is_a_whole_workspace(copy, imported):
    check_whole(copy, imported)


def test_roles_follow_the_groups(imported):
    groups = {name: set(rows["part_type"]) for name, rows in all_rows(imported).items()}
    assert groups == {
        "base": {"group00001"},
        "validation": {"group00001"},
        "pool": {"group00002", "group00003"},
        "kpi": {"group00004"},
    }


def test_base_knows_three_defects_and_the_kpi_set_all_six(imported):
    labels = {name: set(rows["label"]) for name, rows in all_rows(imported).items()}
    assert labels["base"] == labels["validation"] == {PASS, "open", "short", "mousebite"}
    assert labels["kpi"] == labels["pool"] == {PASS, *DEFECTS}


def test_same_settings_write_the_same_bytes(copy, imported, tmp_path):
    import_deeppcb(copy, tmp_path / "again", SMALL)
    assert digests(tmp_path / "again") == digests(imported)


def test_another_seed_cuts_other_windows(copy, imported, tmp_path):
    import_deeppcb(copy, tmp_path / "other", replace(SMALL, seed=4))
    tables = [(out / layout.KPI_TABLE).read_text() for out in (imported, tmp_path / "other")]
    assert tables[0] != tables[1]


def test_groups_and_counts_are_the_users(copy, tmp_path):
    chosen = replace(
        SMALL,
        base_groups=["00003"],
        kpi_groups=["group00001"],
        pool_groups=["group00002"],
        images_per_group=5,
        base_rows=10,
        base_defects=["spur"],
    )
    counts = import_deeppcb(copy, tmp_path / "out", chosen)
    assert counts["base"] == {PASS: 6, "spur": 4}  # four pictures are left to train on
    rows = all_rows(tmp_path / "out")
    assert set(rows["base"]["part_type"]) == {"group00003"}
    assert rows["kpi"]["boardname"].nunique() == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kpi_groups": ["group99999"]}, "kpi_groups names .*group99999"),
        ({"pool_groups": ["group00001"], "base_groups": ["group00001"]}, "two roles"),
        ({"base_defects": ["rust"]}, "base_defects names .*rust"),
        ({"window": 600}, "larger than the picture"),
        ({"base_groups": []}, "no group is left for deeppcb.base_groups"),
    ],
)
def test_wrong_settings_stop_and_write_nothing(copy, tmp_path, change, message):
    with pytest.raises(HardStop, match=message) as stop:
        import_deeppcb(copy, tmp_path / "out", replace(SMALL, **change))
    assert stop.value.code == "config_invalid"
    assert not (tmp_path / "out").exists()


def pool_of(workspace: Path) -> pd.DataFrame:
    return read_table(workspace / layout.POOL_TABLE)


LINE = replace(SMALL, pass_per_image=6, pool_defect_share=0.1, pool_rows=60)


@pytest.fixture(scope="module")
def whole(copy, tmp_path_factory) -> Path:
    """A workspace whose pool is as the groups give it."""
    out = tmp_path_factory.mktemp("whole") / "w"
    import_deeppcb(copy, out, replace(LINE, pool_rows=None, pool_defect_share=None))
    return out


def test_a_pool_has_the_rows_and_the_share_of_defects_that_are_asked_for(copy, whole, tmp_path):
    import_deeppcb(copy, tmp_path / "w", LINE)
    pool = pool_of(tmp_path / "w")
    assert len(pool) == 60 and (pool["label"] != PASS).sum() == 6
    for name in ("base", "validation", "kpi"):  # nothing else changes with the pool
        assert read_table(whole / TABLES[name]).equals(read_table(tmp_path / "w" / TABLES[name]))


def test_without_a_number_of_rows_the_pool_is_the_largest_of_its_share(copy, whole, tmp_path):
    import_deeppcb(copy, tmp_path / "w", replace(LINE, pool_rows=None))
    every, pool = pool_of(whole), pool_of(tmp_path / "w")
    good = int((every["label"] == PASS).sum())
    assert int((pool["label"] == PASS).sum()) in (good, good - 1)
    assert (pool["label"] != PASS).mean() == pytest.approx(0.1, abs=0.02)


def test_near_copies_and_wrong_labels_are_as_many_as_asked_and_told_beside_the_pool(copy, tmp_path):
    line = replace(LINE, pool_near_copies=0.4, pool_wrong_labels=0.2)
    import_deeppcb(copy, tmp_path / "w", line)
    pool = pool_of(tmp_path / "w")
    truth = pd.read_csv(tmp_path / "w" / layout.POOL_DIR / TRUTH, keep_default_na=False)
    assert truth["object_name"].tolist() == pool["object_name"].tolist()
    assert truth["label"].tolist() == pool["label"].tolist()
    assert (truth["copy_of"] != "").sum() == 24 and len(pool) == 60
    bad = truth["true_label"] != PASS
    assert bad.sum() == 6, "copies keep the share"
    wrong = (truth["label"] == PASS) != (truth["true_label"] == PASS)
    assert (wrong & bad).sum() == 1 and (wrong & ~bad).sum() == 11
    root = tmp_path / "w" / layout.POOL_DIR
    by_name = dict(zip(pool["object_name"], pool["input_path"], strict=True))
    for row in truth[truth["copy_of"] != ""].itertuples():
        one, other = (
            np.asarray(Image.open(root / by_name[n]), int) for n in (row.object_name, row.copy_of)
        )
        assert (one != other).any(), "no equal picture"
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.75, "and the same scene"


def test_a_pool_that_the_groups_cannot_give_stops_and_says_what_they_have(copy, tmp_path):
    with pytest.raises(HardStop, match=r"takes 500 defective windows; the pool groups have \d+"):
        import_deeppcb(copy, tmp_path / "w", replace(LINE, pool_rows=5000))
    assert not (tmp_path / "w" / layout.POOL_TABLE).exists()


def test_a_workspace_of_an_earlier_version_is_still_its_own(copy, tmp_path):
    import_deeppcb(copy, tmp_path / "w", SMALL)
    record = next((tmp_path / "w").glob("*.json"), None) or next((tmp_path / "w").glob(".*json"))
    assert "pool_rows" not in record.read_text()


def test_a_missing_copy_is_named(tmp_path):
    with pytest.raises(HardStop, match="does not exist") as stop:
        import_deeppcb(tmp_path / "nowhere", tmp_path / "out", SMALL)
    assert stop.value.code == "missing_input"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3", "3 values instead of five"),
        ("1 2 30 40 7", "type 7"),
        ("30 2 3 40 1", "empty box"),
        ("1.5 2 30 40 1", "no whole number"),
    ],
)
def test_a_broken_box_line_is_named_with_file_and_line(tmp_path, line, message):
    file = tmp_path / "boxes.txt"
    file.write_text(f"10 10 20 20 1\n\n{line}\n")
    with pytest.raises(HardStop, match=message) as stop:
        read_boxes(file)
    assert (stop.value.code, stop.value.rows, stop.value.file) == ("csv_invalid", [3], str(file))


@pytest.mark.parametrize("line", ["1 2 3 4 5", "1,2,3,4,5", " 1, 2, 3, 4, 5 "])
def test_box_lines_take_spaces_and_commas(tmp_path, line):
    file = tmp_path / "boxes.txt"
    file.write_text(line)
    assert read_boxes(file) == [Box(1, 2, 3, 4, "copper")]


def test_a_picture_without_template_is_named(copy, tmp_path):
    folder = tmp_path / "PCBData" / "group00001"
    (folder / "00001").mkdir(parents=True)
    (folder / "00001" / "00001000_test.jpg").write_bytes(b"")
    with pytest.raises(HardStop, match="has no template"):
        find_groups(tmp_path)


def spoil_deep(path):
    cv2.imwrite(str(path.with_suffix(".png")), np.full((SIDE, SIDE), 4000, np.uint16))
    path.with_suffix(".png").replace(path)


def spoil_turned(path):
    exif = Image.Exif()
    exif[0x0112] = 3  # by half a turn: the size stays
    with Image.open(path) as picture:
        picture.save(path, exif=exif)


@pytest.mark.parametrize(
    ("spoil", "words"), [(spoil_deep, "deeper than 8 bits"), (spoil_turned, "EXIF orientation 3")]
)
def test_a_board_picture_that_would_be_changed_in_reading_is_refused(copy, tmp_path, spoil, words):
    root = shutil.copytree(copy, tmp_path / "copy")
    picture = next(iter(find_groups(root).values()))[0]
    spoil(picture.test)
    with pytest.raises(HardStop) as caught:
        read_pair(picture)
    assert caught.value.code == "image_invalid" and words in caught.value.message
    assert caught.value.file == str(picture.test)


def test_a_second_import_has_nothing_to_do_and_another_is_refused(copy, imported):
    before = digests(imported)
    assert import_deeppcb(copy, imported, SMALL) == {}
    with pytest.raises(HardStop, match="window: there 64, asked 96"):
        import_deeppcb(copy, imported, replace(SMALL, window=96))
    assert digests(imported) == before


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(0, 560),
    y=st.integers(0, 560),
    w=st.integers(1, 78),
    h=st.integers(1, 78),
    side=st.integers(80, 200),
    seed=st.integers(0, 99),
)
def test_a_defect_window_holds_its_box_and_lies_in_the_picture(x, y, w, h, side, seed):
    box = Box(x, y, x + w, y + h, "open")
    (window,) = defect_windows([box], (640, 640), side, np.random.default_rng(seed))
    assert 0 <= window.x <= 640 - side and 0 <= window.y <= 640 - side
    assert window.x <= box.x1 and box.x2 <= window.x + side
    assert window.y <= box.y1 and box.y2 <= window.y + side


def test_pass_windows_avoid_boxes_and_blanks():
    picture = np.full((200, 200), 255, np.uint8)
    picture[:, 100:] = 0
    box = Box(90, 0, 110, 100, "open")
    found = pass_windows(picture, [box], 32, 20, np.random.default_rng(0))
    assert len(found) == 20
    for window in found:
        assert window.y > 100 and window.x < 100 < window.x + 32
    assert pass_windows(np.zeros_like(picture), [], 32, 5, np.random.default_rng(0)) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_drawn_defects_change_copper_the_right_way(defect):
    """Opens, bites and holes take copper away; shorts, spurs and islands add it."""
    rng = np.random.default_rng(1)
    good = draw_board(rng)[1][:96, :96]
    tries = [draw_defect(good, defect, rng) for _ in range(40)]
    drawn = [bad for bad in tries if bad is not None]
    assert len(drawn) >= 5
    copper = int((good < 128).sum())
    for bad in drawn:
        changed = int((bad < 128).sum()) - copper
        assert (changed < 0) == (defect in ("open", "mousebite", "pin-hole"))
        pieces = [cv2.connectedComponents((p < 128).astype(np.uint8))[0] for p in (good, bad)]
        if defect == "short":
            assert pieces[1] < pieces[0]
        if defect in ("open", "copper"):
            assert pieces[1] > pieces[0]


def test_the_command_prints_licence_and_counts_and_logs(copy, tmp_path):
    command = [
        sys.executable,
        str(REPOSITORY / "scripts" / "import_deeppcb.py"),
        *("--out", str(tmp_path / "o u t"), "--seed", "2", "--log", str(tmp_path / "log.txt")),
        *("--config-json", f'{{"root": "{copy}", "window": 64, "pass_per_image": 2}}'),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "LICENSE file is MIT" in done.stdout and "pregen" in done.stdout
    assert (tmp_path / "log.txt").read_text() == done.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing to do" in again.stdout


@pytest.mark.skipif(not (REAL / "PCBData").is_dir(), reason="no DeepPCB copy (DEEPPCB_ROOT)")
def test_a_real_copy_imports_whole(tmp_path):
    wanted = Settings(images_per_group=6, pass_per_image=4, base_rows=20)
    counts = import_deeppcb(REAL, tmp_path / "out", wanted)
    check_whole(REAL, tmp_path / "out")
    assert set(counts["kpi"]) == {PASS, *DEFECTS}


def test_a_pool_without_any_good_window_is_no_crash(copy, tmp_path: Path) -> None:
    settings = Settings(root=str(copy), pool_near_copies=0.2).resolve(find_groups(copy))
    picture = next(iter(find_groups(copy).values()))[0]
    crops = [Crop(picture, Window(0, 0, 64, "open"), f"w{i}") for i in range(4)]
    with pytest.raises(HardStop, match="0 good windows"):
        as_on_a_line(crops, settings)
