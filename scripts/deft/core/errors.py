"""The one exception that stops the loop on purpose.

A hard stop is a fact about the user's data or configuration that a retry cannot change.
Failures of the machine (memory, disk, a lost node) are ordinary exceptions: the scheduler
may retry those.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

CODES = frozenset(
    {
        "missing_input",
        "pregen_missing",
        "pregen_empty",
        "pregen_unpaired",
        "pregen_mutated",
        "pool_missing",
        "pool_empty",
        "leakage",
        "silent_drop",
        "allocation_mismatch",
        "csv_invalid",
        "image_invalid",
        "score_invalid",
        "kpi_invalid",
        "config_invalid",
        "encoder_mismatch",
        "spec_invalid",
        "no_new_checkpoint",
        "path_escape",
        "approval_missing",
    }
)

ROWS_NAMED = 5  # enough to start mending, short enough to read on a terminal

MESSAGE_CHARACTERS = 1500  # a value of a broken file may be any size


def _shown(text: str) -> str:
    """Return a text for a terminal: its middle left out when it is endless."""
    if len(text) <= MESSAGE_CHARACTERS:
        return text
    half = MESSAGE_CHARACTERS // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]} … ({left_out} characters) … {text[-half:]}"


def _printable(text: str) -> str:
    """Return text that any stream and JSON can hold: names of files need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class HardStop(Exception):
    """Stop the loop with a stable code.

    Parameters
    ----------
    code: one of :data:`CODES`.
    message: which rule was broken and the value that was found.
    file: the file at fault.
    row: CSV line number(s); the header is line 1.
    fix: what to do about it.
    evidence: JSON-ready facts for the state file and the log.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        file: str | Path | None = None,
        row: int | Iterable[int] | None = None,
        fix: str | None = None,
        evidence: dict[str, Any] | None = None,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"unknown hard stop code {code!r}; known: {sorted(CODES)}")
        self.code = code
        self.message = _shown(_printable(message))
        self.file = _printable(str(file)) if file is not None else None
        rows = [row] if isinstance(row, int) else list(row or [])
        self.rows = [int(r) for r in rows]
        self.fix = _shown(fix) if fix else fix
        self.evidence = evidence or {}
        super().__init__(self.text())

    def text(self) -> str:
        """Return the message as the user reads it, over at most three lines."""
        where = ""
        if self.file:
            where = f"\n  in: {_shown(self.file)}"
            if self.rows:
                shown = ", ".join(str(r) for r in self.rows[:ROWS_NAMED])
                more = len(self.rows) - ROWS_NAMED
                where += f", row {shown}" if len(self.rows) == 1 else f", rows {shown}"
                where += f" and {more} more" if more > 0 else ""
        advice = f"\n  do: {self.fix}" if self.fix else ""
        return f"{self.code}: {self.message}{where}{advice}"

    def as_dict(self) -> dict[str, Any]:
        """Return what the state file and a stop marker keep."""
        return {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "rows": self.rows,
            "fix": self.fix,
            "evidence": self.evidence,
        }

    @classmethod
    def from_dict(cls, data: Any) -> HardStop:
        """Rebuild a stop from :meth:`as_dict`; raises ``ValueError`` for anything else."""
        try:
            code, message, fix = data["code"], data["message"], data.get("fix")
            if not isinstance(message, str) or not isinstance(fix, str | None):
                raise TypeError("the message is no text")
            return cls(
                code,
                message,
                file=data.get("file"),
                row=data.get("rows"),
                fix=fix,
                evidence=dict(data.get("evidence") or {}),
            )
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ValueError(f"not the record of a hard stop ({error})") from None


class StageFailed(Exception):
    """Another program that a stage relies on failed: said in words, and worth another attempt.

    ``status``: exit status of the stage; 137 means that memory ran out.
    """

    def __init__(self, message: str, *, status: int = 2) -> None:
        super().__init__(message)
        self.status = status
