"""Two folders to score: no part in them may stay unjudged without a word."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from handoff_folder import made_bundle
from PIL import Image

from deft.score_kit.command import main
from deft.score_kit.errors import Stop
from deft.score_kit.prepare import read_facts
from deft.score_kit.table import read_folders

TWO = {"num_input": 2, "input_map": {"A": 0, "B": 1}}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A hand-off of one light (A) and one of two; read only."""
    root = tmp_path_factory.mktemp("bundles")
    made_bundle(root / "one/best_model")
    made_bundle(root / "two/best_model", **TWO)
    return root


def drawn(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(path, "PNG")


def scored(bundles, kind, place):
    given = ["--test", str(place / "t"), "--golden", str(place / "g"), "--device", "cpu"]
    return main(bundles / kind / "best_model", [*given, "--out", str(place / "o.csv")])


LEFT_OUT = {  # kind of model -> files beside those of p0, and what the stop says
    "no first light": ("two", ["p1_B.png"], "1 of 2 parts lack a picture", "t/p1_A.png"),
    "no second light": ("two", ["p1_A.png"], "1 of 2 parts lack a picture", "t/p1_B.png"),
    "capital ending": ("two", ["p1_A.PNG", "p1_B.png"], "1 picture(s)", "p1_A.PNG"),
    "capital endings": ("two", ["p1_A.PNG", "p1_B.PNG"], "2 picture(s)", "p1_A.PNG, p1_B.PNG"),
    "below": ("two", ["b7/p1.png"], "1 picture(s) in the folder would not be", "b7/p1.png"),
    "no light": ("one", ["p1.png", "p2.jpg"], "2 picture(s)", "p1.png, p2.jpg"),
    "numbered": ("one", ["p0_2.png"], "1 picture(s)", "p0_2.png"),
    "only a light": ("one", ["_A.png"], "1 picture(s)", "_A.png"),
    "another kind": ("one", ["p1.webp"], "1 picture(s)", "p1.webp"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_part_that_would_not_be_judged_is_a_stop(bundles, tmp_path, capsys, name):
    kind, files, what, which = LEFT_OUT[name]
    lights = {"one": ["p0_A.png"], "two": ["p0_A.png", "p0_B.png"]}[kind]
    drawn(tmp_path / "t", *lights, *files)
    shutil.copytree(tmp_path / "t", tmp_path / "g")
    assert scored(bundles, kind, tmp_path) == 1
    said = capsys.readouterr().err
    assert said.startswith("STOP missing_input") and what in said and which in said
    assert "\n  do: " in said and not list(tmp_path.glob("o.*"))


def test_kinds_that_are_not_read_are_a_stop_where_no_name_has_a_light(bundles, tmp_path, capsys):
    for side in "tg":
        drawn(tmp_path / side, "a.png", "b.jfif", "c.DIB", "d.JPEG", "e.tif")
    (tmp_path / "t/Thumbs.db").write_bytes(b"no picture")
    (tmp_path / "t/notes.txt").write_bytes(b"no picture")
    assert scored(bundles, "one", tmp_path) == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 1 + 5
    refused = ["f.webp", "g.gif", "h.jp2", "i.PGM", "j.avif", "k.heic"]
    drawn(tmp_path / "t", *refused)
    capsys.readouterr()
    assert scored(bundles, "one", tmp_path) == 1
    said = capsys.readouterr().err
    assert "6 picture(s) in the folder would not be scored: f.webp, g.gif" in said
    assert "and 1 more" in said and "save them as PNG, JPEG, BMP or TIFF" in said


def test_what_is_no_part_may_stand_beside(bundles, tmp_path):
    for side in "tg":
        drawn(tmp_path / side, "p0_A.png", "p0_B.png", "p0_Bottom.png", "._p1_A.png")
    (tmp_path / "t/Thumbs.db").write_bytes(b"no picture")
    assert scored(bundles, "two", tmp_path) == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == 1 + 1


def test_folders_that_are_not_walked_are_a_stop(bundles, tmp_path, monkeypatch):
    facts = read_facts(bundles / "one/best_model")
    for side in "tg":
        drawn(tmp_path / side, "p0_A.png")
    drawn(tmp_path / "elsewhere", "p1_A.png")
    link = tmp_path / "t/more"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Stop, match="a link to a folder is not followed"):
        read_folders(tmp_path / "t", tmp_path / "g", facts)
    link.unlink()
    (tmp_path / "t/shut").mkdir()
    real = __import__("os").scandir

    def scandir(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(Stop, match=r"cannot be listed \(Permission denied\)"):
        read_folders(tmp_path / "t", tmp_path / "g", facts)
