"""The target, read from a sentence. Imported while the Snakefile is parsed: no numpy here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from deft.core.errors import HardStop
from deft.settings.kpi_sentence import Unread, read

ADVICE = 'write for example "FAR < 0.1% at recall=100%"'
SHOWN = 60  # characters of a part that was not understood
CONTEXT = 100  # characters of the sentence around it
PPM_BELOW_PCT = 0.1  # below it a rate is shown in ppm too: zeros are miscounted


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

    @property
    def recall_pct(self) -> float:
        """The required recall in percent, free of the noise of a product of floats."""
        return float(Decimal(repr(self.min_recall)) * 100)

    def canonical(self) -> str:
        """Return the target as it is shown: ``FAR < 0.005 % (50 ppm) while recall ≥ 99.5 %``.

        Every digit that is compared is shown, and :func:`parse_kpi` reads it as the same target.
        """
        ppm = ""
        if 0 < self.far_max_pct < PPM_BELOW_PCT:
            ppm = f" ({_digits(Decimal(repr(self.far_max_pct)) * 10_000)} ppm)"
        recall = _digits(Decimal(repr(self.min_recall)) * 100)
        return f"FAR {self.bound()} %{ppm} while recall ≥ {recall} %"

    def bound(self) -> str:
        """Return the bound of FAR with its sign and every digit, in percent: ``< 0.005``."""
        return f"{'<' if self.strict else '≤'} {_digits(Decimal(repr(self.far_max_pct)))}"

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> KpiTarget | None:
        """Return the target of :meth:`as_dict`, or None when its numbers are not there."""
        far: Any = kept.get("far_max_pct")
        recall: Any = kept.get("min_recall", 1.0)
        for value, highest in ((far, 100), (recall, 1)):
            if not isinstance(value, int | float) or not 0 <= value <= highest:
                return None
        strict, sentence = bool(kept.get("strict", True)), str(kept.get("sentence") or "")
        return cls(float(far), float(recall), strict, sentence)


def parse_kpi(sentence: str) -> KpiTarget:
    """Read a target such as ``FAR < 0.1% at recall=100%``: the whole sentence, or nothing.

    "False accept rate" is read as FAR, as the loop's own documents use it. A recall that is not
    named is 100 %. A number without a unit is a fraction, and only where FAR and recall both are.
    :mod:`deft.settings.kpi_sentence` has the grammar; values are exact until they become the
    nearest float.

    Raises
    ------
    HardStop ``kpi_invalid`` that shows the part without a reading, or the value out of range.

    >>> parse_kpi("fine-tune until FAR below 0.1% at recall=100%").far_max_pct
    0.1
    """
    try:
        found = read(sentence)
    except Unread as problem:
        raise HardStop("kpi_invalid", _told(sentence, problem), fix=ADVICE) from None
    if found is None:
        shown = sentence if len(sentence) <= 2 * CONTEXT else sentence[: 2 * CONTEXT] + "…"
        raise HardStop("kpi_invalid", f"no FAR bound found in kpi {shown!r}", fix=ADVICE)
    far_max_pct, min_recall = float(found.far * 100), float(found.recall)
    return KpiTarget(far_max_pct, min_recall, found.strict, sentence.strip())


def _told(sentence: str, problem: Unread) -> str:
    start, end = problem.start, problem.end
    reason = f": {problem.reason}" if problem.reason else ""
    if start >= len(sentence):
        return f"the kpi {_around(sentence, start)} ends too early{reason}"
    part = sentence[start : min(end, start + SHOWN)] + ("…" if end > start + SHOWN else "")
    where = f"from character {start + 1} of kpi {_around(sentence, start)}"
    return f"cannot read {part!r} ({where}){reason}"


def _around(sentence: str, at: int) -> str:
    """Return the sentence, or what surrounds a place of a long one, quoted."""
    if len(sentence) <= 2 * CONTEXT:
        return repr(sentence)
    first, last = max(0, at - CONTEXT), at + CONTEXT
    return repr("…" * (first > 0) + sentence[first:last] + "…" * (last < len(sentence)))


def _digits(value: Decimal) -> str:
    """Return a number without exponent and without idle zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
