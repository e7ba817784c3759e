"""Component crops: what a part is by design, how one specimen of it sits, and drawing both.

Part units: u along the part, v across it, in crop units before the part's own turn. Pads and
print belong to the board and never move; body, terminals and leads move with the placement.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from deft.demo.canvas import Canvas, Colour, Points

KINDS = ("resistor", "capacitor", "diode", "led", "sot23", "soic8")
PREFIX = {"resistor": "R", "capacitor": "C", "diode": "D", "led": "LD", "sot23": "Q", "soic8": "U"}
CHIPS = ("resistor", "capacitor", "led", "diode")
LEADED = ("sot23", "soic8")

TIN: Colour = (0.86, 0.87, 0.88)
COPPER: Colour = (0.95, 0.78, 0.50)
PRINT: Colour = (0.90, 0.91, 0.88)


@dataclass(frozen=True)
class Part:
    """One component of a design.

    ``angle`` in degrees (a multiple of 90), ``length`` and ``width`` half sizes of the body in crop
    units, ``print_seed`` fixes tracks and print around it.
    """

    name: str
    kind: str
    angle: int
    length: float
    width: float
    body: Colour
    marking: str
    print_seed: int


@dataclass(frozen=True)
class Specimen:
    """How one specimen sits and what happened to it; the default is the golden one.

    Offsets in crop units, ``turn`` in degrees, ``solder`` one factor per pad (1 = nominal),
    ``spread`` how far the solder floods beyond each pad in crop units, ``standing`` -1 | 0 | 1 the end
    a tombstoned chip stands on, ``lifted`` and ``bridged`` pad numbers.
    """

    du: float = 0.0
    dv: float = 0.0
    turn: float = 0.0
    missing: bool = False
    reversed: bool = False
    upside_down: bool = False
    standing: int = 0
    standing_size: float = 0.45
    lifted: int | None = None
    lift: float = 0.0
    bridged: tuple[int, int] | None = None
    bridge_width: float = 0.0
    solder: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    shade: float = 1.0
    marking: str | None = None
    wear: float = 0.0
    flux: float = 0.0
    dust: int = 0
    marks_seed: int = field(default=0, compare=False)


def pads_of(part: Part) -> list[tuple[float, float, float, float]]:
    """Return the pads as (u, v, half length, half width)."""
    if part.kind in CHIPS:
        reach = part.length + 0.06
        return [(side * reach, 0.0, 0.17, part.width * 0.95) for side in (-1, 1)]
    if part.kind == "sot23":
        v = part.width + 0.20
        return [(-0.30, v, 0.12, 0.17), (0.30, v, 0.12, 0.17), (0.0, -v, 0.12, 0.17)]
    v = part.width + 0.20
    us = (-0.51, -0.17, 0.17, 0.51)
    return [(u, v, 0.085, 0.18) for u in us] + [(u, -v, 0.085, 0.18) for u in us]


def rectangle(u: float, v: float, half_u: float, half_v: float) -> Points:
    """Return the corners of an upright rectangle, clockwise from its upper left."""
    return np.array(
        [
            [u - half_u, v - half_v],
            [u + half_u, v - half_v],
            [u + half_u, v + half_v],
            [u - half_u, v + half_v],
        ]
    )


def oval(u: float, v: float, half_u: float, half_v: float, power: float = 0.75) -> Points:
    """Return a rounded outline between a rectangle (power 0) and an ellipse (power 1)."""
    t = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    return np.stack(
        [u + half_u * np.sign(c) * np.abs(c) ** power, v + half_v * np.sign(s) * np.abs(s) ** power],
        axis=1,
    )


def turned(points: Points, degrees: float) -> Points:
    """Return points turned about the origin (degrees, clockwise on the screen)."""
    a = np.deg2rad(degrees)
    return points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


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
            canvas.solder(
                [on_board(oval(u, v, half_u * 0.95, half_v * 0.92, 0.4))], 0.20, (0.93, 0.80, 0.60)
            )
            continue
        wide = spread[number]
        outline = oval(u, v, half_u + wide, half_v + wide, 0.45)
        canvas.solder([on_board(outline)], solder[number], TIN)
    if not specimen.missing:
        if specimen.standing:
            _standing_chip(canvas, part, specimen, on_part)
        elif part.kind in CHIPS:
            _chip(canvas, part, specimen, on_part)
        else:
            _package(canvas, part, specimen, pads, on_part)
    if specimen.bridged is not None:
        _bridge(canvas, part, pads, specimen, on_board)
    for number, wide in enumerate(spread):
        if wide > 0.05 and not specimen.missing:
            _blob(canvas, pads[number], wide, solder[number], on_board)
    _marks(canvas, specimen)


def _site(canvas: Canvas, part: Part, specimen: Specimen, pads: list) -> None:
    """Tracks, copper pads and silkscreen: the same for every specimen but for wear and flux."""
    rng = np.random.default_rng(part.print_seed)
    ground = canvas.albedo.mean(axis=(0, 1))
    track = tuple(np.clip(ground * 1.28 + 0.03, 0.0, 1.0).tolist())
    for u, v, _, _ in pads:
        out = np.array([np.sign(u) if part.kind in CHIPS else 0.0, np.sign(v)])
        along = out if np.any(out) else np.array([1.0, 0.0])
        across = np.array([-along[1], along[0]]) * 0.045
        bend = along * rng.uniform(0.8, 1.6) + np.array([along[1], along[0]]) * rng.uniform(-0.6, 0.6)
        start = np.array([u, v])
        strip = np.array([start - across, start + bend - across, start + bend + across, start + across])
        canvas.paint(canvas.mask([turned(strip, part.angle)]), track, metal=0.0, height=None)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(-0.95, 0.95, 2)
        if max(abs(x), abs(y)) > 0.72:
            canvas.paint(canvas.mask([oval(x, y, 0.09, 0.09, 1.0)]), COPPER, metal=0.9, height=0.0)
            canvas.paint(
                canvas.mask([oval(x, y, 0.04, 0.04, 1.0)]), (0.05, 0.05, 0.05), metal=0.0, height=0.0
            )
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


def _chip(canvas: Canvas, part: Part, specimen: Specimen, place) -> None:
    length, width = part.length, part.width
    body = np.clip(np.array(part.body) * specimen.shade, 0.0, 1.0)
    top = 0.10
    flip = -1.0 if specimen.reversed else 1.0
    if part.kind in ("resistor", "capacitor"):
        canvas.paint(
            canvas.mask([place(rectangle(0, 0, length, width))]), TIN, metal=0.9, height=top
        )
        inner = rectangle(0, 0, length * 0.66, width * (1.0 if part.kind == "capacitor" else 0.98))
        if part.kind == "resistor":
            ceramic = (0.86, 0.85, 0.82)
            canvas.paint(canvas.mask([place(inner)]), ceramic, metal=0.0, height=top)
            if not specimen.upside_down:
                glass = rectangle(0, 0, length * 0.62, width * 0.86)
                canvas.paint(canvas.mask([place(glass)]), body, metal=0.0, height=top)
                _marking(canvas, part, specimen, place, length * 0.55, width * 0.60)
        else:
            canvas.paint(canvas.mask([place(inner)]), body, metal=0.0, height=top)
        return
    if part.kind == "diode":
        for side in (-1, 1):
            tab = rectangle(side * (length + 0.02), 0, 0.09, width * 0.55)
            canvas.paint(canvas.mask([place(tab)]), TIN, metal=1.0, height=0.05)
        canvas.paint(
            canvas.mask([place(rectangle(0, 0, length * 0.96, width))]), body, metal=0.0, height=0.14
        )
        band = rectangle(-flip * length * 0.66, 0, length * 0.14, width)
        silver = (0.78, 0.78, 0.76)
        canvas.paint(canvas.mask([place(band)]), silver, metal=0.0, height=0.14)
        return
    # LED: a white frame with a clear lens, the cathode end marked green.
    frame = (0.90, 0.90, 0.86)
    canvas.paint(canvas.mask([place(rectangle(0, 0, length, width))]), TIN, metal=0.9, height=0.08)
    plate = rectangle(0, 0, length * 0.80, width)
    if specimen.upside_down:
        green = (0.16, 0.42, 0.20)
        canvas.paint(canvas.mask([place(plate)]), green, metal=0.0, height=0.08)
        for side in (-1, 1):
            strip = rectangle(side * length * 0.45, 0, length * 0.16, width * 0.8)
            canvas.paint(canvas.mask([place(strip)]), COPPER, metal=0.9, height=0.08)
        return
    canvas.paint(canvas.mask([place(plate)]), frame, metal=0.0, height=0.08)
    lens = oval(flip * length * 0.10, 0, length * 0.46, width * 0.72, 0.9)
    canvas.paint(canvas.mask([place(lens)]), body, metal=0.0, height=0.12)
    mark = rectangle(-flip * length * 0.62, 0, length * 0.15, width)
    canvas.paint(canvas.mask([place(mark)]), (0.10, 0.45, 0.18), metal=0.0, height=0.08)


def _standing_chip(canvas: Canvas, part: Part, specimen: Specimen, place) -> None:
    """A chip on end: seen from above it is its own thickness, over one pad, casting no fillet."""
    half = part.length * specimen.standing_size
    u = specimen.standing * (part.length + 0.14 - half)
    body = np.clip(np.array(part.body) * specimen.shade, 0.0, 1.0)
    side = rectangle(u, 0, half, part.width)
    canvas.paint(canvas.mask([place(side)]), body * 0.75, metal=0.0, height=0.35)
    face = rectangle(u - specimen.standing * half * 0.45, 0, half * 0.55, part.width * 0.98)
    canvas.paint(canvas.mask([place(face)]), TIN, metal=0.95, height=0.40)


def _package(canvas: Canvas, part: Part, specimen: Specimen, pads: list, place) -> None:
    top = 0.16
    body = np.clip(np.array(part.body) * specimen.shade, 0.0, 1.0)
    for number, (u, v, half_u, half_v) in enumerate(pads):
        side = np.sign(v)
        start, end = part.width * 0.9, abs(v) + half_v * 0.55
        height = 0.06
        if specimen.lifted == number:
            # A lifted lead bends up and back: it looks shorter and ends in a bright tip.
            end -= specimen.lift
            height = 0.06 + specimen.lift
        lead = rectangle(u, side * (start + end) / 2, half_u * 0.62, (end - start) / 2)
        canvas.paint(canvas.mask([place(lead)]), TIN, metal=0.95, height=height)
    canvas.paint(
        canvas.mask([place(rectangle(0, 0, part.length, part.width))]), body, metal=0.0, height=top
    )
    flip = -1.0 if specimen.reversed else 1.0
    if part.kind == "soic8":
        bevel = rectangle(0, flip * part.width * 0.84, part.length, part.width * 0.14)
        canvas.paint(canvas.mask([place(bevel)]), body + 0.20, metal=0.0, height=top)
        dot = oval(-flip * part.length * 0.78, flip * part.width * 0.52, 0.12, 0.12, 1.0)
        canvas.paint(canvas.mask([place(dot)]), (0.78, 0.78, 0.76), metal=0.0, height=top - 0.02)
        _marking(canvas, part, specimen, place, part.length * 0.66, part.width * 0.36)
    else:
        _marking(canvas, part, specimen, place, part.length * 0.62, part.width * 0.55)


def _marking(canvas: Canvas, part: Part, specimen: Specimen, place, half_u, half_v) -> None:
    words = part.marking if specimen.marking is None else specimen.marking
    if not words:
        return
    outline = rectangle(0.0, 0.0, half_u, half_v)
    if specimen.reversed:
        outline = -outline
    ink = (0.82, 0.82, 0.80) if part.kind == "resistor" else (0.55, 0.55, 0.54)
    canvas.printed(words, place(outline), ink, 0.6 * specimen.wear)


def _bridge(canvas: Canvas, part: Part, pads: list, specimen: Specimen, on_board) -> None:
    """Solder from pad to pad; between the two pads of a chip it runs along the body's side."""
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


def _blob(canvas: Canvas, pad: tuple, wide: float, amount: float, on_board) -> None:
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
            tone, metal=0.0, height=None,
        )


def at_golden(specimen: Specimen) -> bool:
    """Return whether nothing at all happened to the specimen."""
    return replace(specimen, marks_seed=0) == Specimen()
