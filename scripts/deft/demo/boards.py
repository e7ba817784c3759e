"""Boards and cameras: mask colours, substrate texture, how a picture is taken."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deft.demo.canvas import SUPERSAMPLE, Colour

MASKS: dict[str, Colour] = {
    "green": (0.07, 0.36, 0.17),
    "dark green": (0.05, 0.25, 0.13),
    "blue": (0.07, 0.20, 0.46),
    "red": (0.48, 0.08, 0.09),
    "black": (0.11, 0.12, 0.13),
    "teal": (0.05, 0.33, 0.34),
}
JPEG_QUALITY = 93


@dataclass(frozen=True)
class Board:
    """What all parts of one board share.

    ``tint`` shifts the solder mask of this lot (RGB, added), ``gain`` and ``white`` are the
    camera's exposure and white balance on the day, ``noise`` the sensor's (sigma, full scale 1),
    ``aged`` in 0 … 1 says how far the lot strays from the golden one (print, flux, dust).
    """

    name: str
    design: int
    mask: Colour
    tint: Colour
    gain: float
    white: Colour
    noise: float
    aged: float


@dataclass(frozen=True)
class Pose:
    """How far the camera is off for one picture: pixels, degrees, blur sigma in pixels."""

    dx_px: float = 0.0
    dy_px: float = 0.0
    turn_deg: float = 0.0
    blur_px: float = 0.35


def design_mask(design: int) -> Colour:
    """Return the solder-mask colour of a design."""
    return list(MASKS.values())[design % len(MASKS)]


def golden_board(design: int) -> Board:
    """Return the board that the golden pictures of a design were taken from."""
    return Board(
        name=f"golden-{design}",
        design=design,
        mask=design_mask(design),
        tint=(0.0, 0.0, 0.0),
        gain=1.0,
        white=(1.0, 1.0, 1.0),
        noise=0.010,
        aged=0.0,
    )


def production_board(name: str, design: int, aged: float, rng: np.random.Generator) -> Board:
    """Return one board off the line, with its own lot and camera settings."""
    return Board(
        name=name,
        design=design,
        mask=design_mask(design),
        tint=tuple(rng.normal(0.0, 0.012, 3).tolist()),
        gain=float(rng.normal(1.0, 0.04)),
        white=tuple(rng.normal(1.0, 0.015, 3).tolist()),
        noise=float(rng.uniform(0.010, 0.020)),
        aged=aged,
    )


def ground(board: Board, rng: np.random.Generator) -> np.ndarray:
    """Return bare board under solder mask: (32, 32, 3), the glass weave showing through."""
    y, x = np.mgrid[0:32, 0:32].astype(np.float32)
    weave = 0.006 * (np.sin(x * 1.3) + np.sin(y * 1.3))
    grain = rng.normal(0.0, 0.006, (32, 32)).astype(np.float32)
    base = np.asarray(board.mask, np.float32) + np.asarray(board.tint, np.float32)
    ground: np.ndarray = np.clip(base + (weave + grain)[..., None], 0.0, 1.0)
    return ground


def random_pose(rng: np.random.Generator) -> Pose:
    """Return a camera offset as the line has it: about half a pixel and half a degree."""
    return Pose(
        dx_px=float(np.clip(rng.normal(0.0, 0.5), -1.2, 1.2)),
        dy_px=float(np.clip(rng.normal(0.0, 0.5), -1.2, 1.2)),
        turn_deg=float(np.clip(rng.normal(0.0, 0.5), -1.2, 1.2)),
        blur_px=float(rng.uniform(0.25, 0.55)),
    )


def photograph(
    scene: np.ndarray, board: Board, pose: Pose, size_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the camera's picture of a shaded scene: (size_px, size_px, 3) uint8 RGB."""
    side = scene.shape[0]
    centre = ((side - 1) / 2.0, (side - 1) / 2.0)
    warp = cv2.getRotationMatrix2D(centre, pose.turn_deg, 1.0)
    warp[:, 2] += np.array([pose.dx_px, pose.dy_px]) * SUPERSAMPLE
    moved = cv2.warpAffine(
        scene, warp, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    seen = cv2.resize(moved, (size_px, size_px), interpolation=cv2.INTER_AREA)
    seen = cv2.GaussianBlur(seen, (0, 0), pose.blur_px)
    exposed = seen * (board.gain * np.asarray(board.white, np.float32))
    noise = np.asarray(rng.normal(0.0, board.noise, seen.shape), np.float32)
    levels: np.ndarray = np.round(np.clip(exposed + noise, 0.0, 1.0) * 255.0)
    return levels.astype(np.uint8)


def encode(picture: np.ndarray, ext: str) -> bytes:
    """Return an RGB picture as file bytes (``.jpg`` or ``.png``)."""
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if ext == ".jpg" else []
    done, data = cv2.imencode(ext, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"cannot encode a picture as {ext!r}")
    return data.tobytes()
