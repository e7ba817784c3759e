"""How a test picture lies on its golden: shift, rotation, overlap, or that nobody can tell.

A start by phase correlation, refined by the enhanced correlation coefficient (ECC: Evangelidis and
Psarakis, 2008) and by least squares over the pixels that agree, at the pictures' own resolution
(at most :data:`LONGER_PX`). Where the golden shows straight tracks alone, a shift along them
changes nothing: such a pair is uncertain, and so is one that no move makes alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

LONGER_PX = 256  # a larger picture is compared at this size
MOST = 0.15  # of the longer side; a greater shift is none of the same part
MOST_TURN_DEG = 5.0
BLUR_PX, ECC_FILTER, ECC_STEPS, ECC_EPSILON = 1.2, 5, 60, 1e-4
STEPS, STEP_PX = 12, 0.001  # of the least squares, and when they have arrived
AGREE = 0.93  # share of the pixels that count: a defect is among the others
FLAT = 8.0  # grey levels of deviation: less is a picture without a pattern
ALONG = 0.08  # least ratio of the two directions' gradients; below, one direction shows no shift
# Of the edges across the direction that shows least: the share that may lie half a pixel off.
DISAGREE, HALF_PX = 0.35, 0.5
ALIKE = 0.6  # least correlation once it is laid on the golden
PER_PX = 0.002  # of correlation that a pixel of shift must bring
OFF, SHIFT, EUCLIDEAN = KINDS = ("off", "shift", "euclidean")
# Half a pixel: a smaller move would blur more than it aligns. The steps make machines that differ
# in the last bit of a sum move a picture alike.
LEAST_MOVE_PX, STEP_OF_MOVE_PX, STEP_OF_TURN_DEG = 0.5, 0.125, 0.03125


@dataclass(frozen=True)
class Registration:
    """Where a test picture lies on its golden.

    Attributes
    ----------
    dx_px, dy_px: px of the golden by which the test picture's middle lies right of and below it.
    rotation_deg: its turn, clockwise positive; 0 where none was sought.
    overlap_pct: share of the golden that the test picture then covers.
    match_before, match: correlation as they are and laid on each other, -1 (bad) to 1.
    doubt: why the numbers say nothing; "" = they hold.
    """

    dx_px: float
    dy_px: float
    rotation_deg: float
    overlap_pct: float
    match_before: float
    match: float
    doubt: str = ""

    @property
    def shift_px(self) -> float:
        """Length of the shift."""
        return math.hypot(self.dx_px, self.dy_px)


def register(test: np.ndarray, golden: np.ndarray, *, turn: bool = False) -> Registration:
    """Return how ``test`` lies on ``golden``: uint8, (height, width) or (height, width, 3), RGB.

    A test picture of another size is brought to the golden's. ``turn``: seek a rotation too.
    """
    height, width = golden.shape[:2]
    scale = min(1.0, LONGER_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    seen, known = _grey(test, size), _grey(golden, size)
    everywhere = np.ones(known.shape, bool)
    before = _match(seen, known, everywhere)

    def doubtful(why: str) -> Registration:
        return Registration(0.0, 0.0, 0.0, 100.0, before, before, why)

    if min(float(seen.std()), float(known.std())) < FLAT:
        return doubtful("one of them shows no pattern")
    move = _begun(seen, known, turn)
    if move is None:
        return doubtful("no move lays one on the other")
    slopes = np.stack([cv2.Sobel(known, cv2.CV_32F, *at, ksize=3) / 8 for at in ((1, 0), (0, 1))])
    move = _refined(seen, known, slopes, move)
    laid, inside = _laid(seen, move)
    after = _match(laid, known, inside)
    middle = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2, 1.0])
    dx, dy = move.astype(np.float64) @ middle - middle[:2]
    turned = math.degrees(math.atan2(move[1, 0], move[0, 0]))
    blind = _along(seen, known, slopes, move)
    if blind:
        return doubtful(blind)
    if max(abs(dx), abs(dy)) > MOST * max(size) or abs(turned) > MOST_TURN_DEG:
        return doubtful("the move would be larger than a part's own")
    if after < ALIKE:
        return doubtful("they are not alike, wherever they are laid")
    if after < before:
        return Registration(0.0, 0.0, 0.0, 100.0, before, before)
    overlap = 100 * float(inside.mean())
    return Registration(float(dx) / scale, float(dy) / scale, turned, overlap, before, after)


def _grey(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    if grey.shape[::-1] != size:
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(grey.astype(np.float32), (0, 0), BLUR_PX))


def _match(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    one, other = a[inside], b[inside]
    if one.size < 2 or min(float(one.std()), float(other.std())) < 1:
        return 0.0
    product = (one - one.mean()) * (other - other.mean())
    return float(product.mean() / (one.std() * other.std()))


def _begun(seen: np.ndarray, known: np.ndarray, turn: bool) -> np.ndarray | None:
    """Return the better (2, 3) move of those that ECC finds from lying still and from the phase."""
    size = known.shape[::-1]
    window = cv2.createHanningWindow((size[0], size[1]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(known - known.mean(), seen - seen.mean(), window)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ECC_STEPS, ECC_EPSILON)
    kind = cv2.MOTION_EUCLIDEAN if turn else cv2.MOTION_TRANSLATION
    found: list[tuple[float, np.ndarray]] = []
    for start in dict.fromkeys(((0.0, 0.0), (x, y))):
        if max(map(abs, start)) > MOST * max(size):
            continue
        move = np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32)
        try:
            _, there = cv2.findTransformECC(
                known, seen, move, kind, stop, np.ones(known.shape, np.uint8), ECC_FILTER
            )
        except cv2.error:
            continue  # it did not converge from there
        one = np.asarray(there)
        laid, inside = _laid(seen, one)
        worth = _match(laid, known, inside) - PER_PX * float(np.hypot(one[0, 2], one[1, 2]))
        found.append((worth, one))
    return max(found, key=lambda one: one[0])[1] if found else None


def _laid(seen: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture with a move taken back, and where it then has pixels of its own."""
    size = (seen.shape[1], seen.shape[0])
    laid = cv2.warpAffine(
        seen, move, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    own = cv2.warpAffine(
        np.ones(seen.shape, np.uint8), move, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(laid), np.asarray(own) > 0


def _refined(
    seen: np.ndarray, known: np.ndarray, slopes: np.ndarray, move: np.ndarray
) -> np.ndarray:
    """Return the move with its shift refined over the pixels where both agree."""
    move = move.astype(np.float64)
    for _ in range(STEPS):
        rest, inside = _rest(seen, known, move)
        far = np.abs(rest)
        good = inside & (far <= max(1.0, float(np.quantile(far[inside], AGREE))))
        on = slopes[:, good].astype(np.float64)
        step = np.linalg.lstsq(on @ on.T, on @ rest[good].astype(np.float64), rcond=1e-6)[0]
        move[:, 2] -= step
        if max(abs(move[0, 2]), abs(move[1, 2])) > 2 * MOST * max(known.shape):
            break
        if float(np.hypot(*step)) < STEP_PX:
            break
    return move


def _rest(seen: np.ndarray, known: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the laid picture differs from the golden by, in its greys, and where it lies."""
    laid, inside = _laid(seen, move)
    gain = max(float(laid[inside].std()) / max(float(known[inside].std()), 1e-6), 1e-6)
    return (laid - laid[inside].mean()) / gain - (known - known[inside].mean()), inside


def _along(seen: np.ndarray, known: np.ndarray, slopes: np.ndarray, move: np.ndarray) -> str:
    """Return why a move may be wrong in the direction that shows shifts least, or ``""``.

    Few edges cross that direction. They may be too few; and where the move is wrong they are the
    very pixels that the refinement took for defects.
    """
    rest, inside = _rest(seen, known, move)
    every = slopes[:, inside].astype(np.float64)
    strengths, directions = np.linalg.eigh(every @ every.T)
    if strengths[0] < ALONG * strengths[1]:
        return "straight tracks show no shift along them"
    edges = np.abs(directions[:, 0] @ every)
    off = np.abs(rest[inside]) > HALF_PX * edges
    if (edges[off] ** 2).sum() > DISAGREE * (edges**2).sum():
        return "the few edges that would show a shift along the tracks do not agree"
    return ""


class Aligned(NamedTuple):
    """A part's test pictures as they are laid on its goldens, or as they were.

    Attributes
    ----------
    lights: uint8 (height, width, 3), one a light.
    dx_px, dy_px, rotation_deg: what was taken back, as in :class:`Registration`; 0 = nothing.
    match_before, match: of the light that told it.
    doubt: why nothing was taken back though something may lie off; "" = nothing is doubted.
    """

    lights: list[np.ndarray]
    dx_px: float
    dy_px: float
    rotation_deg: float
    match_before: float
    match: float
    doubt: str

    @property
    def moved(self) -> bool:
        """Whether the pictures are other ones now."""
        return bool(self.dx_px or self.dy_px or self.rotation_deg)


def align(tests: Sequence[np.ndarray], goldens: Sequence[np.ndarray], kind: str) -> Aligned:
    """Lay a part's test pictures on its goldens: one move for all its lights, or none.

    The light that its golden matches best tells the move: they are taken from one place. What would
    move nothing by half a pixel is left, and so is a move that does not stand when the moved
    pictures are measured again; an aligned part is therefore its own result.

    Parameters
    ----------
    tests, goldens: uint8 (height, width, 3), RGB, one a light; a test picture's size may be another
        than its golden's.
    kind: ``shift`` or ``euclidean`` (with rotation).
    """
    lights = list(tests)
    found = _measured(lights, goldens, kind)
    move = _move(found, goldens[0].shape[:2])
    if move is None:
        return Aligned(lights, 0.0, 0.0, 0.0, found.match_before, found.match, found.doubt)
    laid = [_taken_back(one, golden, move) for one, golden in zip(tests, goldens, strict=True)]
    again = _measured(laid, goldens, kind)
    if again.doubt or _move(again, goldens[0].shape[:2]) is not None:
        why = again.doubt or "the move does not stand when it is measured again"
        return Aligned(lights, 0.0, 0.0, 0.0, found.match_before, found.match_before, why)
    return Aligned(laid, *move, found.match_before, again.match, "")


def _measured(
    tests: Sequence[np.ndarray], goldens: Sequence[np.ndarray], kind: str
) -> Registration:
    """Return the registration of the light that tells most; doubted ones tell least."""
    each = [
        register(test, golden, turn=kind == EUCLIDEAN)
        for test, golden in zip(tests, goldens, strict=True)
    ]
    return max(each, key=lambda one: (not one.doubt, one.match))


def _move(found: Registration, size: tuple[int, int]) -> tuple[float, float, float] | None:
    """Return the move in whole steps; None where it is doubted or too small to be made."""
    dx, dy = (
        round(value / STEP_OF_MOVE_PX) * STEP_OF_MOVE_PX for value in (found.dx_px, found.dy_px)
    )
    turn = round(found.rotation_deg / STEP_OF_TURN_DEG) * STEP_OF_TURN_DEG
    corner = math.radians(abs(turn)) * math.hypot(*size) / 2
    if found.doubt or math.hypot(dx, dy) + corner < LEAST_MOVE_PX:
        return None
    return dx, dy, turn


def _taken_back(
    test: np.ndarray, golden: np.ndarray, move: tuple[float, float, float]
) -> np.ndarray:
    """Return a test picture with a move taken back; what comes from outside repeats its edge."""
    (height, width), (high, wide) = test.shape[:2], golden.shape[:2]
    turn = math.radians(move[2])
    cos, sin = math.cos(turn), math.sin(turn)
    x, y = (width - 1) / 2, (height - 1) / 2
    right, down = move[0] * width / wide, move[1] * height / high
    there = np.array(
        [[cos, -sin, x - cos * x + sin * y + right], [sin, cos, y - sin * x - cos * y + down]]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(test, there, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    )
