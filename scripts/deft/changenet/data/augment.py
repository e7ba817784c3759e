"""Training augmentations of ``augmentation_config``, drawn from an explicit generator.

One draw serves a whole pair: the test picture, its golden and all their lights are turned,
mirrored, cropped and blurred alike, because the network compares them place by place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from deft.changenet.data.images import BICUBIC
from deft.changenet.spec.schema import Augmentation

CROP_AREA = (0.8, 1.0)  # share of the picture that a random crop keeps


@dataclass(frozen=True)
class Draw:
    """What happens to one pair; neutral values mean nothing happens."""

    mirror: bool = False
    upside_down: bool = False
    angle: float = 0.0  # degrees, counter-clockwise
    crop: tuple[float, float, float] | None = None  # side share, left and top share of the rest
    zoom: tuple[float, float, float] | None = None  # factor, left and top share of the rest
    blur: float = 0.0  # radius in pixels
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0  # shift as a share of the colour circle, -0.5 to 0.5


def draw(config: Augmentation, rng: np.random.Generator) -> Draw:
    """Draw one pair's changes; always the same number of random values is taken."""
    flip, turn, color = config.random_flip, config.random_rotate, config.random_color
    chance = rng.random(5)
    angles = turn.angle_list or [0.0]
    angle = angles[int(rng.integers(len(angles)))]
    place = rng.random(6)
    area = CROP_AREA[0] + (CROP_AREA[1] - CROP_AREA[0]) * place[0]
    low, high = config.with_scale_random_crop.scale_range
    jitter = rng.uniform(-1.0, 1.0, 4)
    radius = float(rng.random())
    recolor = color.enable and chance[3] < color.color_probability
    return Draw(
        mirror=bool(flip.enable and chance[0] < flip.hflip_probability),
        upside_down=bool(flip.enable and chance[1] < flip.vflip_probability),
        angle=float(angle) if turn.enable and chance[2] < turn.rotate_probability else 0.0,
        crop=(area**0.5, place[1], place[2]) if config.with_random_crop else None,
        # TAO's loader leaves the zoom out as well when with_random_crop is off.
        zoom=(low + (high - low) * place[3], place[4], place[5])
        if config.with_random_crop and config.with_scale_random_crop.enable
        else None,
        blur=radius if config.with_random_blur else 0.0,
        brightness=_factor(color.brightness, jitter[0]) if recolor else 1.0,
        contrast=_factor(color.contrast, jitter[1]) if recolor else 1.0,
        saturation=_factor(color.saturation, jitter[2]) if recolor else 1.0,
        hue=color.hue * float(jitter[3]) if recolor else 0.0,
    )


def _factor(strength: float, unit: float) -> float:
    return max(0.0, 1.0 + strength * float(unit))


def apply(picture: np.ndarray, change: Draw) -> np.ndarray:
    """Return ``picture`` (uint8, height x width x 3) changed; its size stays."""
    if change == Draw():
        return picture
    image = Image.fromarray(picture)
    if change.mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if change.upside_down:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if change.angle:
        image = image.rotate(change.angle)  # corners that come from outside are black
    image = _window(image, change)
    if change.blur:
        image = image.filter(ImageFilter.GaussianBlur(change.blur))
    for enhancer, factor in (
        (ImageEnhance.Brightness, change.brightness),
        (ImageEnhance.Contrast, change.contrast),
        (ImageEnhance.Color, change.saturation),
    ):
        if factor != 1.0:
            image = enhancer(image).enhance(factor)
    return _shift_hue(image, change.hue)


def _window(image: Image.Image, change: Draw) -> Image.Image:
    """Crop and zoom in one resampling: both only choose which part fills the frame."""
    if change.crop is None and change.zoom is None:
        return image
    left, top, width, height = 0.0, 0.0, float(image.width), float(image.height)
    for share, x, y in filter(
        None, (change.crop, change.zoom and (1 / change.zoom[0], *change.zoom[1:]))
    ):
        left, top = left + x * width * (1 - share), top + y * height * (1 - share)
        width, height = width * share, height * share
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    return image.resize(image.size, BICUBIC, box=box)


def _shift_hue(image: Image.Image, shift: float) -> np.ndarray:
    if not shift:
        return np.asarray(image)
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] = hsv[..., 0] + np.uint8(round(shift * 255) % 256)  # wraps around the circle
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
