"""Two models on the same parts: what turned, and whether it tells them apart (McNemar, exact).

A part that both decide alike says nothing about which of them is better; of those that turned, as
many should have turned either way if neither were. Parts are taken as independent: many crops of
one board are fewer than they look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BETTER, WORSE, CANNOT_TELL = "better", "worse", "cannot tell"
ALPHA = 0.05  # two-sided, of each of the two tests: so 5 % in all for a false "better"


@dataclass(frozen=True)
class Turned:
    """Parts of one kind (good, or defects) that two models decide otherwise.

    ``fixed``: wrong before and right now; ``broke``: right before and wrong now; ``parts``: all.
    """

    fixed: int
    broke: int
    parts: int

    @property
    def p(self) -> float:
        """Exact two-sided p of McNemar's test, 0 to 1; 1 where nothing turned."""
        return mcnemar_p(self.fixed, self.broke)

    @property
    def verdict(self) -> str:
        """Better, worse or cannot tell, of the newer model on these parts."""
        if self.p > ALPHA:
            return CANNOT_TELL
        return BETTER if self.fixed > self.broke else WORSE

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        counts = {"fixed": self.fixed, "broke": self.broke, "parts": self.parts}
        return {**counts, "p": self.p, "verdict": self.verdict}


@dataclass(frozen=True)
class Compared:
    """A model against an earlier one, each at its own threshold, on good parts and on defects."""

    good: Turned
    defects: Turned

    @property
    def verdict(self) -> str:
        """Better where one kind is and the other is not worse; worse likewise; else cannot tell."""
        return together((self.good.verdict, self.defects.verdict))

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON-ready form."""
        kinds = {"good": self.good.as_dict(), "defects": self.defects.as_dict()}
        return {"verdict": self.verdict, **kinds}

    def text(self) -> str:
        """Return the verdict with its counts, as the terminal shows it."""
        said = [
            f"{name} {one.fixed} fixed, {one.broke} broke, p {one.p:.2g}"
            for name, one in (("good parts", self.good), ("defects", self.defects))
            if one.fixed or one.broke
        ]
        return f"{self.verdict} ({'; '.join(said) or 'no part turned'})"


def together(verdicts: Sequence[str]) -> str:
    """Return the verdict of several: better and worse together cannot be told."""
    if BETTER in verdicts and WORSE not in verdicts:
        return BETTER
    if WORSE in verdicts and BETTER not in verdicts:
        return WORSE
    return CANNOT_TELL


def mcnemar_p(fixed: int, broke: int) -> float:
    """Return the exact two-sided p of McNemar's test: a fair coin for each part that turned."""
    if fixed == broke:
        return 1.0
    from scipy.special import bdtr  # not scipy.stats, whose import costs a second

    return min(1.0, 2 * float(bdtr(min(fixed, broke), fixed + broke, 0.5)))


def compared(before: np.ndarray, now: np.ndarray, ng: np.ndarray) -> Compared:
    """Compare two models' decisions on the same parts.

    Parameters
    ----------
    before, now: (n,) bool, whether each part is rejected.
    ng: (n,) bool, defects.

    Raises ValueError where the three have not one length.
    """
    before, now, ng = (np.asarray(a, bool) for a in (before, now, ng))
    if not before.shape == now.shape == ng.shape or before.ndim != 1:
        raise ValueError(f"{before.shape}, {now.shape} and {ng.shape}: other parts")
    good = Turned(_count(~ng & before & ~now), _count(~ng & ~before & now), _count(~ng))
    defects = Turned(_count(ng & ~before & now), _count(ng & before & ~now), _count(ng))
    return Compared(good, defects)


def _count(found: np.ndarray) -> int:
    return int(found.sum())
