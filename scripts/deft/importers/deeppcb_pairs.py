"""Synthetic NG / OK pairs: the six defects drawn on windows of defect-free templates.

Stands in for the pictures that a generator of anomalies would hand over. Copper is dark (0), the
bare board light (255).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from deft.importers.deeppcb_windows import INK_BELOW

Rng = np.random.Generator
COPPER, BARE = 0, 255
MARGIN_PX = 14  # a defect at the rim of the window would be cut off


def draw_defect(window: np.ndarray, defect: str, rng: np.random.Generator) -> np.ndarray | None:
    """Return a (h, w) uint8 copy with ``defect`` drawn in, or None where it finds no place."""
    copper = (window < INK_BELOW).astype(np.uint8)
    if not copper.any() or copper.all():
        return None
    inside = cv2.distanceTransform(copper, cv2.DIST_L2, 5)  # depth in copper, px
    outside = cv2.distanceTransform(1 - copper, cv2.DIST_L2, 5)  # distance from copper, px
    out = window.copy()
    done = DRAWERS[defect](out, inside, outside, rng)
    return out if done and int((out != window).sum()) >= 8 else None


def _pick(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return (x, y) of a random true pixel away from the rim."""
    inner = np.zeros_like(mask, dtype=bool)
    rim = min(MARGIN_PX, min(mask.shape) // 4)
    inner[rim:-rim, rim:-rim] = True
    ys, xs = np.nonzero(mask & inner)
    if not len(xs):
        return None
    at = int(rng.integers(len(xs)))
    return np.array([xs[at], ys[at]], float)


def _uphill(depth: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the unit direction in which ``depth`` grows fastest at a pixel."""
    x, y = at.astype(int)
    patch = cv2.GaussianBlur(depth, (0, 0), 1.5)
    slope = np.array([patch[y, x + 1] - patch[y, x - 1], patch[y + 1, x] - patch[y - 1, x]])
    length = float(np.hypot(*slope))
    return slope / length if length > 1e-6 else np.array([1.0, 0.0])


def _blob(out: np.ndarray, at: np.ndarray, radius: float, tone: int, rng: Rng) -> None:
    """Draw a ragged disc: real defects are no circles."""
    for _ in range(4):
        centre = at + radius * np.clip(rng.normal(0.0, 0.35, 2), -0.6, 0.6)
        size = max(1, round(radius * rng.uniform(0.6, 1.0)))
        cv2.circle(out, tuple(np.round(centre).astype(int).tolist()), size, tone, -1)


def _line(out: np.ndarray, start: np.ndarray, end: np.ndarray, tone: int, thick: int) -> None:
    ends = [tuple(np.round(p).astype(int).tolist()) for p in (start, end)]
    cv2.line(out, ends[0], ends[1], tone, thick)


def _ridge(depth: np.ndarray) -> np.ndarray:
    """Return where ``depth`` is a local maximum: the middle lines of tracks or gaps."""
    ridge: np.ndarray = (depth > 0) & (depth >= cv2.dilate(depth, np.ones((3, 3), np.uint8)) - 1e-3)
    return ridge


def _nearest(mask: np.ndarray, at: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(mask)
    best = int(np.argmin((xs - at[0]) ** 2 + (ys - at[1]) ** 2))
    return np.array([xs[best], ys[best]], float)


def _cross(
    out: np.ndarray, depth: np.ndarray, tone: int, reach: tuple[float, float], rng: Rng
) -> bool:
    """Draw a stroke across a strip (track or gap) from one bank to the other."""
    at = _pick(_ridge(depth) & (depth >= reach[0]) & (depth <= reach[1]), rng)
    if at is None:
        return False
    half = at - _nearest(depth == 0, at)
    far = at + half * 1.15
    x, y = np.round(far).astype(int)
    height, width = depth.shape
    if not (0 <= x < width and 0 <= y < height) or depth[y, x] > 2.5:
        return False  # the other bank is not where a straight strip would have it
    _line(out, at - half * 1.25, at + half * 1.25, tone, int(rng.integers(3, 8)))
    return True


# Each drawer changes ``out`` in place, given the depth in copper and the distance from it (both
# float (h, w), px), and returns False where the window has no place for its defect.
def _open(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    return _cross(out, inside, BARE, (2.0, 14.0), rng)


def _short(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    return _cross(out, outside, COPPER, (3.0, 18.0), rng)


def _mousebite(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    at = _pick((inside > 0) & (inside <= 1.5), rng)
    if at is None:
        return False
    _blob(out, at, rng.uniform(4.0, 7.0), BARE, rng)
    return True


def _spur(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    at = _pick((outside > 0) & (outside <= 1.5), rng)
    if at is None:
        return False
    away = _uphill(outside, at)
    for step in (0.0, 3.0, 6.0):
        _blob(out, at + away * step, rng.uniform(2.5, 4.5), COPPER, rng)
    return True


def _copper(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    radius = rng.uniform(3.0, 6.0)
    at = _pick(outside >= 2.0 * radius + 1.0, rng)  # further off than the blob can reach
    if at is None:
        return False
    _blob(out, at, radius, COPPER, rng)
    return True


def _pin_hole(out: np.ndarray, inside: np.ndarray, outside: np.ndarray, rng: Rng) -> bool:
    at = _pick(inside >= 5.0, rng)
    if at is None:
        return False
    _blob(out, at, rng.uniform(1.8, 3.2), BARE, rng)
    return True


DRAWERS: dict[str, Callable[..., bool]] = {
    "open": _open,
    "short": _short,
    "mousebite": _mousebite,
    "spur": _spur,
    "copper": _copper,
    "pin-hole": _pin_hole,
}
