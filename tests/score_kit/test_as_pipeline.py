"""score.py sees what the pipeline sees: a file's bytes, the network's input, the score."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from handoff_folder import CASES, drawn_parts, made_bundle
from PIL import Image

from deft.changenet.data.pairs import open_pairs
from deft.changenet.infer import score_table
from deft.core import layout
from deft.score_kit import score
from deft.score_kit.pictures import PictureError, read_rgb
from deft.score_kit.prepare import Preparer, read_facts
from deft.score_kit.resize import resize
from deft.score_kit.table import read_parts
from deft.tables import pictures

GOLDENS = {"num_golden": 2, "image_width": 224, "image_height": 224}
KIT = Path(score.__file__).parent


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


def test_resizing_is_pillows_to_the_last_bit():
    rng = np.random.default_rng(0)
    for number in range(250):
        high, wide, height, width = (int(n) for n in rng.integers(1, 200, 4))
        if number % 3 == 0 and high > height:  # where Pillow 13 begins with the other side
            width = max(1, wide - (high - height) // 2 + int(rng.integers(-1, 2)))
        pixels = rng.integers(0, 256, (high, wide, 3)).astype(np.uint8)
        want = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        new = int(Image.__version__.split(".")[0]) >= 13
        found = resize(pixels, height, width, height_may_lead=new)
        assert np.array_equal(found, np.asarray(want)), (high, wide, height, width)


@pytest.mark.parametrize(
    ("ext", "mode"),
    [(e, m) for e in (".png", ".bmp", ".tiff") for m in ("RGB", "L", "P", "1")]
    + [(".jpg", "RGB"), (".jpg", "L"), (".png", "RGBA"), (".png", "LA")],
)
def test_files_give_the_bytes_that_pillow_gives(tmp_path, ext, mode):
    rng = np.random.default_rng(1)
    drawn = Image.fromarray(rng.integers(0, 255, (37, 29, 3)).astype(np.uint8))
    path = saved(tmp_path / f"a{ext}", drawn.convert(mode))
    assert np.array_equal(read_rgb(path), np.asarray(pictures.open_rgb(path)))


@pytest.mark.parametrize("quality", [30, 75, 100])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_jpegs_give_the_bytes_that_pillow_gives(tmp_path, quality, options):
    noise = np.random.default_rng(2).integers(0, 255, (9, 12, 3)).astype(np.uint8)
    drawn = Image.fromarray(cv2.resize(noise, (101, 67)))
    path = saved(tmp_path / "a.jpg", drawn, quality=quality, **options)
    assert np.array_equal(read_rgb(path), np.asarray(pictures.open_rgb(path)))


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_deep_pictures_are_scaled_as_in_the_pipeline_and_refused_without_levels(tmp_path, shape):
    deep = np.random.default_rng(3).integers(0, 4096, shape).astype(np.uint16)
    if shape[2:] == (4,):
        deep[..., 3] = 65535  # what hides nothing
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), deep)
    want = np.asarray(pictures.open_rgb(path, 4095))
    assert np.array_equal(read_rgb(path, 4095), want)
    for levels, words in ((None, "largest level"), (1023, "above picture_levels: 1023")):
        with pytest.raises(PictureError, match=words):
            read_rgb(path, levels)


def bytes_of(kind, **options):
    out = io.BytesIO()
    pixels = np.random.default_rng(4).integers(0, 255, (31, 33, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


REFUSED = {
    "empty": (b"", "zero-byte"),
    "text": (b"no picture at all", "not a PNG, JPEG, BMP or TIFF"),
    "gif": (bytes_of("GIF"), "not a PNG, JPEG, BMP or TIFF"),
    **{f"cut {k}": (bytes_of(k)[:-400], "cut off|damaged") for k in ("PNG", "JPEG", "BMP", "TIFF")},
    "cut header": (bytes_of("PNG")[:20], "cut off"),
    **{
        f"turned {k}": (bytes_of(k, exif=turned()), "orientation 6")
        for k in ("PNG", "JPEG", "TIFF")
    },
    "pages": (
        bytes_of("TIFF", save_all=True, append_images=[Image.new("RGB", (31, 33))]),
        "several pictures",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_pipeline_refuses_is_refused(tmp_path, name):
    data, words = REFUSED[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=words) as stop:
        read_rgb(path)
    assert stop.value.fix
    if name != "gif":  # Pillow reads it, the hand-off keeps to what cameras write
        with pytest.raises(pictures.PictureError):
            pictures.open_rgb(path)


def test_four_inks_are_refused_not_guessed(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (9, 9)))
    with pytest.raises(PictureError, match="4 inks"):
        read_rgb(path)
    with pytest.raises(PictureError, match="no such file") as stop:
        read_rgb(tmp_path / "b.png")
    assert stop.value.missing
    with pytest.raises(PictureError, match="no regular file stands there"):
        read_rgb(tmp_path)


@pytest.mark.parametrize("ext", [".png", ".jpg"])
@pytest.mark.parametrize("name", [*CASES, "goldens"])
def test_inputs_and_scores_are_the_pipelines(tmp_path, name, ext):
    folder = tmp_path / "best_model"
    spec, weights = made_bundle(folder, **CASES.get(name, GOLDENS), image_ext=ext)
    table, images = drawn_parts(tmp_path, spec, ext=ext)
    facts, data = read_facts(folder), open_pairs(spec, table, images)
    parts = read_parts(table, images, facts)
    want = data.batch(range(len(data)))
    preparer = Preparer(facts)
    for row in range(len(parts)):
        out = [np.full_like(side[row].numpy(), 7) for side in (want.test, want.golden)]
        preparer.write_pair(parts.test[row], parts.golden[row], out)
        for found, side in zip(out, (want.test, want.golden), strict=True):
            assert np.array_equal(found, side[row].numpy())
    scored = tmp_path / "out/scores.csv"
    score.run(score.Request(folder, scored, table=table, images=images), lambda text: None)
    written = list(csv.DictReader(scored.open(encoding="utf-8")))
    scores, _ = score_table(spec, weights, table, images)
    found = np.array([row["score"] for row in written], np.float32)
    assert np.abs(found - scores).max() < 1e-5
    for row, value in zip(written, found, strict=True):
        assert row["verdict"] == ("NO_PASS" if value > np.float32(facts.threshold) else "PASS")
        assert (float(row["margin"]) > 0) == (row["verdict"] == "NO_PASS")
    given = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [{k: row[k] for k in given[0]} for row in written] == given


def test_the_copied_kit_is_the_library_s_and_needs_three_packages(tmp_path):
    assert {p.stem for p in KIT.glob("*.py")} == set(layout.SCORE_KIT)
    folder = tmp_path / "best_model"
    spec, _ = made_bundle(folder)
    for name in layout.SCORE_KIT:
        copied = (folder / f"score_kit/{name}.py").read_bytes()
        assert copied == (KIT / f"{name}.py").read_bytes()
    assert [n for n in layout.SCORING_FILES if not (folder / n).is_file()] == []
    table, images = drawn_parts(tmp_path, spec, 3)
    # As where nothing else is installed: every other package fails to import.
    refuse = (
        "import sys, runpy\n"
        "ours = {'numpy', 'cv2', 'onnxruntime', 'score_kit', 'flatbuffers', 'packaging'}\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        top = name.split('.')[0]\n"
        "        if top not in ours and top not in sys.stdlib_module_names:\n"
        "            raise ModuleNotFoundError(f'no {name} here', name=name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", refuse, str(folder / "score.py"), "--csv", str(table)]
    command += ["--images", str(images), "--out", str(tmp_path / "s.csv")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s.csv").is_file()
