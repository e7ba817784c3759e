"""The designs of the drawn line: which components stand on them."""

from __future__ import annotations

import numpy as np

from deft.demo.canvas import Colour
from deft.demo.parts import PREFIX, Part

# How often each kind stands on a design, per 24 components; every defect finds enough hosts.
MIX = {"resistor": 6, "capacitor": 4, "diode": 4, "led": 3, "sot23": 4, "soic8": 3}
PER_DESIGN = sum(MIX.values())

# Half length and half width in crop units; a package is drawn as large as the crop allows.
SIZES = {
    "resistor": (0.50, 0.32),
    "capacitor": (0.50, 0.33),
    "diode": (0.52, 0.34),
    "led": (0.49, 0.34),
    "sot23": (0.54, 0.28),
    "soic8": (0.70, 0.36),
}
BODIES: dict[str, tuple[Colour, ...]] = {
    "resistor": ((0.09, 0.09, 0.10), (0.08, 0.10, 0.18), (0.13, 0.11, 0.10)),
    "capacitor": ((0.58, 0.44, 0.30), (0.46, 0.36, 0.28), (0.55, 0.50, 0.42)),
    "diode": ((0.10, 0.10, 0.11), (0.14, 0.13, 0.13)),
    "led": ((0.88, 0.80, 0.42), (0.86, 0.84, 0.70), (0.84, 0.66, 0.30)),
    "sot23": ((0.12, 0.12, 0.13), (0.16, 0.16, 0.17)),
    "soic8": ((0.15, 0.15, 0.16), (0.19, 0.19, 0.20)),
}
CODES = {
    "resistor": ("103", "472", "220", "331", "000", "104"),
    "sot23": ("1AM", "W1P", "2TY", "A7"),
    "soic8": ("LM358", "24C02", "93C46", "TL072"),
}


def design_parts(seed: int, design: int) -> list[Part]:
    """Return the components of a design, in a fixed order."""
    rng = np.random.default_rng([seed, 11, design])
    parts: list[Part] = []
    panel = 1 + design % 4
    for kind, count in MIX.items():
        for _ in range(count):
            length, width = SIZES[kind]
            scale = float(rng.uniform(0.92, 1.04))
            number = 100 * (1 + design) + len(parts)
            body = BODIES[kind][int(rng.integers(len(BODIES[kind])))]
            codes = CODES.get(kind, ("",))
            parts.append(
                Part(
                    name=f"{PREFIX[kind]}{number}@{panel}",
                    kind=kind,
                    angle=int(rng.choice([0, 90, 180, 270])),
                    length=length * scale,
                    width=width * scale,
                    body=body,
                    marking=str(codes[int(rng.integers(len(codes)))]),
                    print_seed=int(rng.integers(1 << 31)),
                )
            )
    return parts
