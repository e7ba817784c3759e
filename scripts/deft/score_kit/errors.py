"""The one exception that ends the work on purpose: something for the user to mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

ROWS_NAMED = 5
CHARACTERS = 1500  # of a message: a value of a broken file may be any size


def rows_text(rows: Sequence[int]) -> str:
    """Return CSV lines as text: ``row 4``, ``rows 4, 7 and 12 more``."""
    shown = ", ".join(map(str, rows[:ROWS_NAMED]))
    more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
    return f"row{'s' * (len(rows) > 1)} {shown}{more}"


class Stop(Exception):
    """A rule is broken: which one, the value found, where, and what to do.

    ``code`` is that of the pipeline's hard stops; ``rows`` are lines of a CSV, the header is 1.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        file: str | Path | None = None,
        rows: Iterable[int] = (),
        fix: str | None = None,
    ) -> None:
        self.code, self.message, self.file, self.fix = code, message[:CHARACTERS], file, fix
        self.rows = list(rows)
        super().__init__(self.text())

    def text(self) -> str:
        """Return the message over at most three lines."""
        where = f"\n  in: {self.file}" if self.file else ""
        if where and self.rows:
            where += f", {rows_text(self.rows)}"
        advice = f"\n  do: {self.fix}" if self.fix else ""
        return f"{self.code}: {self.message}{where}{advice}"
