"""What a component is by design, how one specimen of it sits, and the shapes they are made of.

Part units: u along the part, v across it, in crop units before the part's own turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from deft.demo.canvas import Colour, Points

Pad = tuple[float, float, float, float]  # u, v, half length, half width, in part units

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
    ``spread`` how far the solder floods beyond each pad in crop units, ``standing`` -1 | 0 | 1 the
    end a tombstoned chip stands on, ``lifted`` and ``bridged`` pad numbers.
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


def pads_of(part: Part) -> list[Pad]:
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
        [
            u + half_u * np.sign(c) * np.abs(c) ** power,
            v + half_v * np.sign(s) * np.abs(s) ** power,
        ],
        axis=1,
    )


def turned(points: Points, degrees: float) -> Points:
    """Return points turned about the origin (degrees, clockwise on the screen)."""
    a = np.deg2rad(degrees)
    rotated: Points = points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return rotated
