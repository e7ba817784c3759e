"""Quantities of a sentence, exactly: a share of 1 as a fraction, never through floats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_DIGITS = 30
MAX_EXPONENT = 30
_NUMBER = re.compile(r"([0-9]*)(?:([.,])([0-9]+))?(?:e([+-]?[0-9]+))?")
_GROUPED = re.compile(r"[1-9][0-9]{0,2}")

# Longest first: "per mille" is no "per mil" with a rest.
UNITS = {
    "%": Fraction(1, 100),
    "percent": Fraction(1, 100),
    "per cent": Fraction(1, 100),
    "pct": Fraction(1, 100),
    "‰": Fraction(1, 1000),
    "permille": Fraction(1, 1000),
    "permill": Fraction(1, 1000),
    "permil": Fraction(1, 1000),
    "promille": Fraction(1, 1000),
    "per mille": Fraction(1, 1000),
    "per mill": Fraction(1, 1000),
    "per mil": Fraction(1, 1000),
    "per thousand": Fraction(1, 1000),
    "‱": Fraction(1, 10_000),
    "ppm": Fraction(1, 1_000_000),
    "per million": Fraction(1, 1_000_000),
    "parts per million": Fraction(1, 1_000_000),
}
PPM = {name for name, size in UNITS.items() if size == Fraction(1, 1_000_000)}


@dataclass(frozen=True)
class Quantity:
    """A share of 1. ``bare``: a number alone, without a unit and not written as ``a/b``."""

    share: Fraction
    bare: bool
    is_fraction: bool  # bare, or a/b without a unit
    start: int
    end: int


def readings(text: str, *, grouped_by_dots: bool) -> list[Fraction]:
    """Return what a number may mean: one value, two where a separator may be decimal or not.

    ``1,000`` is one or a thousand; ``1.000`` too where thousands are usual (``grouped_by_dots``).
    Raises :class:`ValueError` in words.
    """
    found = _NUMBER.fullmatch(text)
    if not found:
        raise ValueError("a number has one decimal point or comma, and no other separator")
    whole, separator, decimals, exponent = found.groups()
    if len(text) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_EXPONENT:
        raise ValueError("a number with so many digits is none that can be measured")
    value = Fraction(f"{whole or 0}.{decimals or 0}e{int(exponent or 0)}")
    both = separator == "," or (separator == "." and grouped_by_dots)
    if both and exponent is None and len(decimals) == 3 and _GROUPED.fullmatch(whole):
        return [value, Fraction(int(whole + decimals))]
    return [value]


def decimal_text(value: Fraction) -> str:
    """Return a fraction with a short decimal form in that form."""
    text = f"{float(value):.12g}"
    return text if "e" not in text else f"{float(value):g}"
