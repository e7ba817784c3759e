"""The target, read from a sentence. Imported while the Snakefile is parsed: no numpy here."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from deft.errors import HardStop


@dataclass(frozen=True)
class KpiTarget:
    """``FAR < far_max_pct`` (``<=`` when not strict) at ``min_recall`` (0 to 1)."""

    far_max_pct: float
    min_recall: float
    strict: bool
    sentence: str

    def met(self, far_pct: float) -> bool:
        """Return whether a FAR in percent meets the target."""
        return far_pct < self.far_max_pct if self.strict else far_pct <= self.far_max_pct

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)


_NUMBER = r"([0-9]+(?:\.[0-9]+)?)\s*(%|percent|pct)?"
_FAR = re.compile(
    r"(?:\bfar\b|false[ -](?:alarm|accept|call)s?(?:[ -]rate)?)(?:\s*\(far\))?\s*"
    r"(?:is|stays|drops|falls|goes|to|be)*\s*"
    r"(<=|≤|<|=|below|under|less than|at most|no more than|up to|of)\s*" + _NUMBER,
    re.IGNORECASE,
)
_RECALL_AFTER = re.compile(r"recall\s*(?:rate)?\s*(?:=|==|>=|≥|of|at|is)?\s*" + _NUMBER, re.I)
_RECALL_BEFORE = re.compile(_NUMBER + r"\s*recall", re.I)


def parse_kpi(sentence: str) -> KpiTarget:
    """Read a target such as ``FAR < 0.1% at recall=100%`` from a sentence.

    "False accept rate" is read as FAR, as the loop's own documents use it. A recall that is not
    named is 100 %. Numbers above 1 are percent even without the sign.

    Raises
    ------
    HardStop ``kpi_invalid`` when no FAR bound is found or a value is out of range.

    >>> parse_kpi("fine-tune until FAR below 0.1% at recall=100%").far_max_pct
    0.1
    """
    fix = 'write for example "FAR < 0.1% at recall=100%"'
    far = _FAR.search(sentence)
    if not far:
        raise HardStop("kpi_invalid", f"no FAR bound found in kpi {sentence!r}", fix=fix)
    rest = sentence[: far.start()] + sentence[far.end() :]
    recall = _RECALL_AFTER.search(rest) or _RECALL_BEFORE.search(rest)
    far_max_pct = _percent(far.group(2), far.group(3), fraction_up_to=0.0)
    recall_pct = _percent(recall.group(1), recall.group(2), fraction_up_to=1.0) if recall else 100.0
    if not 0 <= far_max_pct <= 100:
        raise HardStop("kpi_invalid", f"FAR of {far_max_pct:g} % in kpi {sentence!r}", fix=fix)
    if not 0 < recall_pct <= 100:
        raise HardStop("kpi_invalid", f"recall of {recall_pct:g} % in kpi {sentence!r}", fix=fix)
    strict = far.group(1).lower() in {"<", "below", "under", "less than"}
    return KpiTarget(far_max_pct, recall_pct / 100.0, strict, sentence.strip())


def _percent(number: str, sign: str | None, *, fraction_up_to: float) -> float:
    value = float(number)
    # "recall=1" and "recall 0.99" are fractions; "FAR < 0.1" without a sign stays percent.
    return value * 100 if not sign and value <= fraction_up_to else value
