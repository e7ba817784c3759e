"""Picture file to the bytes that an encoder sees; the numbers of open_clip's and timm's transforms.

Three rules of resizing and one of cropping cover what both libraries do before normalisation. A
picture is made RGB first, as both libraries' examples do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from deft.core.errors import HardStop
from deft.tables.pictures import PictureError, open_rgb

SQUASH, SHORTEST, LONGEST = "squash", "shortest", "longest"
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True)
class Preprocessing:
    """How a picture is resized, cropped and normalised.

    ``resize``: ``squash`` to ``resize_px``, or keep the aspect ratio so that the shorter or the
    longer side fits. Then the centre of ``size_px`` is cut out, missing borders filled with
    ``fill``. Sizes are (height, width). ``mean`` and ``std`` are those of pictures in 0..1.
    ``levels``: full scale of pictures deeper than 8 bits (:func:`deft.tables.pictures.open_rgb`).
    """

    size_px: tuple[int, int]
    resize_px: tuple[int, int]
    resize: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[int, int, int] = (0, 0, 0)
    levels: int | None = None

    def facts(self) -> dict[str, Any]:
        """Return what changes a vector, JSON-ready."""
        found = asdict(self)
        if self.levels is None:  # digests of encoders, and what is cached by them, are older
            del found["levels"]
        return found

    def prepare(self, path: str | Path) -> np.ndarray:
        """Return uint8 (height, width, 3), RGB.

        Raises HardStop ``missing_input`` or ``image_invalid`` naming the picture.
        """
        try:
            picture = open_rgb(path, self.levels)
            height, width = self._resized_px(picture.height, picture.width)
            if min(height, width) < 1:
                raise PictureError(
                    Path(path),
                    f"{picture.width} × {picture.height} px are resized to {width} × {height} px",
                )
        except PictureError as error:
            raise HardStop(
                "missing_input" if error.missing else "image_invalid",
                f"picture cannot be embedded: {error.reason}",
                file=error.path,
                fix=error.fix or "restore the picture, or remove its row from the table",
            ) from None
        return self.apply(picture)

    def apply(self, picture: Image.Image) -> np.ndarray:
        """Return uint8 (height, width, 3) of an RGB picture."""
        height, width = self._resized_px(picture.height, picture.width)
        picture = picture.resize((width, height), FILTERS[self.interpolation])
        return np.asarray(_centre(picture, self.size_px, self.fill))

    def _resized_px(self, height: int, width: int) -> tuple[int, int]:
        wanted = self.resize_px
        if self.resize == SQUASH:
            return wanted
        if self.resize == SHORTEST and wanted[0] == wanted[1]:
            # torchvision's Resize with one number cuts the longer side off.
            short, long = sorted((height, width))
            other = int(wanted[0] * long / short)
            return (wanted[0], other) if height <= width else (other, wanted[0])
        ratios = height / wanted[0], width / wanted[1]
        ratio = max(ratios) if self.resize == LONGEST else min(ratios)
        return round(height / ratio), round(width / ratio)


def _centre(
    picture: Image.Image, size_px: tuple[int, int], fill: tuple[int, int, int]
) -> Image.Image:
    """Return the centre of a picture, with borders where it is too small."""
    height, width = size_px
    more_x, more_y = max(0, width - picture.width), max(0, height - picture.height)
    if more_x or more_y:
        border = (more_x // 2, more_y // 2, (more_x + 1) // 2, (more_y + 1) // 2)
        picture = ImageOps.expand(picture, border=border, fill=fill)
    left = round((picture.width - width) / 2.0)
    top = round((picture.height - height) / 2.0)
    return picture.crop((left, top, left + width, top + height))


def three(value: Any, what: str, file: Path) -> tuple[float, float, float]:
    """Return three numbers of a configuration; one stands for all three."""
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) == 1:
        values = list(values) * 3
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if len(values) != 3 or not numbers:
        raise HardStop("config_invalid", f"{what} is {value!r}; no three numbers", file=file)
    first, second, third = (float(v) for v in values)
    return first, second, third


def pair(value: Any, what: str, file: Path) -> tuple[int, int]:
    """Return (height, width) of a configuration; one number stands for both."""
    values = value if isinstance(value, list | tuple) else [value] * 2
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    if len(values) != 2 or not whole:
        raise HardStop("config_invalid", f"{what} is {value!r}; a size in px is needed", file=file)
    return values[0], values[1]


def one_of(value: Any, known: Any, what: str, file: Path) -> Any:
    """Return a setting; raises HardStop ``config_invalid`` for one that cannot be expressed."""
    if not isinstance(value, str) or value not in known:
        raise HardStop(
            "config_invalid",
            f"{what} {value!r} is not supported; known: {', '.join(known)}",
            file=file,
            fix="use another encoder, or a folder whose preprocessing is one of these",
        )
    return value


def needed(settings: dict[str, Any], keys: tuple[str, ...], where: str, file: Path) -> None:
    """Raise HardStop ``config_invalid`` naming the settings that are not there."""
    absent = [key for key in keys if settings.get(key) is None]
    if absent:
        raise HardStop(
            "config_invalid",
            f"{where} lacks {', '.join(absent)}; the preprocessing is not guessed",
            file=file,
            fix="fetch the file again from where the weights come from",
        )
