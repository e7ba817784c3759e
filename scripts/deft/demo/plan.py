"""Which parts of which boards play which role, and what is wrong with them.

Everything here is counted out before a pixel is drawn, so that the roles cannot overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deft.demo.boards import Board, production_board
from deft.demo.catalogue import PER_DESIGN, design_parts
from deft.demo.defects import DEFECTS, SUITS
from deft.demo.parts import Part

DESIGNS = 6
SEEN = ("missing", "shift", "bridge", "excess_solder")  # what the base set knows
UNSEEN = tuple(d for d in DEFECTS if d not in SEEN)  # what only pool, pairs and KPI set have
PASS = "PASS"


@dataclass(frozen=True)
class Role:
    """One table's share: counts at scale 1 and how far its boards stray from the golden lot.

    ``defects`` maps a defect to its number of parts. ``aged`` in 0 … 1, see :class:`Board`.
    """

    name: str
    number: int
    good: int
    defects: dict[str, int]
    aged: float
    easiest: float = 0.0

    def counts(self, scale: float) -> dict[str, int]:
        """Return label -> rows at ``scale``; every label keeps at least two."""
        all_ = {PASS: self.good, **self.defects}
        return {label: max(2, round(n * scale)) for label, n in all_.items()}


# ASSUME: an old lot trained the base model, the line has moved on to a new one since (aged).
ROLES = {
    "base": Role("base", 1, 168, dict.fromkeys(SEEN, 32), aged=0.3),
    "validation": Role("validation", 2, 56, dict.fromkeys(SEEN, 12), aged=0.3),
    "kpi": Role("kpi", 3, 200, dict.fromkeys(DEFECTS, 12), aged=0.8, easiest=0.1),
    "pool": Role("pool", 4, 400, dict.fromkeys(DEFECTS, 40), aged=0.8),
    "pregen": Role("pregen", 5, 0, {d: 12 if d in UNSEEN else 4 for d in DEFECTS}, aged=0.5),
}


@dataclass(frozen=True)
class Sample:
    """One part on one board: what to draw. ``severity`` in 0 … 1, ``stream`` seeds its drawing."""

    role: str
    board: Board
    part: Part
    label: str
    severity: float
    stream: tuple[int, int, int]


def plan_role(seed: int, role: Role, scale: float) -> list[Sample]:
    """Return the samples of a role, sorted by board and part."""
    rng = np.random.default_rng([seed, 21, role.number])
    counts = role.counts(scale)
    if not role.good:
        del counts[PASS]
    wanted = [label for label in DEFECTS if label in counts for _ in range(counts[label])]
    total = len(wanted) + counts.get(PASS, 0)
    # Rare kinds bound the number of defects that a board can host: plan boards for that, too.
    boards = max(-(-total // PER_DESIGN), _boards_for(counts))
    slots = []
    for index in range(boards):
        design = index % DESIGNS
        board = production_board(
            f"B{role.number}{index:03d}",
            design,
            role.aged,
            np.random.default_rng([seed, 22, role.number, index]),
        )
        slots += [(board, part, index, i) for i, part in enumerate(design_parts(seed, design))]
    free = [slots[i] for i in rng.permutation(len(slots))]
    samples = []
    # The choosiest defects choose first, else none of their hosts may be left.
    for label in sorted(wanted, key=lambda d: (len(SUITS[d]), d)):
        at = next(i for i, slot in enumerate(free) if slot[1].kind in SUITS[label])
        severity = role.easiest + (1.0 - role.easiest) * float(rng.uniform())
        samples.append(_sample(role, free.pop(at), label, severity))
    samples += [_sample(role, slot, PASS, 0.0) for slot in free[: counts.get(PASS, 0)]]
    return sorted(samples, key=lambda s: s.stream)


def _boards_for(counts: dict[str, int]) -> int:
    per_board = {"tombstone": 10, "polarity": 10, "upside_down": 9, "lifted_lead": 7}
    # Twice over, since the defects share kinds.
    need = sum(2.0 * counts.get(label, 0) / hosts for label, hosts in per_board.items())
    return int(np.ceil(need))


def _sample(role: Role, slot: tuple[Board, Part, int, int], label: str, severity: float) -> Sample:
    board, part, board_index, part_index = slot
    return Sample(role.name, board, part, label, severity, (role.number, board_index, part_index))
