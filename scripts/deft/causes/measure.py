"""What can be measured on a test picture and its golden, without any model.

Both are brought to one grey square (:data:`deft.tables.differing.SIDE_PX`). The test picture
is laid on its golden by a shift and a small rotation; how they differ is measured after that, so
that a badly registered part does not pass for a defective one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from deft.tables.differing import SIDE_PX, difference

MOST_SHIFT = SIDE_PX // 4  # pixels; a greater one is no shift of the same part
MOST_TURN_DEG = 5.0
BLURS, REFINEMENTS = (4.0, 1.0), 3  # pixels, coarse to fine, and Gauss-Newton steps at each
DAMPING, TURN_WEIGHT = 0.003, 500.0  # of the steps; a pixel's turn is seen at some 20 px off centre
PER_PIXEL = 0.002  # of match that a shift must bring
OUTLIERS = 0.1  # share of the pixels that differ most and do not count when laying on
GAIN = 0.02  # of the match that a shift must bring; else the pictures lie as they lay
DIFFERENT = 16.0  # grey levels of the smoothed difference from which a pixel counts as different
FLAT, UNLIKE = 8.0, 64.0  # grey levels: of a picture without a pattern, of a pixel that differs
PATCH, CELLS = 48, 6  # of the signature: pixels around the greatest difference, cells a side
LENGTH = CELLS * CELLS + 1  # of a signature
SCALE = 32.0  # grey levels of a difference that weighs as much as there being none
NUMBERS = (
    *("shift_pct", "rotation_deg", "match_before", "match", "brightness", "contrast", "sharpness"),
    *("area_pct", "peak", "place_x", "place_y"),
)


@dataclass(frozen=True)
class Measured:
    """Facts of one pair of pictures.

    Attributes
    ----------
    shift_pct: by how much of the side the test picture lies off its golden, ``rotation_deg``: by
        how much it is turned (degrees, 0 to 5); both 0 where laying it on brings no better match.
    match_before, match: correlation of both, -1 to 1, as they are and laid on each other; 1 = equal
        but for brightness and contrast.
    brightness, contrast: mean and standard deviation of the test picture, grey levels.
    sharpness: share of the contrast that a slight blur takes away, 0 to 1.
    area_pct: share of the square in which they differ. peak: the greatest difference, grey levels.
    place_x, place_y: where that is, 0 to 1; NaN where nothing differs.
    signature: (37,) float32, unit length: how they differ, seen from that place.
    """

    shift_pct: float
    rotation_deg: float
    match_before: float
    match: float
    brightness: float
    contrast: float
    sharpness: float
    area_pct: float
    peak: float
    place_x: float
    place_y: float
    signature: np.ndarray


def measure(test: np.ndarray, golden: np.ndarray) -> Measured:
    """Return the facts of a pair; ``test``, ``golden``: (SIDE_PX, SIDE_PX) uint8."""
    everywhere = np.ones(test.shape, bool)
    before = match(test, golden, everywhere)
    seen, inside, after, move = test, everywhere, before, np.zeros(3)
    if before + GAIN <= 1:
        there = laid_on(test, golden)
        laid, own = moved(test, there)
        better = match(laid, golden, own)
        if better >= before + GAIN:
            seen, inside, after, move = laid, own, better, there
    unlike = difference(np.where(inside, seen, golden).astype(np.uint8), golden)
    y, x = np.unravel_index(int(unlike.argmax()), unlike.shape)
    peak, area = float(unlike[y, x]), float((unlike >= DIFFERENT).mean())
    place = (int(x), int(y)) if area else None
    deviation = float(test.std())
    blurred = cv2.GaussianBlur(test.astype(np.float32), (0, 0), 1.0)
    return Measured(
        shift_pct=100 * float(np.hypot(move[0], move[1])) / SIDE_PX,
        rotation_deg=abs(math.degrees(float(move[2]))),
        match_before=before,
        match=after,
        brightness=float(test.mean()),
        contrast=deviation,
        sharpness=1 - float(blurred.std()) / deviation if deviation > 0 else 0.0,
        area_pct=100 * area,
        peak=peak,
        place_x=(place[0] + 0.5) / SIDE_PX if place else math.nan,
        place_y=(place[1] + 0.5) / SIDE_PX if place else math.nan,
        signature=signature(seen, golden, inside, place),
    )


def match(test: np.ndarray, golden: np.ndarray, inside: np.ndarray) -> float:
    """Return how well both agree where ``inside``: their correlation, -1 to 1.

    Where one is (nearly) flat a correlation says nothing: then the share of pixels that agree.
    """
    a, b = test[inside].astype(np.float32), golden[inside].astype(np.float32)
    if not a.size:
        return 0.0
    one, other = float(a.std()), float(b.std())
    if min(one, other) < FLAT:
        return float((np.abs(a - b) < UNLIKE).mean())
    return min(1.0, float(((a - a.mean()) * (b - b.mean())).mean() / (one * other)))


def laid_on(test: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Return (dx, dy, angle): pixels and radians by which ``test`` lies off ``golden``.

    Least squares over the pixels that agree, from coarse to fine, begun where the pictures lie and
    where phase correlation would lay them; the better match counts, and the smaller move where both
    match alike. Along straight tracks, where no shift can be seen, nothing moves.
    """
    a, b = test.astype(np.float32), golden.astype(np.float32)
    side = test.shape[0]
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    (dx, dy), _ = cv2.phaseCorrelate(b - b.mean(), a - a.mean(), window)
    found = [_refined(a, b, np.zeros(3))]
    if np.hypot(dx - found[0][0], dy - found[0][1]) > 1 and np.hypot(dx, dy) <= MOST_SHIFT:
        found.append(_refined(a, b, np.array([dx, dy, 0.0])))

    def worth(move: np.ndarray) -> float:
        seen, inside = moved(test, move)
        return match(seen, golden, inside) - PER_PIXEL * float(np.hypot(move[0], move[1]))

    return max([np.zeros(3), *found], key=worth)


