"""Drawn boards in folders: what the first hour begins with."""

from pathlib import Path

import pytest

from deft.core.errors import HardStop
from deft.demo.folders import TODAY, make_folders


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


def test_every_picture_has_its_golden_and_no_part_is_twice(tmp_path: Path) -> None:
    counts = make_folders(tmp_path / "a", scale=0.05)
    drawn = _bytes(tmp_path / "a")
    known = [name for name in drawn if name.startswith(("known/OK/", "known/NG/"))]
    today = [name for name in drawn if name.startswith("today/test/")]
    assert len(known) == sum(counts.values()) - counts["today/test"]
    assert len(today) == counts["today/test"] == sum(TODAY.values())
    for name in known:
        assert f"known/golden/{Path(name).name}" in drawn
    for name in today:
        assert name.replace("/test/", "/golden/") in drawn
    names = [Path(name).name for name in (*known, *today)]
    assert len(set(names)) == len(names)
    tests = [drawn[name] for name in (*known, *today)]
    assert len(set(tests)) == len(tests)
    make_folders(tmp_path / "b", scale=0.05)
    assert _bytes(tmp_path / "b") == drawn


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(HardStop, match="taken"):
        make_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
