"""Drawing one site with its specimen: board, solder, part, and what fell on it.

Pads and print belong to the board and never move; the part moves with its placement.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deft.demo.bodies import draw_chip, draw_package, draw_standing_chip
from deft.demo.canvas import Canvas, Points
from deft.demo.parts import (
    CHIPS,
    COPPER,
    PRINT,
    TIN,
    Pad,
    Part,
    Specimen,
    oval,
    pads_of,
    rectangle,
    turned,
)

Place = Callable[[Points], Points]


def draw(canvas: Canvas, part: Part, specimen: Specimen) -> None:
    """Draw the site of ``part`` and the specimen on it."""
    pads = pads_of(part)
    _site(canvas, part, specimen, pads)
    solder = specimen.solder or (1.0,) * len(pads)
    spread = specimen.spread or (0.0,) * len(pads)

    def on_board(points: Points) -> Points:
        return turned(points, part.angle)

    def on_part(points: Points) -> Points:
        moved = turned(points, specimen.turn) + np.array([specimen.du, specimen.dv])
        return turned(moved, part.angle)

    for number, (u, v, half_u, half_v) in enumerate(pads):
        lonely = specimen.lifted == number or specimen.standing * u < 0
        if specimen.missing or lonely:
            # Printed and reflowed but wetting nothing: a thin, nearly flat skin of tin.
            skin = oval(u, v, half_u * 0.95, half_v * 0.92, 0.4)
            canvas.solder([on_board(skin)], 0.20, (0.93, 0.80, 0.60))
            continue
        wide = spread[number]
        outline = oval(u, v, half_u + wide, half_v + wide, 0.45)
        canvas.solder([on_board(outline)], solder[number], TIN)
    if not specimen.missing:
        if specimen.standing:
            draw_standing_chip(canvas, part, specimen, on_part)
        elif part.kind in CHIPS:
            draw_chip(canvas, part, specimen, on_part)
        else:
            draw_package(canvas, part, specimen, pads, on_part)
    if specimen.bridged is not None:
        _bridge(canvas, part, pads, specimen, on_board)
    for number, wide in enumerate(spread):
        if wide > 0.05 and not specimen.missing:
            _blob(canvas, pads[number], wide, solder[number], on_board)
    _marks(canvas, specimen)


def _site(canvas: Canvas, part: Part, specimen: Specimen, pads: list[Pad]) -> None:
    """Tracks, copper pads and silkscreen: the same for every specimen but for wear and flux."""
    rng = np.random.default_rng(part.print_seed)
    ground = canvas.albedo.mean(axis=(0, 1))
    track = tuple(np.clip(ground * 1.28 + 0.03, 0.0, 1.0).tolist())
    for u, v, _, _ in pads:
        out = np.array([np.sign(u) if part.kind in CHIPS else 0.0, np.sign(v)])
        along = out if np.any(out) else np.array([1.0, 0.0])
        across = np.array([-along[1], along[0]]) * 0.045
        aside = np.array([along[1], along[0]])
        start = np.array([u, v])
        end = start + along * rng.uniform(0.8, 1.6) + aside * rng.uniform(-0.6, 0.6)
        strip = np.array([start - across, end - across, end + across, start + across])
        canvas.paint(canvas.mask([turned(strip, part.angle)]), track, metal=0.0, height=None)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(-0.95, 0.95, 2)
        if max(abs(x), abs(y)) > 0.72:
            for radius, tone, metal in ((0.09, COPPER, 0.9), (0.04, (0.05, 0.05, 0.05), 0.0)):
                ring = canvas.mask([oval(x, y, radius, radius, 1.0)])
                canvas.paint(ring, tone, metal=metal, height=0.0)
    if specimen.flux > 0:
        halo = [turned(oval(u, v, hu + 0.14, hv + 0.14, 0.9), part.angle) for u, v, hu, hv in pads]
        amber = np.array([0.45, 0.38, 0.20], np.float32)
        stain = canvas.mask(halo) * (0.55 * specimen.flux)
        canvas.paint(stain, amber, metal=0.0, height=None)
    for u, v, half_u, half_v in pads:
        pad = turned(rectangle(u, v, half_u, half_v), part.angle)
        canvas.paint(canvas.mask([pad]), COPPER, metal=1.0, height=0.0)
    far = max(abs(v) + half_v for _, v, _, half_v in pads) + 0.10
    long = part.length + 0.10
    if part.kind == "soic8":
        lines = [rectangle(-0.86, 0.0, 0.018, part.width * 0.9)]
        lines += [rectangle(0.86, 0.0, 0.018, part.width * 0.9)]
    else:
        lines = [rectangle(0.0, side * min(far, 0.80), long * 0.7, 0.020) for side in (-1, 1)]
    ink = canvas.mask([turned(line, part.angle) for line in lines]) * (1.0 - specimen.wear)
    canvas.paint(ink, PRINT, metal=0.0, height=None)
    corner = np.array([-0.97, -0.80] if rng.uniform() < 0.5 else [-0.97, 0.97])
    canvas.text(part.name.split("@")[0], corner, 0.42, PRINT, specimen.wear)


def _bridge(
    canvas: Canvas, part: Part, pads: list[Pad], specimen: Specimen, on_board: Place
) -> None:
    """Solder from pad to pad; between the two pads of a chip it runs along the body's side."""
    assert specimen.bridged is not None
    first, second = (np.array(pads[n][:2]) for n in specimen.bridged)
    width = specimen.bridge_width
    if part.kind in CHIPS:
        side = part.width + 0.4 * width
        canvas.solder([on_board(oval(0.0, side, abs(first[0]) + 0.12, width, 0.35))], 1.5, TIN)
        return
    middle = (first + second) / 2
    half = abs(first[0] - second[0]) / 2 + 0.07
    out = np.sign(middle[1]) * 0.04
    canvas.solder([on_board(oval(middle[0], middle[1] + out, half, width, 0.5))], 1.6, TIN)


def _blob(canvas: Canvas, pad: Pad, wide: float, amount: float, on_board: Place) -> None:
    """Solder that climbs over terminal or lead: drawn above them."""
    u, v, half_u, half_v = pad
    outline = oval(u, v, half_u + 0.75 * wide, half_v + 0.75 * wide, 0.8)
    canvas.solder([on_board(outline)], 2.2 * amount, TIN)


def _marks(canvas: Canvas, specimen: Specimen) -> None:
    """Dust and fibres: good parts have them too."""
    rng = np.random.default_rng(specimen.marks_seed)
    for _ in range(specimen.dust):
        x, y = rng.uniform(-0.9, 0.9, 2)
        size = rng.uniform(0.02, 0.05)
        tone = tuple((rng.uniform(0.45, 0.85) * np.array([1.0, 0.97, 0.90])).tolist())
        canvas.paint(
            canvas.mask([oval(x, y, size, size * rng.uniform(0.5, 1.5), 1.0)]),
            tone,
            metal=0.0,
            height=None,
        )