def _refined(test: np.ndarray, golden: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return a start of :func:`laid_on` refined, or the start where that leads astray."""
    grid = (np.arange(len(golden)) - (len(golden) - 1) / 2).astype(np.float32)
    move = start
    for blur in BLURS:
        soft, other = (cv2.GaussianBlur(one, (0, 0), blur) for one in (golden, test))
        slope_y, slope_x = np.gradient(soft)
        turn = grid[None, :] * slope_y - grid[:, None] * slope_x
        slopes = np.stack([slope_x, slope_y, turn], axis=-1)
        for _ in range(REFINEMENTS):
            seen, inside = moved(other, move)
            rest = seen - soft
            far = np.abs(rest)
            here = far[inside]
            most = np.partition(here, int((1 - OUTLIERS) * (len(here) - 1)))
            good = inside & (far <= most[int((1 - OUTLIERS) * (len(here) - 1))])
            on = slopes[good].astype(np.float64)
            square = on.T @ on
            damped = square + DAMPING * np.trace(square[:2, :2]) * np.diag([1.0, 1.0, TURN_WEIGHT])
            if not np.trace(damped) > 0:
                return start
            move = move - np.linalg.solve(damped, on.T @ rest[good].astype(np.float64))
            astray = max(abs(move[0]), abs(move[1])) > MOST_SHIFT
            if astray or abs(math.degrees(move[2])) > MOST_TURN_DEG:
                return start
    return move


def moved(picture: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture with a move taken back, and where it then has pixels of its own.

    ``move``: (dx, dy, angle), see :func:`laid_on`.
    """
    side = picture.shape[0]
    centre = (side - 1) / 2
    cos, sin = math.cos(move[2]), math.sin(move[2])
    # The pixel at p of the golden lies at R (p - c) + c + d in the test picture.
    matrix = np.array(
        [
            [cos, -sin, centre - cos * centre + sin * centre + move[0]],
            [sin, cos, centre - sin * centre - cos * centre + move[1]],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(picture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT)
    grid = np.arange(side)
    at_x, at_y = (row[0] * grid[None, :] + row[1] * grid[:, None] + row[2] for row in matrix)
    slack = 0.5
    inside = (at_x >= -slack) & (at_x <= side - 1 + slack)
    return seen, inside & (at_y >= -slack) & (at_y <= side - 1 + slack)


def signature(
    seen: np.ndarray, golden: np.ndarray, inside: np.ndarray, place: tuple[int, int] | None
) -> np.ndarray:
    """Return how both differ around a place, as a unit vector; without a place, no difference."""
    found = np.zeros(CELLS * CELLS, np.float32)
    if place is not None:
        signed = np.where(inside, seen.astype(np.float32) - golden.astype(np.float32), 0)
        signed = cv2.GaussianBlur(signed, (0, 0), 2.0)
        padded = np.pad(signed, PATCH // 2)
        patch = padded[place[1] : place[1] + PATCH, place[0] : place[0] + PATCH]
        step = PATCH // CELLS
        found = patch.reshape(CELLS, step, CELLS, step).mean(axis=(1, 3)).ravel() / SCALE
    vector = np.append(found, np.float32(1))
    unit: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit
