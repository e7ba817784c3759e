"""What a probe found, and the table of all findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

OK, WARN, BROKEN = "ok", "warn", "BROKEN"


@dataclass(frozen=True)
class Finding:
    """One row: what was looked at, its state, what was found, and what to do about it."""

    what: str
    state: str
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self)


def ok(what: str, found: str, advice: str = "") -> Finding:
    """Return a row with nothing to mend."""
    return Finding(what, OK, found, advice)


def warn(what: str, found: str, advice: str) -> Finding:
    """Return a row that may cost time or trouble."""
    return Finding(what, WARN, found, advice)


def broken(what: str, found: str, advice: str) -> Finding:
    """Return a row that will end a run."""
    return Finding(what, BROKEN, found, advice)


def worst(findings: Sequence[Finding]) -> str:
    """Return the worst state."""
    order = (OK, WARN, BROKEN)
    return max((finding.state for finding in findings), key=order.index, default=OK)


def as_table(findings: Sequence[Finding]) -> str:
    """Return the findings as lines of a terminal, and how many there are of each state."""
    counts = {state: sum(f.state == state for f in findings) for state in (OK, WARN, BROKEN)}
    total = f"{counts[OK]} ok, {counts[WARN]} to look at, {counts[BROKEN]} broken"
    return f"{as_rows(findings)}\n\n{total}"


def as_rows(findings: Sequence[Finding]) -> str:
    """Return the findings as lines, each piece of advice below its row."""
    width = max((len(finding.what) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:6}  {finding.what:{width}}  {_one_line(finding.found)}")
        if finding.advice:
            lines.append(f"{'':6}  {'':{width}}  -> {_one_line(finding.advice)}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON holds them."""
    return {
        "schema_version": 1,
        "state": worst(findings),
        "findings": [finding.as_dict() for finding in findings],
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())
