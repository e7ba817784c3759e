"""From files to one prepared item, by the contract's preprocessing and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from . import audio, roles
from .folder import Folder, Refusal, first_line
from .outcomes import OpenInput, key
from .roles import made
from .texts import encoded

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
MODES = {"RGB": "RGB", "BGR": "RGB", "L": "L"}
PIXEL_MAX = 255.0


def item(
    folder: Folder, contract: dict[str, Any], sample: dict[str, Any], step: int = 0
) -> dict[str, np.ndarray]:
    """Return one sample as the model takes it, every input with a batch of one.

    ``step``: which of its steps, for a model that is fed its own state; an input with fewer files
    is fed its last one again.
    """
    feed: dict[str, np.ndarray] = {}
    for entry in contract["inputs"]:
        name = entry["name"]
        files = [folder.path(f) for f in sample["files"].get(name, [])]
        rule = contract["preprocess"].get(name)
        if not files:  # a value or a first state that the given file leaves out
            feed[name] = made(entry, entry["run_shape"])
        elif files[0].suffix == ".txt":
            tokenizer = folder.path("refs/model") / folder.parameters["model"]["tokenizer"]
            feed[name] = encoded(files[0], tokenizer, entry, contract["texts"][name]["part"])
        elif files[0].suffix.lower() == ".wav":
            feed[name] = heard(files[0], contract, entry, step)
        elif rule and files[0].suffix != ".npy":
            feed[name] = pictures(files, rule, entry["dtype"])
        else:
            feed[name] = array(files[min(step, len(files) - 1)], entry)
    return feed


def heard(path: Path, contract: dict[str, Any], entry: dict[str, Any], step: int) -> np.ndarray:
    """Return a stretch of a sound; raises :class:`Refusal` where its rate is not the stated one."""
    sound, rate = audio.read(path)
    for other in contract["inputs"]:
        if roles.RATE.match(other["name"]) and other["fill"].get("value") != rate:
            stated = other["fill"].get("value")
            raise Refusal(
                f"{path.name} has {rate} Hz, input {other['name']} says {stated}",
                [OpenInput(f"the sample rate of {path.name}",
                           key("contract", "inputs", other["name"], "values"), rate)],
            )  # fmt: skip
    return audio.window(sound, entry["run_shape"], step).astype(entry["dtype"])


def array(path: Path, entry: dict[str, Any]) -> np.ndarray:
    """Return a ``.npy`` file as a batch of one; raises :class:`Refusal` when it does not fit."""
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Refusal(f"{path.name} is no array that can be read: {first_line(error)}") from error
    wanted = list(entry["run_shape"])
    if entry["dtype"] == "str":
        if found.dtype.kind not in "US":
            raise Refusal(f"{path.name} is {found.dtype}, input {entry['name']} wants text")
        found = found.astype(str).astype(object)
    if list(found.shape) == wanted:
        return _typed(found, path, entry)
    if wanted and list(found.shape) == wanted[1:]:
        found = found[None]
    stated = entry["shape"] or wanted
    fits = len(stated) == found.ndim and all(
        not isinstance(s, int) or s == n
        for s, n in zip(stated, found.shape)  # noqa: B905
    )
    if not fits or (entry["batch_axis"] == 0 and found.shape[0] != 1):
        raise Refusal(f"{path.name} is {list(found.shape)}, input {entry['name']} wants {wanted}")
    return _typed(found, path, entry)


def _typed(found: np.ndarray, path: Path, entry: dict[str, Any]) -> np.ndarray:
    if entry["dtype"] != "str" and str(found.dtype) != entry["dtype"]:
        raise Refusal(f"{path.name} is {found.dtype}, input {entry['name']} wants {entry['dtype']}")
    return found


def pictures(files: list[Path], rule: dict[str, Any], dtype: str) -> np.ndarray:
    """Return pictures as a batch of one: (1, C, H, W), (1, H, W, C) or, several, (1, N, C, H, W).

    Lights are joined left to right, then down; numbers are ``pixel * scale``, then normalised.
    """
    lights = len(rule.get("lights") or [""])
    made = [prepared(files[i : i + lights], rule) for i in range(0, len(files), lights)]
    wanted = int(rule.get("pictures", 1))
    if len(made) != wanted:
        raise Refusal(f"{wanted * lights} pictures make one item, found {len(files)}")
    out = made[0] if wanted == 1 else np.stack(made)
    return np.ascontiguousarray(out[None].astype(dtype))


def prepared(files: list[Path], rule: dict[str, Any]) -> np.ndarray:
    """Return one picture (its lights joined) normalised, float32 (C, H, W) or (H, W, C)."""
    tiles = [resized(path, rule) for path in files]
    across = int(rule.get("join_x", 1))
    rows = [np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)]
    picture = np.concatenate(rows).astype(np.float32)
    scale = rule.get("scale")
    picture = picture / np.float32(PIXEL_MAX) if scale is None else picture * np.float32(scale)
    if rule.get("mean") is not None:
        picture = (picture - np.float32(rule["mean"])) / np.float32(rule.get("std") or 1.0)
    return picture if rule.get("layout") == "NHWC" else picture.transpose(2, 0, 1)


def resized(path: Path, rule: dict[str, Any]) -> np.ndarray:
    """Return a picture as uint8 (H, W, C) of the rule's size and colour order."""
    order, size = rule.get("colour_order", "RGB"), (rule["height_px"], rule["width_px"])
    try:
        with Image.open(path) as opened:
            refuse_deep(path, opened)
            picture = opened.convert(MODES[order])
    except (OSError, ValueError, SyntaxError) as error:
        raise Refusal(f"{path.name} is no picture that can be read: {first_line(error)}") from error
    picture = fitted(picture, size, rule)
    pixels = np.asarray(picture)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels[..., ::-1] if order == "BGR" else pixels


def refuse_deep(path: Path, picture: ImageFile.ImageFile) -> None:
    """Refuse a picture that becoming 8 bits would clip to white, or cut to its high byte."""
    rows = " ".join(str(tile[3]) for tile in picture.tile)
    deep = picture.mode in ("I", "F") or picture.mode.startswith("I;")
    if deep or any(mark in rows for mark in (";16B", ";16L", ";16N", ";32")):
        raise Refusal(
            f"{path.name} has more than 8 bits a channel (mode {picture.mode}); save it as 8 bits"
        )


def fitted(picture: Image.Image, size: tuple[int, int], rule: dict[str, Any]) -> Image.Image:
    """Return a picture of exactly ``size`` (height, width).

    ``resize_mode``: ``squash`` (to the size), ``shortest`` (the default: the shorter side to
    size / crop_fraction, then the centre is cut out), ``longest`` (the longer side, then padded).
    """
    height, width = size
    resample = FILTERS[rule.get("resample", "bilinear")]
    mode = rule.get("resize_mode", "shortest")
    if mode == "squash":
        return picture.resize((width, height), resample)
    fraction = float(rule.get("crop_fraction") or 1.0)
    goal_h, goal_w = int(height / fraction), int(width / fraction)
    ratios = (picture.height / goal_h, picture.width / goal_w)
    ratio = max(ratios) if mode == "longest" else min(ratios)
    if goal_h == goal_w:  # torchvision rounds the longer side down
        new = (max(1, int(picture.width / ratio)), max(1, int(picture.height / ratio)))
    else:
        new = (round(picture.width / ratio), round(picture.height / ratio))
    picture = picture.resize(new, resample)
    left, top = round((picture.width - width) / 2.0), round((picture.height - height) / 2.0)
    return picture.crop((left, top, left + width, top + height))
