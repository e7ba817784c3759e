"""The golden laid over the test picture: a fraction of a pixel off at most, and the right place."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deft.report.difference import WORKING_PX, difference

SPOT = (70, 40)  # x, y of the defect


def board(width: int = 128, height: int = 96) -> np.ndarray:
    rng = np.random.default_rng(3)
    rough = rng.integers(30, 220, (12, 16, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC))


def shifted(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = picture.shape[1::-1]
    return np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE))


def defective(picture: np.ndarray) -> np.ndarray:
    out = picture.copy()
    x, y = SPOT
    out[y - 4 : y + 5, x - 4 : x + 5] = 255 - out[y - 4 : y + 5, x - 4 : x + 5]
    return out


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (2, 0), (-3, 1), (1.5, -2.4), (5, 4)])
def test_the_golden_is_registered_and_the_defect_is_framed(dx: float, dy: float) -> None:
    golden = board()
    found = difference(defective(shifted(golden, dx, dy)), golden)
    assert found.shift_px == pytest.approx((dx, dy), abs=0.5)
    x, y = found.place[0] * 128, found.place[1] * 96
    assert abs(x - SPOT[0]) <= 8 and abs(y - SPOT[1]) <= 8


def test_without_registration_the_place_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = board()
    test = shifted(golden, 4, 3)
    test[SPOT[1] - 2 : SPOT[1] + 2, SPOT[0] - 2 : SPOT[0] + 2] = 128
    good = difference(test, golden).place
    monkeypatch.setattr("deft.report.difference._shift", lambda a, b: (0.0, 0.0))
    poor = difference(test, golden).place

    def away(place: tuple[float, float]) -> float:
        return float(np.hypot(place[0] * 128 - SPOT[0], place[1] * 96 - SPOT[1]))

    assert away(good) <= 8 < away(poor)


def test_another_picture_is_not_registered() -> None:
    other = np.ascontiguousarray(board()[::-1, ::-1])
    assert difference(board(), other).shift_px == (0.0, 0.0)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_picture_is_not_shifted(level: int) -> None:
    flat = np.full((96, 128, 3), level, np.uint8)
    assert difference(board(), flat).shift_px == (0.0, 0.0)
    assert difference(flat, board()).shift_px == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 3), (900, 30, 3), (64, 64, 3)])
def test_any_size_gives_a_picture(shape: tuple[int, int, int]) -> None:
    found = difference(np.full(shape, 90, np.uint8), board())
    assert found.picture.dtype == np.uint8 and max(found.picture.shape) <= WORKING_PX
    assert all(0 <= share < 1 for share in found.place)
