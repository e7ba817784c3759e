"""Windows of a board picture: one around each defect, and random ones that touch none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from deft.importers.deeppcb_source import BoardPicture, Box
from deft.tables.changenet_table import PASS

RARE_MIN = 0.05  # a window whose rarer class covers less is (nearly) blank and teaches nothing
INK_BELOW = 128
TRIES_PER_WINDOW = 40
JITTER_SHARE = 1 / 8  # of the window's side


@dataclass(frozen=True)
class Window:
    """A square of ``side`` pixels with its upper left corner at (x, y)."""

    x: int
    y: int
    side: int
    label: str

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Return the pixels of the window, a copy."""
        return picture[self.y : self.y + self.side, self.x : self.x + self.side].copy()

    def touches(self, box: Box) -> bool:
        """Return whether window and box share a pixel or an edge."""
        return (
            self.x <= box.x2
            and box.x1 <= self.x + self.side
            and self.y <= box.y2
            and box.y1 <= self.y + self.side
        )


@dataclass(frozen=True)
class Crop:
    """One row to be: where it is cut, and the name of its part.

    ``told``: its label where that is not the window's. ``copy_of``: name of the part that it shows
    once more, ``seed``: of how that differs.
    """

    picture: BoardPicture
    window: Window
    name: str
    told: str = ""
    copy_of: str = ""
    seed: int = 0

    @property
    def label(self) -> str:
        """The label that the row has."""
        return self.told or self.window.label

    def called(self, label: str) -> Crop:
        """Return the crop with another label."""
        return replace(self, told=label)


def rare_share(pixels: np.ndarray) -> float:
    """Return the share (0 … 0.5) of the rarer of copper and bare board."""
    ink = float((pixels < INK_BELOW).mean())
    return min(ink, 1.0 - ink)


def defect_windows(
    boxes: list[Box], shape: tuple[int, ...], side: int, rng: np.random.Generator
) -> list[Window]:
    """Return one window per box, centred on it but for a jitter, clamped to the picture."""
    height, width = shape[:2]
    windows = []
    for box in boxes:
        place = []
        for low, high, limit in ((box.x1, box.x2, width), (box.y1, box.y2, height)):
            # The jitter must not push a defect that fits out of the window.
            room = max(0, min(int(side * JITTER_SHARE), (side - (high - low)) // 2))
            start = (low + high) // 2 - side // 2 + int(rng.integers(-room, room + 1))
            place.append(min(max(start, 0), limit - side))
        windows.append(Window(place[0], place[1], side, box.defect))
    return windows


def pass_windows(
    test: np.ndarray, boxes: list[Box], side: int, count: int, rng: np.random.Generator
) -> list[Window]:
    """Return up to ``count`` windows that touch no box and are not (nearly) blank."""
    return free_windows(
        test.shape, boxes, side, count, rng, lambda w: rare_share(w.cut(test)) >= RARE_MIN
    )


def free_windows(
    shape: tuple[int, ...],
    boxes: list[Box],
    side: int,
    count: int,
    rng: np.random.Generator,
    wanted: Callable[[Window], bool] = lambda window: True,
) -> list[Window]:
    """Return up to ``count`` different windows that touch no box and are ``wanted``."""
    height, width = shape[:2]
    windows: list[Window] = []
    for _ in range(TRIES_PER_WINDOW * count):
        if len(windows) == count:
            break
        x = int(rng.integers(0, width - side + 1))
        y = int(rng.integers(0, height - side + 1))
        window = Window(x, y, side, PASS)
        if window in windows or any(window.touches(box) for box in boxes):
            continue
        if wanted(window):
            windows.append(window)
    return windows
