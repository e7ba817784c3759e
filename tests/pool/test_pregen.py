"""Pre-generated folders as file managers, networks and people leave them; defect_spec.jsonl too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from stage_calls import stage_pool
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.files import read_json
from deft.core.layout import BACKBONE_DIR, DEFECT_SPEC, PREGEN_DIR, PREGEN_NG, PREGEN_OK, Run
from deft.pool.digest import inputs_digest
from deft.pool.pregen.listing import pregen_digest, unread_files
from deft.pool.pregen.parts import check_allocation, label_of, pregen_parts
from deft.pool.pregen.spec import read_defect_spec
from deft.pool.source_pool import check_pregen_unchanged
from deft.stages.context import Context
from deft.tables.changenet_table import read_table

LITTER = (
    "Thumbs.db", ".DS_Store", "desktop.ini", "ehthumbs.db", ".directory", "._b+bridge_1.png",
    ".nfs000000000001.png", "b+bridge_1.png.part", "c.jpg.crdownload", ".~lock.b.png#",
    "~$b.png", "notes.txt",
)  # fmt: skip


@pytest.fixture
def root(tmp_path) -> Path:
    return pairs(tmp_path, "b+bridge_1", "c+missing_2")


def pairs(root: Path, *stems: str | bytes, ext: str = ".png") -> Path:
    for grey, side in enumerate((PREGEN_NG, PREGEN_OK)):
        (root / side).mkdir(parents=True, exist_ok=True)
        for number, stem in enumerate(stems):
            name = os.fsdecode(stem) + ext
            with open(root / side / name, "wb") as handle:
                Image.new("RGB", (4, 4), (90 * grey, number, 5)).save(handle, "png")
    return root


def stop(root: Path, lights: list[str] | None = None) -> HardStop:
    with pytest.raises(HardStop) as caught:
        check_allocation(pregen_parts(root, lights or ["L"], ".png"), root)
    caught.value.text().encode()
    return caught.value


def litter(root: Path) -> None:
    for side in (PREGEN_NG, PREGEN_OK):
        for name in LITTER:
            (root / side / name).write_bytes(b"x")
        (root / side / "@eaDir").mkdir()
        (root / side / "@eaDir" / "b+bridge_1.png").write_bytes(b"x")
    (root / PREGEN_DIR / ".DS_Store").write_bytes(b"x")


def test_litter_neither_ends_a_run_nor_voids_its_approval(tmp_path):
    root = make_tiny_workspace(tmp_path / "w", base=2, validation=2, kpi=2, pool=2, pregen=2)
    (root / BACKBONE_DIR).mkdir(parents=True, exist_ok=True)
    context = Context(Run(root, "run_a"))
    stage_pool(context, "spy")
    path = context.run.synth_pool / "manifest.json"
    before = inputs_digest(root, {})
    litter(root)
    (root / BACKBONE_DIR / "Thumbs.db").write_bytes(b"x")
    check_pregen_unchanged(root, read_json(path), path)
    assert inputs_digest(root, {}) == before
    picture = next((root / PREGEN_NG).glob("B*.png"))
    picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(HardStop) as caught:
        check_pregen_unchanged(root, read_json(path), path)
    assert caught.value.code == "pregen_mutated"
    assert inputs_digest(root, {}) != before


@pytest.mark.parametrize("change", ["add", "remove", "spec"])
def test_listed_files_still_count(root, change):
    before = pregen_digest(root)
    if change == "add":
        pairs(root, "d+bridge_3")
    elif change == "remove":
        for side in (PREGEN_NG, PREGEN_OK):
            (root / side / "b+bridge_1.png").unlink()
    else:
        (root / DEFECT_SPEC).write_text('{"defect_type": "bridge"}\n')
    assert pregen_digest(root) != before


@pytest.mark.parametrize(
    ("stem", "code", "words"),
    [
        ("b+pass_1", "csv_invalid", "'pass' is PASS only after"),
        ("b+Pass_1", "csv_invalid", "is PASS only after"),
        ("b+P\u0410SS_1", "csv_invalid", "looks like PASS"),
        ("b+bri\u200bdge_1", "csv_invalid", "U+200B"),
        ("b+ _1", "csv_invalid", "empty"),
        ("b+x\ny_1", "csv_invalid", "U+000A"),
        ("b\tc+bridge_1", "csv_invalid", "U+0009"),
        ('b"c+bridge_1', "csv_invalid", "quotation mark"),
        (" ", "csv_invalid", "empty object_name"),
        ("x" * 251, "csv_invalid", "255"),
        (b"caf\xe9+bridge_1", "csv_invalid", "not UTF-8"),
    ],
)
def test_names_that_no_table_can_hold_are_found_before_the_run(tmp_path, stem, code, words):
    error = stop(pairs(tmp_path, stem))
    assert error.code == code and words in error.message
    assert str(tmp_path / PREGEN_NG) in str(error.file)


@pytest.mark.parametrize(
    ("stems", "words"),
    [
        (("a+bridge_1", "A+bridge_1"), "differ only in case"),
        (("caf\u00e9", "cafe\u0301"), "Unicode form"),
        (("a", "a_L"), "never be used"),
    ],
)
def test_pairs_that_would_be_one_another(tmp_path, stems, words):
    error = stop(pairs(tmp_path, *stems))
    assert error.code == "pregen_unpaired" and words in error.message


def test_a_partner_in_another_case_is_pointed_at(root):
    (root / PREGEN_OK / "b+bridge_1.png").rename(root / PREGEN_OK / "B+bridge_1.png")
    error = stop(root)
    assert error.code == "pregen_unpaired" and "differs only in case" in error.message


@pytest.mark.parametrize("kind", ["folder", "dangling", "fifo"])
def test_what_only_has_a_pictures_name(root, kind):
    for side in (PREGEN_NG, PREGEN_OK):  # on both sides, where pairing would not find it
        path = root / side / "z+bridge_9.png"
        if kind == "folder":
            path.mkdir()
        elif kind == "dangling":
            path.symlink_to(root / "nowhere.png")
        else:
            os.mkfifo(path)
    assert stop(root).code == "image_invalid"


def test_commas_and_other_languages_are_fine_names(tmp_path):
    found = pregen_parts(pairs(tmp_path, "b,1+L\u00f6tbr\u00fccke_1", "c+PASS_2"), ["L"], ".png")
    assert [part.label for part in found] == ["l\u00f6tbr\u00fccke", "PASS"]


def test_staged_rows_of_every_accepted_name_can_be_read_back(tmp_path):
    root = make_tiny_workspace(tmp_path / "w", base=2, validation=2, kpi=2, pool=2, pregen=2)
    pairs(root, "b,1+L\u00f6t_1", "c+PASS_2", "it's 0402+Solder Ball_3", "\u77ed\u8def")
    stage_pool(Context(Run(root, "run_a")), "spy")
    rows = read_table(root / "results/run_a/synth_pool/sdg_rows.csv")
    assert {"l\u00f6t", "PASS", "solder ball", "ng"} <= set(rows["label"])


def test_pictures_that_are_not_read_are_named(root):
    (root / PREGEN_NG / "more").mkdir()
    (root / PREGEN_OK / "x.BMP").write_bytes(b"x")
    litter(root)
    assert unread_files(root) == ["original_image/x.BMP", "reconstructed_image/more/"]


BRIDGE = '{"defect_type": "bridge", "count": %s}\n'


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (BRIDGE % '"two"', 1, '"two" is not a whole number'),
        (BRIDGE % '"1"', 1, "not a whole number"),
        ("\n" + BRIDGE % "1e400", 2, "not a whole number"),
        (BRIDGE % "-1e400", 1, "not a whole number"),
        (BRIDGE % "NaN", 1, "NaN"),
        (BRIDGE % "-Infinity", 1, "Infinity"),
        (BRIDGE % "-1", 1, "not a whole number"),
        (BRIDGE % "1.5", 1, "not a whole number"),
        (BRIDGE % "true", 1, "not a whole number"),
        (BRIDGE % "[1]", 1, "not a whole number"),
        (BRIDGE % ("9" * 5000), 1, "not JSON"),
        (BRIDGE % ("9" * 400), 1, "not a whole number"),
        ('{"defect_type": "bridge", "count": 1, "n": 2}', 1, "disagree"),
        ('{"defect_type": "bridge", "Count": 5}', 1, "'Count' is not read"),
        ("[" * 100_000, 1, "nested too deeply"),
        ('{"a":' * 100_000, 1, "nested too deeply"),
        ('[{"defect_type": "bridge"}]', 1, "an array stands"),
        ('{\n  "defect_type": "bridge"\n}\n', 1, "spread over several lines"),
        ('[\n{"defect_type": "bridge"}\n]', 1, "spread over several lines"),
        (BRIDGE % 1 + '{"defect_type": "Bridge "}', 2, "stands in line 1 too"),
        ('{"defect_type": "a", "defect_type": "b"}', 1, "twice"),
        ('{"type": "a"}', 1, "no defect_type"),
        ('{"defect_type": 5}', 1, "not a text"),
        ('{"defect_type": ""}', 1, "empty"),
        ('{"defect_type": "pass"}', 1, "PASS only after"),
        ('{"defect_type": "\\ud800"}', 1, "surrogate"),
        ('{"defect_type": "bri\\u200bdge"}', 1, "U+200B"),
        ("bridge 2", 1, "not JSON"),
        ('"bridge"', 1, "a text stands"),
        ("null", 1, "null stands"),
        (BRIDGE % 1 + '{"defect_type": "a\0b"}', 2, "NUL"),
        ((BRIDGE % 1).encode("utf-16"), 1, "UTF-16"),
        ((BRIDGE % 1).encode("utf-16-le"), 1, "UTF-16"),
        ((BRIDGE % 1 + '{"defect_type": "L\u00f6t"}').encode("latin-1"), 2, "not UTF-8"),
    ],
    ids=range(34),
)
def test_a_defect_spec_that_cannot_be_meant_is_one_clear_line(root, content, line, words):
    (root / DEFECT_SPEC).write_bytes(content.encode() if isinstance(content, str) else content)
    error = stop(root)
    assert error.code == "csv_invalid" and words in error.message
    assert error.rows == [line] and error.file == str(root / DEFECT_SPEC)
    assert len(error.message) < 400 and "\n" not in error.message


@pytest.mark.parametrize("kind", ["folder", "dangling"])
def test_something_else_in_the_defect_specs_place(root, kind):
    if kind == "folder":
        (root / DEFECT_SPEC).mkdir()
    else:
        (root / DEFECT_SPEC).symlink_to("nowhere")
    assert stop(root).code == "csv_invalid"


@pytest.mark.parametrize(
    "content",
    [
        BRIDGE % 1,
        BRIDGE % "1.0",
        BRIDGE % "null",
        "\n\n" + BRIDGE % 1,
        (BRIDGE % 1).replace("\n", "\r\n"),
        "\ufeff" + BRIDGE % 1,
        '{"defect_type": "BRIDGE", "n": 1, "note": "a\u2028b"}',
    ],
)
def test_a_defect_spec_that_is_meant_is_read(root, content):
    (root / DEFECT_SPEC).write_text(content)
    assert [s.label for s in read_defect_spec(root)] == ["bridge"]
    check_allocation(pregen_parts(root, ["L"], ".png"), root)


def test_a_miscount_names_the_users_word_and_the_line(root):
    text = '{"defect_type": "missing"}\n' + (BRIDGE % 7).replace("bridge", "Bridge")
    (root / DEFECT_SPEC).write_text(text)
    error = stop(root)
    assert "'Bridge'" in error.message
    assert (error.code, error.rows) == ("allocation_mismatch", [2]) and "7" in error.message


def test_pass_in_a_defect_spec_labels_no_bypass_as_good(root):
    (root / DEFECT_SPEC).write_text('{"defect_type": "PASS"}\n{"defect_type": "Bridge"}\n')
    stated = read_defect_spec(root)
    assert label_of("bypass_3", stated) == ("ng", "")
    assert label_of("board_PASS_3", stated) == ("PASS", "")
    assert label_of("board bridge 3", stated) == ("bridge", "")
