"""The percentages that TAO reports for a table, digit for digit.

They are here for comparison with a TAO log: a false alarm rate over *all* rows falls when a table
holds more defects. What this loop decides by is ``far_pct``, over the good rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AOIMetrics:
    """Counts and TAO's percentages (float32, 0 to 100; nan without rows).

    ``total_accuracy``: rows judged rightly, of all. ``defect_accuracy``: defects found, of the
    defects (0 without any). ``false_alarm`` and ``false_negative``: of *all* rows.
    """

    found: int  # defective and judged so
    defects: int
    passed: int  # good and judged so
    goods: int

    @property
    def missed(self) -> int:
        """Defective rows judged good."""
        return self.defects - self.found

    @property
    def alarms(self) -> int:
        """Good rows judged defective."""
        return self.goods - self.passed

    @property
    def total_accuracy(self) -> np.float32:
        return self._share(self.found + self.passed)

    @property
    def defect_accuracy(self) -> np.float32:
        if not self.defects:
            return np.float32(0)
        return np.float32(self.found) / np.float32(self.defects) * np.float32(100)

    @property
    def false_alarm(self) -> np.float32:
        return self._share(self.alarms)

    @property
    def false_negative(self) -> np.float32:
        return self._share(self.missed)

    def _share(self, count: int) -> np.float32:
        rows = self.defects + self.goods
        if not rows:
            return np.float32("nan")
        return np.float32(count) / np.float32(rows) * np.float32(100)


def aoi_metrics(scores: np.ndarray, labels: np.ndarray, margin: float) -> AOIMetrics:
    """Judge ``scores`` (rows,) against ``labels`` (rows,; above 0 = defective).

    A row is judged defective when its score exceeds ``margin``, both as float32: 0.3 does not
    exceed 0.3. A score that is no number counts as good, as with TAO.
    """
    judged = np.asarray(scores, np.float32) > np.float32(margin)
    defective = np.asarray(labels) > 0
    return AOIMetrics(
        found=int((judged & defective).sum()),
        defects=int(defective.sum()),
        passed=int((~judged & ~defective).sum()),
        goods=int((~defective).sum()),
    )
