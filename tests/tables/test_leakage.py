"""Leakage by key, by decoded pixels under another name, and near-duplicates that only warn."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deft.core.errors import HardStop
from deft.core.files import to_json
from deft.tables.fingerprint import Fingerprint, fingerprint, fingerprints
from deft.tables.leakage import (
    NEAR_BITS,
    Side,
    check_leakage,
    compare,
    content_digests,
    find_content_leaks,
    find_key_leaks,
    find_near_duplicates,
    pixel_digest,
)


def picture(path: Path, seed: int, size: int = 24) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(np.kron(coarse, np.ones((size // 6, size // 6, 1), np.uint8))).save(path)
    return path


def rows(folder: str, names: list[str], **columns: str) -> pd.DataFrame:
    given = {"golden_path": "g", "label": "PASS", **columns}
    return pd.DataFrame({"input_path": folder, "object_name": names, **given})


def check(workspace: Path, a: pd.DataFrame, b: pd.DataFrame, **options) -> list[str]:
    side_a, side_b = Side("mining pool", "pool.csv", a), Side("KPI", "kpi.csv", b)
    options = {"lights": ["L"], "ext": ".png", **options}
    return check_leakage([side_a], [side_b], workspace=workspace, **options)


def test_a_leak_of_a_table_that_is_a_path_can_be_written_down(tmp_path):
    table = rows("a", ["P0"])
    mined, kpi = Side("mined rows", tmp_path / "m.csv", table), Side("KPI", "kpi.csv", table)
    with pytest.raises(HardStop) as stopped:
        check_leakage([mined], [kpi], workspace=tmp_path, lights=["L"], ext=".png")
    written = json.loads(to_json(stopped.value.as_dict()))
    assert written["evidence"]["files"] == [str(tmp_path / "m.csv"), "kpi.csv"]


def test_digest_sees_pixels_not_files(tmp_path):
    png = picture(tmp_path / "a.png", 1)
    Image.open(png).save(tmp_path / "b.bmp")
    other = picture(tmp_path / "c.png", 2)
    grey = Image.open(png).convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "grey_as_rgb.png")
    assert pixel_digest(png) == pixel_digest(tmp_path / "b.bmp")
    assert pixel_digest(png) != pixel_digest(other)
    assert pixel_digest(tmp_path / "grey.png") == pixel_digest(tmp_path / "grey_as_rgb.png")


def test_digest_keeps_shape_and_deep_grey_apart(tmp_path):
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.zeros((8, 4), np.uint8)).save(tmp_path / "tall.png")
    Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(tmp_path / "deep1.png")
    Image.fromarray(np.full((4, 4), 50000, np.uint16)).save(tmp_path / "deep2.png")
    names = ("wide", "tall", "deep1", "deep2")
    files = [tmp_path / f"{n}.png" for n in names]
    assert len(set(content_digests(files, levels=65535))) == 4
    with pytest.raises(HardStop, match="largest level 60000"):
        content_digests(files)  # how bright they are, only picture_levels can say


def test_a_changed_file_is_hashed_again(tmp_path):
    path = picture(tmp_path / "a.bmp", 1)  # uncompressed: both states have the same size
    before, status = pixel_digest(path), path.stat()
    picture(path, 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert path.stat().st_size == status.st_size
    assert pixel_digest(path) != before


@pytest.mark.parametrize(
    ("damage", "code"),
    [("missing", "missing_input"), ("empty", "image_invalid"), ("cut", "image_invalid")],
)
def test_broken_pictures_have_their_code(tmp_path, damage, code):
    path = tmp_path / "a.jpg"
    picture(path, 1, size=96)
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(HardStop) as stop:
        pixel_digest(path)
    assert stop.value.code == code
    assert stop.value.file == str(path)
    assert fingerprints([path], skip_broken=True) == [None]


def test_dhash_equals_the_published_one(tmp_path):
    path = picture(tmp_path / "a.png", 3, size=60)
    assert f"{fingerprint(path).dhash:016x}" == str(imagehash.dhash(Image.open(path)))


def test_key_uses_the_columns_of_both_sides_only():
    a = rows("kpi/images/b", ["C1"], boardname="b1")
    padded = rows("kpi/images/./b", ["C1"], boardname="")
    other_board = rows("kpi/images/b", ["C1"], boardname="b2")
    assert [(leak.a, leak.b) for leak in find_key_leaks(a, padded)] == [(0, 0)]
    assert find_key_leaks(a, other_board) == []


def test_key_compares_labels_as_training_does():
    a, b = rows("x", ["C1"], label="Bridge "), rows("x", ["C1"], label="bridge")
    assert len(find_key_leaks(a, b)) == 1
    assert find_key_leaks(a, rows("x", ["C1"], label="missing")) == []


def test_a_copy_under_another_name_stops_and_names_the_rows(tmp_path):
    for i in range(4):
        picture(tmp_path / f"pool/P{i}_L.png", i)
        picture(tmp_path / f"kpi/K{i}_L.png", 10 + i)
    shutil.copy(tmp_path / "kpi/K3_L.png", tmp_path / "pool/P1_L.png")
    shutil.copy(tmp_path / "kpi/K0_L.png", tmp_path / "pool/P2_L.png")
    pool, kpi = rows("pool", ["P0", "P1", "P2", "P3"]), rows("kpi", ["K0", "K1", "K2", "K3"])
    with pytest.raises(HardStop) as stop:
        check(tmp_path, pool, kpi)
    assert stop.value.code == "leakage"
    assert (stop.value.file, stop.value.rows) == ("pool.csv", [3, 4])
    assert "row 3" in str(stop.value) and "row 5 of kpi.csv" in str(stop.value)
    assert stop.value.evidence["pairs"] == [[3, 5], [4, 2]]


def test_content_leakage_may_warn_but_a_key_never(tmp_path):
    picture(tmp_path / "pool/P0_L.png", 1)
    picture(tmp_path / "kpi/K0_L.png", 1)
    pool, kpi = rows("pool", ["P0"]), rows("kpi", ["K0"])
    warnings = check(tmp_path, pool, kpi, content_leakage="warn")
    assert len(warnings) == 1 and "same test picture" in warnings[0]
    with pytest.raises(HardStop, match="same sample"):
        check(tmp_path, kpi, kpi, content_leakage="warn")


def test_shared_goldens_are_no_leakage(tmp_path):
    picture(tmp_path / "pool/P0_L.png", 1)
    picture(tmp_path / "kpi/K0_L.png", 2)
    picture(tmp_path / "golden/P0_L.png", 3)
    picture(tmp_path / "golden/K0_L.png", 3)
    pool = rows("pool", ["P0"], golden_path="golden")
    assert check(tmp_path, pool, rows("kpi", ["K0"], golden_path="golden")) == []


def test_any_light_can_leak(tmp_path):
    for light, seed in (("A", 1), ("B", 2)):
        picture(tmp_path / f"pool/P0_{light}.png", seed)
        picture(tmp_path / f"kpi/K0_{light}.png", seed + 1)
    found = compare(
        Side("pool", "p", rows("pool", ["P0"])),
        Side("KPI", "k", rows("kpi", ["K0"])),
        workspace=tmp_path,
        lights=["A", "B"],
        ext=".png",
    )
    assert [leak.detail for leak in found.content] == ["pool/P0_B.png = kpi/K0_A.png"]


def test_near_duplicates_only_warn(tmp_path):
    path = picture(tmp_path / "kpi/K0_L.png", 1)
    pixels = np.array(Image.open(path))
    pixels[0, 0] ^= 1
    (tmp_path / "pool").mkdir()
    Image.fromarray(pixels).save(tmp_path / "pool/P0_L.png")
    warnings = check(tmp_path, rows("pool", ["P0"]), rows("kpi", ["K0"]))
    assert len(warnings) == 1 and "nearly" in warnings[0]


HASHES = st.integers(1, 2**64 - 1)


@settings(max_examples=60, deadline=None)
@given(
    base=st.lists(HASHES, min_size=1, max_size=12),
    flips=st.lists(st.lists(st.integers(0, 63), max_size=5), min_size=1, max_size=12),
)
def test_banded_search_finds_what_the_full_search_finds(base, flips):
    others = [h ^ sum(1 << b for b in set(f)) for h, f in zip(base, flips, strict=False)]
    a = [(i, f"a{i}", Fingerprint(f"a{i}", h)) for i, h in enumerate(others)]
    b = [(i, f"b{i}", Fingerprint(f"b{i}", h)) for i, h in enumerate(base)]
    expected = {
        i for i, h in enumerate(others) if h and any((h ^ g).bit_count() <= NEAR_BITS for g in base)
    }
    assert {leak.a for leak in find_near_duplicates(a, b)} == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=20), st.lists(st.integers(0, 9), max_size=20))
def test_content_leaks_are_the_common_digests(left, right):
    a = [(i, "", Fingerprint(str(v), 0)) for i, v in enumerate(left)]
    b = [(i, "", Fingerprint(str(v), 0)) for i, v in enumerate(right)]
    found = find_content_leaks(a, b)
    assert [leak.a for leak in found] == [i for i, v in enumerate(left) if v in set(right)]
    assert all(right[leak.b] == left[leak.a] for leak in found)


def test_a_side_looks_at_its_pictures_once(tmp_path, monkeypatch):
    """A pool of a million rows is compared with two held-out tables."""
    from deft.tables import leakage

    rows = pd.DataFrame({"input_path": ["a"], "object_name": ["x"], "label": ["PASS"]})
    asked = []
    looked = leakage.fingerprints

    def count(paths, *args, **options):
        asked.append([str(path) for path in paths])
        return looked(paths, *args, **options)

    monkeypatch.setattr(leakage, "fingerprints", count)
    pool, held = Side("pool", "p.csv", rows), [Side(n, f"{n}.csv", rows) for n in ("val", "kpi")]
    for other in held:
        compare(pool, other, workspace=tmp_path, lights=["L"], ext=".png")
    assert len(asked) == 3
    compare(pool, held[0], workspace=tmp_path, lights=["L", "W"], ext=".png")
    assert len(asked) == 5, "other pictures are looked at"
