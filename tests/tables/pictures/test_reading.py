"""The one reader of picture files: equal to Pillow at 8 bits, by levels above, or a stop."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from made_pictures import grey_tiff, packed12, png, pnm, ramp, tiff, turned
from PIL import Image

from deft.tables.pictures import PictureError, open_rgb

COLOUR = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def by_levels(levels: np.ndarray, full: int) -> np.ndarray:
    """The rule in whole numbers: v * 255 / full, halves up."""
    return ((levels.astype(object) * 510 + full) // (2 * full)).astype(np.uint8)


def grey(path: Path, levels: int | None) -> np.ndarray:
    pixels = np.asarray(open_rgb(path, levels))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


DEEP = {
    "png16": (lambda p, v: png(p, v, 0), ".png", 65535),
    "png12in16": (lambda p, v: png(p, v, 0), ".png", 4095),
    "tiff16le": (lambda p, v: grey_tiff(p, v, "<u2"), ".tif", 65535),
    "tiff16be": (lambda p, v: grey_tiff(p, v, ">u2"), ".tif", 1023),
    "tiff32": (lambda p, v: grey_tiff(p, v, "<u4"), ".tif", 100_000),
    "tiffi32": (lambda p, v: grey_tiff(p, v, "<i4"), ".tif", 65535),
    "tiffi16": (lambda p, v: grey_tiff(p, v, "<i2"), ".tif", 4095),
    "tiff12packed": (packed12, ".tif", 4095),
    "pgm1023": (lambda p, v: pnm(p, v, 1023), ".pgm", 1023),
    "pgm4095": (lambda p, v: pnm(p, v, 4095), ".pgm", 4095),
    "pgm65535": (lambda p, v: pnm(p, v, 65535), ".pgm", 65535),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_grey_is_read_by_its_levels_or_refused(tmp_path: Path, kind: str) -> None:
    write, ending, full = DEEP[kind]
    levels = ramp(full)
    path = write(tmp_path / f"p{ending}", levels)
    assert np.array_equal(grey(path, full), by_levels(levels, full))
    with pytest.raises(PictureError) as stop:
        open_rgb(path)
    assert stop.value.largest == full and str(full) in stop.value.reason.replace("e+05", "00000")
    assert stop.value.mode in stop.value.reason and "picture_levels" in stop.value.fix
    with pytest.raises(PictureError, match="outside of 0 to picture_levels"):
        open_rgb(path, full - 1)  # a stop, never a clip


def test_floats_are_read_by_levels_and_must_be_numbers(tmp_path: Path) -> None:
    levels = np.linspace(0, 1, 24 * 24, dtype=np.float32).reshape(24, 24)
    path = grey_tiff(tmp_path / "p.tif", levels, "<f4")
    wanted = np.floor(levels.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    assert np.array_equal(grey(path, 1), wanted)
    with pytest.raises(PictureError, match="mode F.*largest level 1"):
        open_rgb(path)
    for bad in (np.nan, np.inf):
        levels[3, 3] = bad
        broken = grey_tiff(tmp_path / "q.tif", levels, "<f4")
        with pytest.raises(PictureError, match="not finite"):
            open_rgb(broken, 1)


COLOURS = {
    "png": (lambda p, v: png(p, v.reshape(24, -1), 2), ".png"),
    "png with alpha": (
        lambda p, v: png(p, np.dstack([v, v[..., 0] * 0 + 9]).reshape(24, -1), 6),
        ".png",
    ),
    "tiff": (
        lambda p, v: tiff(p, v.astype("<u2").tobytes(), (24, 24), [16] * 3, photometric=2),
        ".tif",
    ),
    "ppm": (lambda p, v: pnm(p, v, 4095), ".ppm"),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_deep_colour_keeps_its_bits_and_order(tmp_path: Path, kind: str) -> None:
    write, ending = COLOURS[kind]
    levels = np.stack([ramp(4095, seed=seed) for seed in range(3)], axis=-1)
    path = write(tmp_path / f"p{ending}", levels)
    assert np.array_equal(np.asarray(open_rgb(path, 4095)), by_levels(levels, 4095))
    with pytest.raises(PictureError, match="of 16 bits.*largest level 4095"):
        open_rgb(path)  # Pillow alone would give the high bytes: a black picture


def test_deep_grey_with_alpha(tmp_path: Path) -> None:
    levels = ramp(65535)
    both = np.stack([levels, levels * 0 + 77], axis=-1).reshape(24, -1)
    assert np.array_equal(grey(png(tmp_path / "p.png", both, 4), 65535), by_levels(levels, 65535))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "RGB"])
@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "bmp", "gif", "webp"])
def test_eight_bits_are_pillows_to_the_last_bit(tmp_path: Path, mode: str, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    try:
        Image.fromarray(COLOUR).convert(mode).save(path)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"Pillow writes no {mode} as {ending}")
    wanted = np.asarray(Image.open(path).convert("RGB"))
    for levels in (None, 255, 4095):
        assert np.array_equal(np.asarray(open_rgb(path, levels)), wanted)


def test_a_small_own_full_scale_stays_pillows(tmp_path: Path) -> None:
    path = pnm(tmp_path / "p.pgm", ramp(100), 100)
    assert np.array_equal(np.asarray(open_rgb(path)), np.asarray(Image.open(path).convert("RGB")))


def test_packed_colour_of_sixteen_bits_is_not_deep(tmp_path: Path) -> None:
    """BMP 565: five or six bits a channel."""
    words = np.random.default_rng(2).integers(0, 65536, (4, 4)).astype("<u2").tobytes()
    masks = b"".join(n.to_bytes(4, "little") for n in (0xF800, 0x07E0, 0x001F))
    head = (40).to_bytes(4, "little") + (4).to_bytes(4, "little") * 2 + b"\1\0\x10\0"
    head += (3).to_bytes(4, "little") + len(words).to_bytes(4, "little") + bytes(16)
    place = 14 + 40 + 12
    path = tmp_path / "p.bmp"
    start = b"BM" + (place + 32).to_bytes(4, "little") + bytes(4) + place.to_bytes(4, "little")
    path.write_bytes(start + head + masks + words)
    assert np.array_equal(np.asarray(open_rgb(path)), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_turned_picture_is_refused(tmp_path: Path, ending: str, orientation: int) -> None:
    path = turned(tmp_path / f"p.{ending}", orientation, COLOUR)
    if orientation in (0, 1, 9):  # upright, or no meaning
        assert open_rgb(path).size == (24, 24)
        return
    with pytest.raises(PictureError, match=f"orientation {orientation}") as stop:
        open_rgb(path)
    assert "upright" in stop.value.fix


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_a_turned_tiff_is_refused(tmp_path: Path, dtype: str) -> None:
    """Pillow turns it while it loads, the rows of an uncompressed one into a jumble."""
    path = grey_tiff(tmp_path / "p.tif", ramp(255)[:, :12], dtype, orientation=6)
    colour = np.stack([ramp(255)[:, :12]] * 3, -1).astype("<u2").tobytes()
    deep = tiff(tmp_path / "q.tif", colour, (12, 24), [16] * 3, photometric=2, orientation=8)
    for file in (path, deep):
        with pytest.raises(PictureError, match="orientation [68]"):
            open_rgb(file, 255)


@pytest.mark.parametrize("ending", ["tif", "gif", "webp", "png"])
def test_several_pictures_in_a_file_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"p.{ending}"
    other = Image.fromarray(255 - COLOUR)
    Image.fromarray(COLOUR).save(path, save_all=True, append_images=[other])
    with pytest.raises(PictureError, match="holds 2 pictures"):
        open_rgb(path)


def test_what_levels_cannot_give_a_meaning(tmp_path: Path) -> None:
    levels = ramp(200)
    white = grey_tiff(tmp_path / "w.tif", levels, "<u2", photometric=0)
    signed = grey_tiff(tmp_path / "s.tif", levels // 2, "i1")
    below = grey_tiff(tmp_path / "b.tif", levels - 50, "<i2")
    big = np.random.default_rng(0).integers(0, 4096, (200, 200), dtype=np.uint16)
    Image.fromarray(big).save(tmp_path / "j.jp2")
    for path, words in (
        (white, "WhiteIsZero"), (signed, "signed"), (below, "level -50"),
        (tmp_path / "j.jp2", "JPEG2000 with 16 bits"),
    ):  # fmt: skip
        with pytest.raises(PictureError, match=words):
            open_rgb(path, 65535)


def test_what_is_no_picture(tmp_path: Path) -> None:
    good = tmp_path / "good.jpg"
    Image.fromarray(COLOUR).save(good)
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:-90])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("<!DOCTYPE html>")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    for name, words in (
        ("cut.jpg", "does not decode"), ("empty.png", "zero-byte"), ("text.png", "not a picture"),
        ("folder.png", "a folder"), ("pipe.png", "no regular file"), ("absent.png", "no such file"),
        ("good.jpg/x.png", "no such file"),
    ):  # fmt: skip
        with pytest.raises(PictureError, match=words) as stop:
            open_rgb(tmp_path / name)
        assert stop.value.missing == ("no such file" in words)


def test_noise_and_cut_files_only_ever_raise_the_one_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sources = [png(tmp_path / "a.png", ramp(65535), 0), packed12(tmp_path / "a.tif", ramp(4095))]
    sources += [turned(tmp_path / f"b.{e}", 1, COLOUR) for e in ("jpg", "webp", "png")]
    sources += [pnm(tmp_path / "c.pgm", ramp(1023), 1023)]
    for i in range(400):
        data = bytearray(sources[i % len(sources)].read_bytes())
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        path = tmp_path / f"noise{i}"
        path.write_bytes(data[: rng.integers(1, len(data) + 1)] if i % 2 else data)
        try:
            assert open_rgb(path, 65535).mode == "RGB"
        except PictureError as stop:
            assert "\n" not in stop.reason
