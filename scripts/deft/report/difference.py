"""A golden picture laid over the test picture, and where the two differ most."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WORKING_PX = 192  # the longer edge that pictures are compared at
FARTHEST = 0.1  # of the edge: a greater shift is no registration but another picture
ALIKE = 0.5  # the least correlation of two pictures of one part
FLAT = 2.0  # levels of standard deviation below which a picture shows nothing
SEARCHED = 6  # the marked window is a sixth of the edge
FAINT = 48  # levels; weaker differences are never drawn in full
STRONGEST_PCT = 99  # of the pixels lie below what is drawn in full
HEAT, FRAME = (240, 150, 0), ((255, 255, 255), (20, 20, 20))


@dataclass(frozen=True)
class Difference:
    """The drawn difference and the test picture, both with the place (x, y) framed.

    RGB (H, W, 3) uint8; the place in shares of width and height.
    """

    picture: np.ndarray
    test: np.ndarray
    place: tuple[float, float]
    shift_px: tuple[float, float]  # of the golden, in the compared pictures


def difference(test: np.ndarray, golden: np.ndarray) -> Difference:
    """Return where a test picture differs from its golden, both RGB (H, W, 3) uint8.

    The golden is brought to the test's size and shifted onto it (by correlation, to a fraction of a
    pixel), where that makes the two more alike.
    """
    test, golden = _small(test), np.asarray(golden)
    height, width = test.shape[:2]
    golden = cv2.resize(golden, (width, height), interpolation=cv2.INTER_AREA)
    shift = _shift(golden, test)
    moved = _moved(golden, shift)
    apart = _apart(test, moved)
    if shift != (0.0, 0.0) and apart.mean() >= _apart(test, golden).mean():
        shift, apart = (0.0, 0.0), _apart(test, golden)
    margin = [int(np.ceil(abs(s))) for s in shift]
    inner = np.zeros_like(apart)  # the golden has nothing to say beyond its own edge
    rows, columns = slice(margin[1], height - margin[1]), slice(margin[0], width - margin[0])
    inner[rows, columns] = apart[rows, columns]
    size = max(3, min(height, width) // SEARCHED)
    local = cv2.boxFilter(inner, -1, (size, size))
    y, x = np.unravel_index(int(local.argmax()), local.shape)
    grey = cv2.cvtColor(test, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) * 0.5 + 100
    full = max(FAINT, float(np.percentile(inner, STRONGEST_PCT)))
    heat = np.clip(inner / full, 0, 1)[..., None]
    drawn = np.clip(grey * (1 - heat) + np.array(HEAT, np.float32) * heat, 0, 255)
    pictures = [np.array(p, np.uint8) for p in (drawn, test)]
    half = size // 2 + 1
    for grow, colour in zip((1, 0), FRAME, strict=True):  # seen on light and dark
        reach = half + grow
        corner, other = (int(x) - reach, int(y) - reach), (int(x) + reach, int(y) + reach)
        for picture in pictures:
            cv2.rectangle(picture, corner, other, colour, 1)
    return Difference(pictures[0], pictures[1], (float(x / width), float(y / height)), shift)


def _small(picture: np.ndarray) -> np.ndarray:
    edge = max(picture.shape[:2])
    if edge <= WORKING_PX:
        return np.asarray(picture)
    size = [max(1, round(n * WORKING_PX / edge)) for n in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _shift(golden: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Return how far (x, y) the golden's middle lies off in the test, to a fraction of a pixel."""
    a, b = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (golden, test))
    reach = int(FARTHEST * min(a.shape))
    if not reach:
        return 0.0, 0.0
    middle = a[reach:-reach, reach:-reach]
    if min(middle.std(), b.std()) < FLAT:  # nothing to hold on to: every place is as good
        return 0.0, 0.0
    alike = cv2.matchTemplate(b, middle, cv2.TM_CCOEFF_NORMED)
    y, x = (int(i) for i in np.unravel_index(int(alike.argmax()), alike.shape))
    if not ALIKE <= alike[y, x] <= 1.001:  # also what is no number: a flat place in the test
        return 0.0, 0.0
    return x + _peak(alike[y], x) - reach, y + _peak(alike[:, x], y) - reach


def _peak(values: np.ndarray, at: int) -> float:
    """Return where a parabola through the highest value and its neighbours has its top."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(v) for v in values[at - 1 : at + 2])
    curve = left - 2 * middle + right
    return 0.5 * (left - right) / curve if curve < 0 else 0.0


def _moved(picture: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    size = picture.shape[1::-1]
    return np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE))


def _apart(test: np.ndarray, golden: np.ndarray) -> np.ndarray:
    levels = cv2.absdiff(test, golden).max(axis=2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(levels, (3, 3), 0))
