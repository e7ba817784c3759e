"""What goes wrong on the line: benign variation of good parts, and eight graded defects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deft.demo.parts import CHIPS, KINDS, LEADED, Part, Specimen, pads_of

# Defect -> the kinds of part that can have it.
SUITS: dict[str, tuple[str, ...]] = {
    "missing": KINDS,
    "shift": KINDS,
    "bridge": LEADED + ("resistor", "capacitor"),
    "excess_solder": KINDS,
    "tombstone": ("resistor", "capacitor"),
    "polarity": ("diode", "led", "soic8"),
    "upside_down": ("resistor", "led"),
    "lifted_lead": LEADED,
}
DEFECTS = tuple(SUITS)


def good(part: Part, aged: float, rng: np.random.Generator) -> Specimen:
    """Return a good specimen; ``aged`` 0 … 1 widens what a new lot does to it."""
    pads = pads_of(part)
    new_lot = bool(rng.uniform() < 0.65 * aged)
    specimen = Specimen(
        du=float(np.clip(rng.normal(0.0, 0.018), -0.045, 0.045)),
        dv=float(np.clip(rng.normal(0.0, 0.018), -0.045, 0.045)),
        turn=float(np.clip(rng.normal(0.0, 1.0), -2.5, 2.5)),
        solder=tuple(rng.uniform(0.85 - 0.15 * aged, 1.15 + 0.2 * aged, len(pads)).tolist()),
        shade=float(rng.normal(1.0, 0.05 + 0.10 * aged)),
        wear=float(rng.uniform(0.0, 0.2 + 0.5 * aged)),
        flux=float(rng.uniform(0.3, 0.9)) if rng.uniform() < 0.08 + 0.35 * aged else 0.0,
        dust=int(rng.poisson(0.3 + 1.2 * aged)),
        marks_seed=int(rng.integers(1 << 31)),
    )
    if new_lot and part.kind in LEADED and part.marking:
        specimen = replace(specimen, marking=lot_code(rng, len(part.marking)))
    return specimen


def lot_code(rng: np.random.Generator, length: int) -> str:
    """Return a date or lot code: print that changes from reel to reel."""
    letters = "ABCDEFHKLMNPRTUX0123456789"
    return "".join(letters[i] for i in rng.integers(0, len(letters), length))


def spoil(
    specimen: Specimen, part: Part, defect: str, severity: float, rng: np.random.Generator
) -> Specimen:
    """Return the specimen with ``defect`` at ``severity`` 0 (just a reject) … 1 (gross).

    Raises ``ValueError`` when the kind of part cannot have the defect.
    """
    if part.kind not in SUITS[defect]:
        raise ValueError(f"a {part.kind} cannot have the defect {defect!r}")
    pads = pads_of(part)
    sign = -1.0 if rng.uniform() < 0.5 else 1.0
    if defect == "missing":
        return replace(specimen, missing=True)
    if defect == "shift":
        far = 0.17 + 0.20 * severity
        if rng.uniform() < 0.5:
            return replace(specimen, dv=sign * far, turn=float(rng.normal(0.0, 4.0)))
        turn = sign * (14.0 + 22.0 * severity)
        return replace(specimen, dv=sign * 0.6 * far, turn=turn)
    if defect == "bridge":
        width = 0.09 + 0.06 * severity
        return replace(specimen, bridged=_neighbours(part, rng), bridge_width=width)
    if defect == "excess_solder":
        spread = [0.0] * len(pads)
        amounts = list(specimen.solder or (1.0,) * len(pads))
        hit = rng.permutation(len(pads))[: 1 if part.kind in CHIPS else 2]
        for pad in hit:
            spread[pad] = 0.09 + 0.09 * severity
            amounts[pad] = 1.1 + 0.4 * severity
        return replace(specimen, spread=tuple(spread), solder=tuple(amounts))
    if defect == "tombstone":
        return replace(
            specimen, standing=int(sign), standing_size=0.50 - 0.15 * severity, turn=4.0 * sign
        )
    if defect == "polarity":
        return replace(specimen, reversed=True)
    if defect == "upside_down":
        return replace(specimen, upside_down=True)
    lifted = int(rng.integers(len(pads)))
    return replace(specimen, lifted=lifted, lift=0.16 + 0.12 * severity)


def _neighbours(part: Part, rng: np.random.Generator) -> tuple[int, int]:
    if part.kind == "soic8":
        first = int(rng.choice([0, 1, 2, 4, 5, 6]))
        return first, first + 1
    return 0, 1
