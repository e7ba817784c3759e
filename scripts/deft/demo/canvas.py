"""The drawing surface: colour, metal and height maps in crop units, and how lights shade them.

Crop units: the crop spans -1 … 1 on both axes, x to the right, y down. A surface knows what it is
made of and how high it stands; what a camera sees of it depends on the light, as on a real AOI
machine: the solder light is a tower of red, green and blue rings, so that solder shows its slope
as a colour, and the white light shows paint and print.
"""

from __future__ import annotations

import cv2
import numpy as np

Points = np.ndarray  # (n, 2) in crop units
Colour = tuple[float, float, float]  # RGB, 0 … 1

SUPERSAMPLE = 2
LIGHTS = ("SolderLight", "WhiteLight")
SHIFT_BITS = 4  # cv2 draws with 1/16 pixel when told so

# What each ring of the solder light returns from metal: flat, half steep, steep.
RING_COLOURS = np.array([[0.95, 0.24, 0.20], [0.22, 0.80, 0.30], [0.14, 0.26, 0.92]], np.float32)
RING_SLOPES = np.array([0.10, 0.55, 1.20], np.float32)


class Canvas:
    """Maps of one crop at twice the picture's size.

    ``albedo`` (s, s, 3) in 0 … 1, ``metal`` (s, s) 0 = paint … 1 = bare metal, ``height`` (s, s) in
    crop units above the board.
    """

    def __init__(self, size_px: int, ground: np.ndarray) -> None:
        self.side = size_px * SUPERSAMPLE
        self.albedo = cv2.resize(ground, (self.side, self.side), interpolation=cv2.INTER_LINEAR)
        self.metal = np.zeros((self.side, self.side), np.float32)
        self.height = np.zeros((self.side, self.side), np.float32)

    def pixels(self, points: Points) -> np.ndarray:
        """Return crop units as cv2's fixed-point pixel coordinates."""
        scaled = (np.asarray(points, np.float64) + 1.0) * 0.5 * self.side - 0.5
        return np.round(scaled * (1 << SHIFT_BITS)).astype(np.int32)

    def mask(self, polygons: list[Points]) -> np.ndarray:
        """Return the union of polygons as a smooth (s, s) mask, 0 … 1."""
        drawn = np.zeros((self.side, self.side), np.uint8)
        for polygon in polygons:
            cv2.fillPoly(drawn, [self.pixels(polygon)], 255, cv2.LINE_AA, SHIFT_BITS)
        return drawn.astype(np.float32) / 255.0

    def paint(
        self, mask: np.ndarray, colour: Colour | np.ndarray, *, metal: float, height: float | None
    ) -> None:
        """Lay a material over the masked place; ``height`` None leaves the relief as it is."""
        soft = mask[..., None]
        self.albedo += soft * (np.asarray(colour, np.float32) - self.albedo)
        self.metal += mask * (metal - self.metal)
        if height is not None:
            self.height += mask * (height - self.height)

    def solder(self, polygons: list[Points], amount: float, colour: Colour) -> None:
        """Heap solder over the polygons: a dome whose flank is steeper the more solder there is."""
        mask = self.mask(polygons)
        inner = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        reach = max(float(inner.max()), 1.0)
        # A dome, not a cone: steep at the rim and flat on top, as wetting solder sets.
        profile = np.sqrt(np.clip(1.0 - (1.0 - inner / reach) ** 2, 0.0, 1.0))
        self.paint(mask, colour, metal=1.0, height=None)
        self.height = np.maximum(self.height, mask * profile * amount * 0.16)

    def text(self, words: str, where: Points, scale: float, colour: Colour, wear: float) -> None:
        """Print words with their left end at ``where``; ``wear`` 0 = fresh … 1 = gone."""
        drawn = np.zeros((self.side, self.side), np.uint8)
        x, y = (self.pixels(where) >> SHIFT_BITS).tolist()
        size = scale * self.side / 128.0
        cv2.putText(drawn, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
        self.paint(drawn.astype(np.float32) / 255.0 * (1.0 - wear), colour, metal=0.0, height=None)

    def printed(self, words: str, outline: Points, colour: Colour, wear: float) -> None:
        """Print words into a quadrilateral (corners clockwise from the upper left of the text)."""
        sheet = np.zeros((24, max(14 * len(words), 14)), np.uint8)
        cv2.putText(sheet, words, (1, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.66, 255, 2, cv2.LINE_AA)
        rows, columns = sheet.shape
        corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
        target = ((np.asarray(outline, np.float32) + 1.0) * 0.5 * self.side).astype(np.float32)
        warp = cv2.getPerspectiveTransform(corners, target)
        drawn = cv2.warpPerspective(sheet, warp, (self.side, self.side), flags=cv2.INTER_LINEAR)
        self.paint(drawn.astype(np.float32) / 255.0 * (1.0 - wear), colour, metal=0.0, height=None)

    def shade(self, light: str) -> np.ndarray:
        """Return what a camera sees under ``light``: (s, s, 3) in 0 … 1, still noise-free."""
        relief = cv2.GaussianBlur(self.height, (0, 0), 1.2)
        per_unit = 0.5 * self.side
        across = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3, scale=per_unit / 8.0)
        down = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3, scale=per_unit / 8.0)
        slope = cv2.magnitude(across, down)
        if light == "SolderLight":
            shine = np.stack(
                [np.interp(slope, RING_SLOPES, RING_COLOURS[:, c]) for c in range(3)], axis=-1
            ).astype(np.float32)
            diffuse = self.albedo * np.array([0.74, 0.70, 0.80], np.float32)
        elif light == "WhiteLight":
            glare = 0.25 + 0.70 / (1.0 + (2.2 * slope) ** 2)
            shine = glare[..., None] * np.array([1.0, 0.99, 0.95], np.float32)
            diffuse = self.albedo * 1.05
        else:
            raise ValueError(f"unknown light {light!r}; known: {LIGHTS}")
        # Paint on a flank looks darker, and the upper left of a body catches a little more light.
        paint = diffuse * (1.0 / (1.0 + 0.35 * slope) + 0.10 * np.tanh(across + down))[..., None]
        mix = self.metal[..., None]
        tinted = shine * (0.35 + 0.65 * self.albedo)
        picture: np.ndarray = np.clip(mix * tinted + (1.0 - mix) * paint, 0.0, 1.0)
        return picture
