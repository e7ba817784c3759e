"""Facts of drawn pairs whose truth is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from planted_causes import defect, golden_picture, photographed

from deft.causes.measure import measure
from deft.tables.differing import SIDE_PX


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("move", [(4, 0, 0), (-3, 6, 0), (0, 0, 3), (7, -5, -2), (1.5, 2.5, 1)])
def test_shift_and_turn_are_measured(move: tuple[float, float, float]) -> None:
    for seed in range(4):
        golden = golden_picture(rng(seed))
        centre = (SIDE_PX - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), -move[2], 1)
        matrix[:, 2] += move[:2]
        shape = golden.shape
        test = cv2.warpAffine(golden, matrix, shape, borderMode=cv2.BORDER_REFLECT)
        found = measure(test, golden)
        assert found.shift_pct == pytest.approx(100 * np.hypot(*move[:2]) / SIDE_PX, abs=0.7)
        assert found.rotation_deg == pytest.approx(abs(move[2]), abs=0.4)
        assert found.match > 0.98 and found.match > found.match_before


def test_a_shifted_good_part_shows_no_difference_and_a_shifted_defect_its_place() -> None:
    golden = golden_picture(rng(1))
    shifted = np.roll(photographed(golden, rng(2)), 5, axis=1)
    assert measure(shifted, golden).area_pct < 1
    bad = photographed(golden, rng(2))
    defect(bad, "missing", (60, 30), rng(3))
    found = measure(np.roll(bad, 5, axis=1), golden)
    # The place is the golden's: where the defect was before the part was shifted.
    assert (found.place_x * SIDE_PX, found.place_y * SIDE_PX) == pytest.approx((60, 30), abs=5)


def test_equal_pictures_are_equal_in_everything() -> None:
    golden = golden_picture(rng(4))
    found = measure(golden, golden)
    assert (found.shift_pct, found.rotation_deg, found.area_pct) == (0, 0, 0)
    assert found.match == pytest.approx(1)
    assert np.isnan(found.place_x) and np.isnan(found.place_y)
    assert found.signature[-1] == 1


@pytest.mark.parametrize("tone", [0, 128, 255])
def test_flat_pictures_are_no_wrong_golden(tone: int) -> None:
    """A defect on blank board: a correlation with a flat picture would say nothing."""
    golden = np.full((SIDE_PX, SIDE_PX), tone, np.uint8)
    assert measure(golden, golden).match == 1
    bad = golden.copy()
    cv2.circle(bad, (40, 40), 7, 255 - tone if tone != 128 else 255, -1)
    assert measure(bad, golden).match > 0.9
    assert measure(golden_picture(rng(5)), golden).shift_pct == 0


def test_another_part_does_not_match() -> None:
    for seed in range(10):
        found = measure(golden_picture(rng(seed)), golden_picture(rng(seed + 50)))
        assert found.match < 0.7 and found.area_pct > 8


def test_straight_tracks_say_nothing_of_a_shift_along_them() -> None:
    golden = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    golden[:, 30:50] = 200  # from top to bottom
    assert measure(np.roll(golden, 9, axis=0), golden).shift_pct == 0
    found = measure(np.roll(golden, 4, axis=1), golden)
    assert found.shift_pct == pytest.approx(100 * 4 / SIDE_PX, abs=0.7)


def test_light_and_focus_are_measured() -> None:
    golden = golden_picture(rng(6))
    plain = measure(golden, golden)
    brighter = measure(np.clip(golden.astype(int) + 20, 0, 255).astype(np.uint8), golden)
    assert brighter.brightness > plain.brightness + 15 and brighter.match > 0.98
    blurred = measure(cv2.GaussianBlur(golden, (0, 0), 2), golden)
    assert blurred.sharpness < plain.sharpness
