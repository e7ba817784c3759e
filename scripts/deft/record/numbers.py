"""The flat dict that the numbers of a run are collected in."""

from __future__ import annotations

import math
from typing import Any

from deft.record.phase_files import dig

POINT_FIELDS = (
    "threshold",
    "tp",
    "fp",
    "tn",
    "fn",
    "precision",
    "recall_pct",
    "f1",
    "accuracy",
    "far_pct",
    "recall_lower95_pct",
    "far_upper95_pct",
)


class Numbers(dict[str, Any]):
    """A flat dict that keeps finite numbers and drops everything else."""

    def put(self, key: str, value: Any) -> None:
        """Set ``key`` when ``value`` is a finite number (a bool counts as 0 or 1)."""
        if hasattr(value, "item"):
            value = value.item()
        if isinstance(value, bool):
            value = int(value)
        if isinstance(value, int | float) and math.isfinite(value):
            self[key] = value

    def put_all(self, prefix: str, source: Any, fields: tuple[str, ...]) -> None:
        """Set ``prefix.field`` for each field that ``source`` has."""
        for name in fields:
            self.put(f"{prefix}.{name}", dig(source, name))

    def put_point(self, prefix: str, point: Any) -> None:
        """Set the numbers of one operating point, with the counts behind its rates."""
        self.put_all(prefix, point, POINT_FIELDS)
        if not isinstance(point, dict):
            return
        for key, parts in ((f"{prefix}.ng", ("tp", "fn")), (f"{prefix}.pass", ("fp", "tn"))):
            counts = [point.get(part) for part in parts]
            if all(isinstance(count, int | float) for count in counts):
                self.put(key, sum(counts))

    def difference(self, key: str, left: str, right: str) -> None:
        """Set ``key`` to ``left - right`` when both are there."""
        if left in self and right in self:
            self.put(key, self[left] - self[right])
