"""Shifts of real crops and of drawn parts are found, and where none can be seen that is said.

The moved pictures are made by another way than the code's: eight pixels for each, rolled, averaged.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted_causes import golden_picture

from deft.importers.deeppcb_source import find_groups, read_pair
from deft.score_kit.registration import register

ROOT = Path(os.environ.get("DEEPPCB_ROOT", "absent"))
FINE, ROOM = 8, 16


def shifted(board: np.ndarray, at: tuple[int, int], side: int, dx: float, dy: float) -> np.ndarray:
    """Return the window at (x, y) of a board that was moved by (dx, dy), eighths of a pixel."""
    x, y = at
    area = board[y - ROOM : y + side + ROOM, x - ROOM : x + side + ROOM].astype(np.float32)
    large = np.kron(area, np.ones((FINE, FINE), np.float32))
    large = np.roll(large, (round(dy * FINE), round(dx * FINE)), (0, 1))
    large = cv2.GaussianBlur(large, (0, 0), FINE / 2)  # a lens
    size = side + 2 * ROOM
    small = large.reshape(size, FINE, size, FINE).mean(axis=(1, 3))
    return np.clip(small[ROOM:-ROOM, ROOM:-ROOM], 0, 255).astype(np.uint8)


def errors(boards: list[np.ndarray], side: int, each: int) -> tuple[np.ndarray, int]:
    """Return px by which found shifts are wrong, and how many pairs were doubtful."""
    rng = np.random.default_rng(0)
    found, doubtful = [], 0
    for board in boards:
        for _ in range(each):
            x, y = rng.integers(ROOM, min(board.shape) - side - ROOM, 2)
            length, angle = rng.uniform(0.5, 6), rng.uniform(0, 2 * np.pi)
            dx, dy = (round(FINE * length * f(angle)) / FINE for f in (np.cos, np.sin))
            golden = shifted(board, (x, y), side, 0, 0)
            one = register(shifted(board, (x, y), side, dx, dy), golden)
            if one.doubt:
                doubtful += 1
            else:
                found.append(np.hypot(one.dx_px - dx, one.dy_px - dy))
    return np.array(found), doubtful


def drawn_board(seed: int) -> np.ndarray:
    """Return (220, 220) of tracks that bend, and pads."""
    rng = np.random.default_rng(seed)
    board = np.full((220, 220), 240, np.uint8)
    for _ in range(14):
        at = rng.integers(0, 220, 2)
        for _ in range(4):
            to = at + rng.choice([-50, 0, 50, 30], 2)
            cv2.line(board, at.tolist(), to.tolist(), 20, int(rng.integers(3, 7)))
            at = to
        cv2.circle(board, at.tolist(), int(rng.integers(5, 9)), 20, -1)
    return board


def test_shifts_of_drawn_boards_are_found_to_a_quarter_pixel() -> None:
    wrong, _ = errors([drawn_board(seed) for seed in range(8)], 96, 3)
    assert len(wrong) >= 16
    assert wrong.max() <= 0.25


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "PCBData").is_dir(), reason="DEEPPCB_ROOT is not set")
@pytest.mark.parametrize("side", [64, 96, 160])
def test_shifts_of_real_crops_are_found_to_a_quarter_pixel(side: int) -> None:
    pictures = [p for _, found in sorted(find_groups(ROOT).items()) for p in found][::3]
    wrong, doubtful = errors([read_pair(p)[1] for p in pictures], side, 3)
    # The others show straight tracks, or nothing: most of what a small window sees.
    assert len(wrong) > 0.25 * (len(wrong) + doubtful)
    assert (wrong <= 0.25).mean() >= 0.98, np.sort(wrong)[-5:]
    assert np.median(wrong) < 0.08


@pytest.mark.parametrize("turn_deg", [0.3, -1.0, 2.5])
def test_a_turn_is_found(turn_deg: float) -> None:
    for seed in range(3):
        golden = golden_picture(np.random.default_rng(seed))
        centre = (golden.shape[0] - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), -turn_deg, 1)
        test = cv2.warpAffine(golden, matrix, golden.shape, borderMode=cv2.BORDER_REFLECT)
        found = register(test, golden, turn=True)
        assert not found.doubt
        assert found.rotation_deg == pytest.approx(turn_deg, abs=0.15)
        assert found.shift_px < 0.25 and found.match > found.match_before


def test_what_shows_no_shift_is_doubtful() -> None:
    tracks = np.zeros((96, 96), np.uint8)
    tracks[:, 20:40] = tracks[:, 60:70] = 200
    assert "tracks" in register(np.roll(tracks, 5, 0), tracks).doubt
    flat = np.full((96, 96), 90, np.uint8)
    assert "pattern" in register(flat, tracks).doubt
    noise = np.random.default_rng(0).integers(0, 255, (96, 96)).astype(np.uint8)
    other = np.random.default_rng(1).integers(0, 255, (96, 96)).astype(np.uint8)
    assert register(noise, other).doubt


def test_a_defect_is_no_shift() -> None:
    golden = golden_picture(np.random.default_rng(3))
    bad = golden.copy()
    bad[30:50, 40:60] = 255 - bad[30:50, 40:60]
    found = register(bad, golden)
    assert found.shift_px < 0.25


def test_another_size_is_brought_to_the_goldens() -> None:
    golden = golden_picture(np.random.default_rng(4))
    large = cv2.resize(np.roll(golden, 4, 1), (192, 192), interpolation=cv2.INTER_LINEAR)
    found = register(large, golden)
    assert not found.doubt and found.dx_px == pytest.approx(4, abs=0.25)
