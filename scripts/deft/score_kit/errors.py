"""The one exception that ends the work on purpose: something for the user to mend."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROWS_NAMED = 5
CHARACTERS = 1500  # of a message: a value of a broken file may be any size


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
            shown = ", ".join(map(str, self.rows[:ROWS_NAMED]))
            more = len(self.rows) - ROWS_NAMED
            where += f", row{'s' if len(self.rows) > 1 else ''} {shown}"
            where += f" and {more} more" if more > 0 else ""
        advice = f"\n  do: {self.fix}" if self.fix else ""
        return f"{self.code}: {self.message}{where}{advice}"
