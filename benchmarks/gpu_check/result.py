"""What a check found: one row of the table, one entry of the JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

OK, FAILED, NOT_CHECKED = "ok", "FAILED", "not checked"
STATES = (OK, FAILED, NOT_CHECKED)
NO_TIME = "no time was left"


@dataclass(frozen=True)
class Result:
    """One finding.

    ``figures``: numbers and short texts, the unit in each name. ``limits``: figure -> what it was
    held against. ``why``: what failed, or why nothing was checked.
    """

    name: str
    state: str
    figures: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    why: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    def line(self) -> str:
        """Return one line of JSON; numbers that JSON has no word for become text."""
        return json.dumps(_plain(self.as_dict()))


def judged(
    name: str,
    figures: dict[str, Any],
    at_most: dict[str, float] | None = None,
    *,
    at_least: dict[str, float] | None = None,
    broken: str = "",
) -> Result:
    """Return ``ok`` when every figure keeps its limit and ``broken`` is empty, else ``FAILED``.

    A figure that is missing or no number (NaN included) keeps no limit.
    """
    limits: dict[str, Any] = {}
    wrong = [broken] if broken else []
    for bounds, word, keeps in (
        (at_most or {}, "at most", lambda value, bound: value <= bound),
        (at_least or {}, "at least", lambda value, bound: value >= bound),
    ):
        for key, bound in bounds.items():
            limits[key] = f"{word} {bound:g}"
            value = figures.get(key)
            if not isinstance(value, int | float) or not keeps(value, bound):
                wrong.append(f"{key} is {short(value)}, allowed is {word} {bound:g}")
    return Result(name, FAILED if wrong else OK, figures, limits, "; ".join(wrong))


def not_checked(name: str, why: str, **figures: Any) -> Result:
    """Return a row that says plainly that nothing was proved."""
    return Result(name, NOT_CHECKED, figures, {}, why)


def failed(name: str, why: str, **figures: Any) -> Result:
    """Return a row of a check that came to no figures of its own."""
    return Result(name, FAILED, figures, {}, why)


def short(value: Any) -> str:
    """Return a figure as the table shows it."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if value == value and abs(value) < 1000 else f"{value:.0f}"


def as_table(results: list[Result]) -> str:
    """Return the Markdown table, and how many rows have each state."""
    lines = ["| check | state | figures (limit) | |", "|---|---|---|---|"]
    for result in results:
        cells = [
            f"{key} {short(value)}" + (f" ({result.limits[key]})" if key in result.limits else "")
            for key, value in result.figures.items()
            if not isinstance(value, dict | list)
        ]
        row = (result.name, result.state, ", ".join(cells), result.why)
        lines.append("| " + " | ".join(_cell(text) for text in row) + " |")
    counts = [f"{sum(r.state == state for r in results)} {state}" for state in STATES]
    return "\n".join([*lines, "", ", ".join(counts)]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def _plain(value: Any) -> Any:
    """Return ``value`` with plain numbers; NaN and infinities as text, which JSON lacks."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value
