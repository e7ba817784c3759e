"""Small pieces of Markdown: tables, numbers, escaped text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NONE = "–"


def cell(value: Any) -> str:
    """Return one line of text that cannot break a table."""
    text = NONE if value is None or value == "" else str(value)
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a table's lines and a blank one."""
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join('---' for _ in head)}|"]
    return [*lines, *(f"| {' | '.join(cell(c) for c in row)} |" for row in rows), ""]


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with some significant digits, without exponent in the usual range."""
    if value is None:
        return NONE
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e9:
        places = max(0, digits - 1 - _exponent(value))
        return f"{value:,.{places}f}"
    return f"{value:.{digits - 1}e}"


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".rpartition("e")[2])


def shape(value: Any) -> str:
    """Return a shape as text; an unknown one says so."""
    return "unknown" if value is None else str(value).replace("'", "")


def bullets(lines: Iterable[str], empty: str = "None.") -> list[str]:
    """Return a list's lines and a blank one."""
    found = [f"- {line}" for line in lines]
    return [*(found or [empty]), ""]


def plural(count: int, word: str) -> str:
    """Return ``1 input`` or ``3 inputs``."""
    return f"{count} {word}{'' if count == 1 else 's'}"
