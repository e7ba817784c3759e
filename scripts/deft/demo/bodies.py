"""Drawing the part itself: chips, packages with leads, and what is printed on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deft.demo.canvas import Canvas, Points
from deft.demo.parts import COPPER, TIN, Pad, Part, Specimen, oval, rectangle

Place = Callable[[Points], Points]  # part units -> crop units, with placement and turn


def draw_chip(canvas: Canvas, part: Part, specimen: Specimen, place: Place) -> None:
    """Draw a part with one terminal at each end."""
    {"diode": _diode, "led": _led}.get(part.kind, _ceramic)(canvas, part, specimen, place)


def _shaded(part: Part, specimen: Specimen) -> np.ndarray:
    return np.clip(np.array(part.body) * specimen.shade, 0.0, 1.0)


def _ceramic(canvas: Canvas, part: Part, specimen: Specimen, place: Place) -> None:
    """Draw a resistor (white below, glass and code above) or a capacitor (alike on all sides)."""
    length, width, top = part.length, part.width, 0.10
    body = _shaded(part, specimen)
    whole = canvas.mask([place(rectangle(0, 0, length, width))])
    canvas.paint(whole, TIN, metal=0.9, height=top)
    if part.kind == "capacitor":
        middle = canvas.mask([place(rectangle(0, 0, length * 0.66, width))])
        canvas.paint(middle, body, metal=0.0, height=top)
        return
    middle = canvas.mask([place(rectangle(0, 0, length * 0.66, width * 0.98))])
    canvas.paint(middle, (0.86, 0.85, 0.82), metal=0.0, height=top)
    if not specimen.upside_down:
        glass = canvas.mask([place(rectangle(0, 0, length * 0.62, width * 0.86))])
        canvas.paint(glass, body, metal=0.0, height=top)
        _marking(canvas, part, specimen, place, length * 0.55, width * 0.60)


def _diode(canvas: Canvas, part: Part, specimen: Specimen, place: Place) -> None:
    length, width = part.length, part.width
    for side in (-1, 1):
        tab = canvas.mask([place(rectangle(side * (length + 0.02), 0, 0.09, width * 0.55))])
        canvas.paint(tab, TIN, metal=1.0, height=0.05)
    body = canvas.mask([place(rectangle(0, 0, length * 0.96, width))])
    canvas.paint(body, _shaded(part, specimen), metal=0.0, height=0.14)
    cathode = 1.0 if specimen.reversed else -1.0
    band = canvas.mask([place(rectangle(cathode * length * 0.66, 0, length * 0.14, width))])
    canvas.paint(band, (0.78, 0.78, 0.76), metal=0.0, height=0.14)


def _led(canvas: Canvas, part: Part, specimen: Specimen, place: Place) -> None:
    """Draw a white frame with a clear lens, the cathode end marked green; green below."""
    length, width = part.length, part.width
    whole = canvas.mask([place(rectangle(0, 0, length, width))])
    canvas.paint(whole, TIN, metal=0.9, height=0.08)
    plate = canvas.mask([place(rectangle(0, 0, length * 0.80, width))])
    if specimen.upside_down:
        canvas.paint(plate, (0.16, 0.42, 0.20), metal=0.0, height=0.08)
        for side in (-1, 1):
            strip = rectangle(side * length * 0.45, 0, length * 0.16, width * 0.8)
            canvas.paint(canvas.mask([place(strip)]), COPPER, metal=0.9, height=0.08)
        return
    canvas.paint(plate, (0.90, 0.90, 0.86), metal=0.0, height=0.08)
    cathode = 1.0 if specimen.reversed else -1.0
    lens = canvas.mask([place(oval(-cathode * length * 0.10, 0, length * 0.46, width * 0.72, 0.9))])
    canvas.paint(lens, _shaded(part, specimen), metal=0.0, height=0.12)
    mark = canvas.mask([place(rectangle(cathode * length * 0.62, 0, length * 0.15, width))])
    canvas.paint(mark, (0.10, 0.45, 0.18), metal=0.0, height=0.08)


def draw_standing_chip(canvas: Canvas, part: Part, specimen: Specimen, place: Place) -> None:
    """A chip on end: seen from above it is its own thickness, over one pad, casting no fillet."""
    half = part.length * specimen.standing_size
    u = specimen.standing * (part.length + 0.14 - half)
    body = _shaded(part, specimen)
    side = rectangle(u, 0, half, part.width)
    canvas.paint(canvas.mask([place(side)]), body * 0.75, metal=0.0, height=0.35)
    face = rectangle(u - specimen.standing * half * 0.45, 0, half * 0.55, part.width * 0.98)
    canvas.paint(canvas.mask([place(face)]), TIN, metal=0.95, height=0.40)


def draw_package(
    canvas: Canvas, part: Part, specimen: Specimen, pads: list[Pad], place: Place
) -> None:
    """Draw a package: leads first, the body over them, pin 1 marked where the part has a mark."""
    top = 0.16
    body = _shaded(part, specimen)
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
    whole = canvas.mask([place(rectangle(0, 0, part.length, part.width))])
    canvas.paint(whole, body, metal=0.0, height=top)
    flip = -1.0 if specimen.reversed else 1.0
    if part.kind == "soic8":
        bevel = rectangle(0, flip * part.width * 0.84, part.length, part.width * 0.14)
        canvas.paint(canvas.mask([place(bevel)]), body + 0.20, metal=0.0, height=top)
        dot = oval(-flip * part.length * 0.78, flip * part.width * 0.52, 0.12, 0.12, 1.0)
        canvas.paint(canvas.mask([place(dot)]), (0.78, 0.78, 0.76), metal=0.0, height=top - 0.02)
        _marking(canvas, part, specimen, place, part.length * 0.66, part.width * 0.36)
    else:
        _marking(canvas, part, specimen, place, part.length * 0.62, part.width * 0.55)


def _marking(
    canvas: Canvas, part: Part, specimen: Specimen, place: Place, half_u: float, half_v: float
) -> None:
    words = part.marking if specimen.marking is None else specimen.marking
    if not words:
        return
    outline = rectangle(0.0, 0.0, half_u, half_v)
    if specimen.reversed:
        outline = -outline
    ink = (0.82, 0.82, 0.80) if part.kind == "resistor" else (0.55, 0.55, 0.54)
    canvas.printed(words, place(outline), ink, 0.6 * specimen.wear)
