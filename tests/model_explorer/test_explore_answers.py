"""Known answers of given inputs: the right answer to the right file, or none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deft.core.errors import HardStop
from model_explorer.found_inputs import collect, decodes
from model_explorer.known_answers import Known
from model_explorer.table_rows import sample

CONTRACT = {"inputs": [{"name": "x"}], "preprocess": {"x": {}}, "postprocess": {"kind": "unknown"}}


@pytest.fixture
def classes(tmp_path) -> Path:
    """A folder a class, with the same file names in each."""
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (2, 2)).save(tmp_path / "in" / name / f"{number:03d}.png")
    return tmp_path / "in"


def test_files_of_one_name_keep_their_own_answers(tmp_path, classes):
    table = tmp_path / "labels.csv"
    rows = [f"{c}/{n:03d}.png,{c}" for c in ("cat", "dog") for n in range(4)]
    table.write_text("\n".join(["file,label", *rows]))
    found = collect(
        tmp_path, CONTRACT, given=classes, labels=table, workspace=tmp_path, count=4
    )  # fmt: skip
    pairs = [(item["origin"].split("/")[0], item["label"]) for item in found["items"]]
    assert pairs == [("cat", "cat"), ("cat", "cat"), ("dog", "dog"), ("dog", "dog")]


def test_a_name_is_enough_where_it_gives_one_answer(tmp_path, classes):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n000.png,cat\ndog/000.png,dog\nin/cat/001.png,cat\n")
    known = Known(table, classes)
    assert known.label(classes / "cat/000.png") == "cat"
    assert known.label(classes / "dog/000.png") == "dog"
    assert known.label(classes / "cat/001.png") == "cat"
    assert known.label(classes / "dog/001.png") is None
    found = known.only(sorted(classes.rglob("001.png")), CONTRACT)
    assert [p.parent.name for p in found] == ["cat"]


def decoding(labels: list[str] | None = None) -> dict:
    """A contract of three classes."""
    post = {"kind": "softmax_top", **({"labels": labels} if labels else {})}
    return {**CONTRACT, "postprocess": post, "outputs": [{"run_shape": [1, 3]}]}


@pytest.mark.parametrize(
    ("answers", "labels", "words", "rows"),
    [
        (["CAT", "dog"], ["cat", "dog", "cow"], "1 of 2 .*'CAT'.*only upper and lower case", [2]),
        (["Katze", "Hund"], ["cat", "dog", "cow"], "2 of 2 .*'Katze', 'Hund'.*are cat,", [2, 3]),
        (["cat", ""], ["cat", "dog", "cow"], "1 of 2 .*''", [3]),
        (["0", "1"], ["cat", "dog", "cow"], "2 of 2 .*'0', '1'", [2, 3]),
        (["0", "3"], None, "1 of 2 .*number of a class, 0 to 2: '3'", [3]),
        (["cat", "1"], None, "1 of 2 .*number of a class, 0 to 2: 'cat'", [2]),
        (["9" * 5000, "1"], None, "1 of 2 ", [2]),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_class_is_refused_and_not_counted_as_wrong(
    tmp_path, classes, answers, labels, words, rows
):
    table = tmp_path / "labels.csv"
    lines = [f"cat/{n:03d}.png,{answer}" for n, answer in enumerate(answers)]
    # A row of no input may say what it likes.
    table.write_text("\n".join(["file,label", *lines, "gone.png,zebra"]))
    with pytest.raises(HardStop, match=words) as stop:
        collect(tmp_path, decoding(labels), given=classes, labels=table, workspace=tmp_path,
                count=4)  # fmt: skip
    assert (stop.value.code, stop.value.rows) == ("csv_invalid", rows)
    assert "contract.labels" in stop.value.fix
    assert len(stop.value.evidence["needs"]) == 1


@pytest.mark.parametrize(
    "paths", [("C:\\AOI\\in\\a.png", "C:\\AOI\\in\\b.png"), ("/gone/a.png", "\\\\nas\\in\\b.png")]
)  # fmt: skip
def test_whole_paths_of_another_machine_count_by_their_last_part(tmp_path, paths):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\n{paths[0]},cat\n{paths[1]},dog\n")
    found = collect(tmp_path, decoding(["cat", "dog", "cow"]), given=tmp_path, labels=table,
                    workspace=tmp_path, count=9)  # fmt: skip
    assert [(i["origin"], i["label"]) for i in found["items"]] == [
        ("a.png", "cat"), ("b.png", "dog")]  # fmt: skip
    said = f"2 by their name alone, as {paths[0]} is no path here"
    assert found["answers_from"] == f"2 of 2 files of labels.csv ({said})"


def test_a_last_part_that_two_files_have_is_not_enough(tmp_path, classes):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nC:\\in\\cat\\000.png,cat\n")
    with pytest.raises(HardStop, match="none of the 1 files .*8 inputs.*000.png.*'cat/000.png'"):
        Known(table, classes).only(sorted(classes.rglob("*.png")), decoding())
    table.write_text("file,label\nsub\\a\\000.png,cat\ncat\\001.png,cat\n")
    known = Known(table, classes)  # backslashes part folders
    assert known.only(sorted(classes.rglob("*.png")), CONTRACT) == [classes / "cat/001.png"]


def test_a_row_of_another_file_here_is_not_taken_by_its_name(tmp_path, classes):
    other = tmp_path / "000.png"
    Image.new("RGB", (2, 2)).save(other)
    table = tmp_path / "labels.csv"
    table.write_text(f"file,label\n{other},cat\n")
    with pytest.raises(HardStop, match="none of the 1 files"):
        Known(table, classes).only([classes / "cat/000.png"], CONTRACT)


def test_answers_are_asked_of_pictures_that_were_found_too(tmp_path, classes):
    (tmp_path / "data").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "data" / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\ndata/b.png,cat\n")
    asked = {"given": None, "labels": table, "workspace": tmp_path, "count": 4}
    found = collect(tmp_path, decoding(["cat", "dog", "cow"]), **asked)
    assert [i["label"] for i in found["items"]] == ["cat"]
    for text, words in (("data/b.png,Cat", "no name of"), ("x.png,cat", "none of the 1 files")):
        table.write_text(f"file,label\n{text}\n")
        with pytest.raises(HardStop, match=words):
            collect(tmp_path, decoding(["cat", "dog", "cow"]), **asked)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"file,label\na.png,x\n./a.png,y\n", "two different answers"),
        (b"name,label\na.png,x\n", "columns"),
        (b"file,label\n", "a row"),
        (b"file,label\n\xff\xfe,x\n", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(tmp_path, text, words):
    table = tmp_path / "labels.csv"
    table.write_bytes(text)
    with pytest.raises(HardStop, match=words) as stop:
        Known(table, tmp_path)
    assert stop.value.code == "csv_invalid"


def test_arrays_that_are_cut_off_are_refused(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.zeros(9))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HardStop) as stop:
        collect(tmp_path, CONTRACT, given=path, labels=None, workspace=tmp_path, count=1)
    assert stop.value.code == "missing_input"


def test_pictures_that_reading_would_change_are_no_inputs(tmp_path, classes):
    """Sixteen bits would be cut to eight, an orientation ignored, one of several taken."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, made, how in (
        ("deep.png", Image.fromarray(np.full((2, 2), 900, np.uint16)), {}),
        ("turned.jpg", Image.new("RGB", (2, 2)), {"exif": exif}),
        ("two.tif", Image.new("L", (2, 2)), {"save_all": True, "append_images": [
            Image.new("L", (2, 2), 9)]}),
    ):  # fmt: skip
        made.save(classes / name, **how)
        with pytest.raises(HardStop) as stop:
            collect(tmp_path, CONTRACT, given=classes, labels=None, workspace=tmp_path, count=9)
        assert (stop.value.code, stop.value.file) == ("image_invalid", str(classes / name))
        assert not decodes(classes / name)  # found ones are passed over
        (classes / name).unlink()


def test_litter_beside_given_pictures_is_no_picture(tmp_path, classes):
    (classes / "._000.png").write_bytes(b"\0\5\x16\7")
    found = collect(tmp_path, CONTRACT, given=classes, labels=None, workspace=tmp_path, count=9)
    assert len(found["items"]) == 8


@pytest.mark.parametrize(("found", "count"), [(0, 3), (2, 3), (7, 3), (8, 4), (100, 7)])
def test_a_sample_is_spread_over_the_whole_list(found, count):
    chosen = sample(list(range(found)), count)
    assert len(chosen) == min(found, count) and chosen == sorted(set(chosen))
    if found > count:
        assert chosen[-1] >= found - -(-found // count)
