"""Goldens for parts that have none: who becomes one, who gets which, how well it fits."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import unpaired_sets as sets

from deft.core.errors import HardStop
from deft.importers.goldens import Search, find_goldens
from deft.importers.layouts import real_iad, visa
from deft.importers.parts import FoundPart, Picture
from deft.importers.picture_tree import tree_of
from deft.tables.changenet_table import PASS

DEEPPCB = Path(os.environ.get("DEEPPCB_ROOT", "/nowhere")) / "PCBData"


@pytest.fixture(scope="module")
def visa_root(tmp_path_factory) -> Path:
    return sets.visa(tmp_path_factory.mktemp("goldens") / "visa")


@pytest.fixture
def parts(visa_root) -> list[FoundPart]:
    return visa.find(tree_of(visa_root)).parts


def written(folder: Path, name: str, pixels: np.ndarray, label: str = PASS, **more) -> FoundPart:
    path = folder / f"{name}.png"
    sets.save(path, pixels)
    found = FoundPart(name, "", label, {"": Picture(path)}, f"{name}.png", part_type="x")
    return replace(found, **more)


def test_goldens_are_good_parts_of_the_type_and_become_no_rows(parts) -> None:
    found = find_goldens(parts, Search(share=0.25))
    assert len(found.reserved) == 6 and all(part.good for part in found.reserved)
    assert len(found.parts) == len(parts) - 6 == len(found.pairs) and not found.left_over
    rows = {part.pictures[""].path for part in found.parts}
    for part in found.parts:
        ((golden,),) = part.goldens.values()
        assert golden.path not in rows
        assert f"/{part.part_type}/Data/Images/Normal/" in str(golden.path)
    assert "goldens: 6 of 24 good part(s) are set aside and become no rows" in found.notes
    assert all(pair.quality > 0.7 for pair in found.pairs), sorted(p.quality for p in found.pairs)


def test_the_choice_depends_on_names_and_seed_alone(parts) -> None:
    first, again = find_goldens(parts), find_goldens(list(reversed(parts)))
    chosen = {part.name for part in first.reserved}
    assert chosen == {part.name for part in again.reserved}
    assert {p.part.name: (p.golden, p.quality) for p in first.pairs} == {
        p.part.name: (p.golden, p.quality) for p in again.pairs
    }
    seeds = [{p.name for p in find_goldens(parts, Search(seed=s)).reserved} for s in range(4)]
    assert any(names != chosen for names in seeds)


def test_each_part_gets_the_golden_that_shows_its_own_pattern(tmp_path) -> None:
    """Two revisions of one board: no part is compared with the other revision."""
    parts = []
    for number in range(8):
        for revision in ("rev a", "rev b"):
            name = f"{revision}{number}"
            parts.append(written(tmp_path, name, sets.shot(revision, number)))
    parts.append(written(tmp_path, "rev b bad", sets.shot("rev b", 20, "bent"), "bent"))
    found = find_goldens(parts, Search(share=0.5))
    both = {part.name[:5] for part in found.reserved}
    assert both == {"rev a", "rev b"}
    for pair in found.pairs:
        assert pair.part.name[:5] == pair.golden.stem[:5]


def test_a_part_that_lies_off_is_laid_on_before_it_is_judged(tmp_path) -> None:
    turned = cv2.getRotationMatrix2D((sets.WIDTH / 2, sets.HEIGHT / 2), 2.0, 1)
    turned[:, 2] += (3, -2)
    size = (sets.WIDTH, sets.HEIGHT)
    golden = sets.shot("board", 0, shift=0)
    off = cv2.warpAffine(golden, turned, size, borderMode=cv2.BORDER_REFLECT)
    parts = [
        written(tmp_path, "golden", golden),
        written(tmp_path, "off", off, "bent"),
    ]
    (pair,) = find_goldens(parts, Search(share=1.0)).pairs
    assert pair.quality > 0.9 and pair.shift_pct > 1.5
    assert pair.rotation_deg == pytest.approx(2.0, abs=0.6)


def test_what_resembles_no_golden_is_left_over_by_the_floor(parts, tmp_path) -> None:
    stranger = written(tmp_path, "stranger", sets.shot("another", 3), "bent", part_type="pcb1")
    found = find_goldens([*parts, stranger])
    assert "stranger.png: its best golden has quality 0." in "\n".join(
        f"{one.what}: {one.why}" for one in found.left_over
    )
    assert "1 part(s) below the floor of 0.3: bent 1" in found.notes
    kept = find_goldens([*parts, stranger], Search(floor=0.0))
    assert len(kept.parts) == len(found.parts) + 1 and not kept.left_over
    worst = min(kept.pairs, key=lambda pair: pair.quality)
    assert worst.part.name == "stranger" and 0 <= worst.quality < 0.3
    assert any("worst stranger" in note for note in kept.notes)


def test_a_picture_that_is_a_golden_under_another_name_becomes_no_row(tmp_path) -> None:
    """Boxes count too: a copy of a golden, defective or good, says nothing beside itself."""
    same = sets.shot("board", 0)
    parts = [written(tmp_path, f"good {i}", sets.shot("board", i)) for i in range(1, 9)]
    golden = find_goldens(parts).reserved[0]
    copy = tmp_path / "copy.png"
    copy.write_bytes(golden.pictures[""].path.read_bytes())
    twin = FoundPart("twin", "", "bent", {"": Picture(copy)}, "copy.png", part_type="x")
    other = written(tmp_path, "other", same, "bent")
    found = find_goldens([*parts, twin, other])
    assert found.reserved == [golden]
    (left,) = found.left_over
    assert left.what == "copy.png" and left.why == f"the same pixels as the golden {golden.origin}"


def test_windows_of_a_picture_are_compared_not_the_picture(tmp_path) -> None:
    board = np.hstack([sets.shot("left", 0), sets.shot("right", 0)])
    again = np.hstack([sets.shot("left", 1), sets.shot("right", 1, "bent")])
    left, right = (0, 0, sets.WIDTH, sets.HEIGHT), (sets.WIDTH, 0, sets.WIDTH, sets.HEIGHT)
    parts = []
    for name, pixels in (("a", board), ("b", again)):
        sets.save(tmp_path / f"{name}.png", pixels)
        for place, box in (("left", left), ("right", right)):
            label = "bent" if (name, place) == ("b", "right") else PASS
            picture = Picture(tmp_path / f"{name}.png", box)
            parts.append(FoundPart(f"{name}{place}", name, label, {"": picture}, f"{name}.png"))
    found = find_goldens(parts)
    assert [part.name for part in found.reserved] == ["aleft", "aright"]  # a whole board
    assert {p.part.name: p.part.goldens[""][0].box for p in found.pairs} == {
        "bleft": left,
        "bright": right,
    }


def test_a_samples_views_stay_together_and_goldens_show_the_same_view(tmp_path) -> None:
    parts = real_iad.find(tree_of(sets.real_iad(tmp_path))).parts
    found = find_goldens(parts, Search(share=0.25))
    boards = {part.board for part in found.reserved}
    assert len(boards) == 2 and len(found.reserved) == 6
    assert not boards & {part.board for part in found.parts}
    for part in found.parts:
        assert part.goldens[""][0].path.stem.split("_")[3] == part.part_type[-2:]


def test_views_as_lights_come_from_one_golden_part(tmp_path) -> None:
    parts = real_iad.find(tree_of(sets.real_iad(tmp_path)), views="lights").parts
    found = find_goldens(parts, Search(share=0.25))
    assert found.pairs
    for part in found.parts:
        goldens = {view: golden.path for view, (golden,) in part.goldens.items()}
        assert list(goldens) == ["C1", "C2", "C3"]
        assert len({path.parent for path in goldens.values()}) == 1
        assert all(f"_{view}_" in path.name for view, path in goldens.items())


def test_the_published_test_set_gives_no_goldens(visa_root) -> None:
    parts = visa.find(tree_of(visa_root), keep_split=True).parts
    found = find_goldens(parts, Search(share=1.0))
    assert found.reserved and {part.role for part in found.reserved} == {"base"}
    assert sum(part.role == "kpi" and part.good for part in found.parts) == 8


def test_a_broken_picture_and_a_type_without_a_good_part_are_told(parts, tmp_path) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    picture = {"": Picture(tmp_path / "empty.jpg")}
    broken = FoundPart("broken", "", "bent", picture, "empty.jpg", part_type="pcb1")
    alone = written(tmp_path, "alone", sets.shot("pcb1", 99), "bent", part_type="pcb9")
    found = find_goldens([*parts, broken, alone])
    whys = {one.what: one.why for one in found.left_over}
    assert whys["empty.jpg"].startswith("empty.jpg: ")
    assert whys["alone.png"] == "no good part of type 'pcb9' is left to be its golden"
    with pytest.raises(HardStop, match=r"none of 1 part\(s\) without goldens") as stop:
        find_goldens([alone])
    assert stop.value.code == "missing_input" and "pcb9" in stop.value.message


def test_parts_that_have_goldens_keep_them_and_give_none(parts) -> None:
    has = [replace(part, goldens={"": [part.pictures[""]]}) for part in parts[:3]]
    found = find_goldens([*has, *parts[3:]])
    assert found.parts[:3] == has
    assert not {id(part) for part in has} & {id(part) for part in found.reserved}
    assert find_goldens(has).parts == has


@pytest.mark.skipif(not DEEPPCB.is_dir(), reason="no DeepPCB copy (DEEPPCB_ROOT)")
def test_real_boards_find_their_own_templates(tmp_path) -> None:
    """24 boards with defects, 5 px off, among the templates of all: each finds its own."""
    tested = sorted(DEEPPCB.glob("group*/*/*_test.jpg"))
    window, parts = 320, []
    for path in tested[:: len(tested) // 24][:24]:
        temp = path.with_name(path.name.replace("_test", "_temp"))
        good = {"": Picture(temp, (100, 100, window, window))}
        bad = {"": Picture(path, (104, 97, window, window))}
        parts.append(FoundPart(temp.stem[:8], "", PASS, good, temp.name))
        parts.append(FoundPart(path.stem[:8], "", "defect", bad, path.name))
    found = find_goldens(parts, Search(share=1.0))
    assert len(found.pairs) == 24 and not found.left_over
    assert all(pair.golden.name[:8] == pair.part.name for pair in found.pairs)
    assert min(pair.quality for pair in found.pairs) > 0.7
    shifts = [pair.shift_pct for pair in found.pairs]
    assert np.median(shifts) == pytest.approx(100 * 5 / window, abs=0.3)
