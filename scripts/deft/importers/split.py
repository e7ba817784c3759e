"""Which role each part plays: boards stay whole, labels are shared out as the shares ask.

Iterative stratification (Sechidis et al., 2011): the rarest label's boards are placed first, each
where most of that label is still wanted.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from deft.core.errors import HardStop
from deft.importers.parts import ROLES, FoundPart
from deft.kpi import certify
from deft.settings.kpi_target import KpiTarget

# Of what the KPI set leaves: training, validation, pool.
REST = {"base": 0.3, "validation": 0.1, "pool": 0.6}
KPI_SHARES = (0.2, 0.5)  # the least and the most that the KPI set takes unasked


def needed(target: KpiTarget) -> tuple[int, int]:
    """Return how many good and bad parts prove a target when none is judged wrongly.

    At recall 100 % no number proves it; 99 % counts in its place.
    """
    good = certify.good_parts_needed(0, 0, target) or 0
    bad = certify.defects_needed(0, 0, min(target.min_recall, 0.99)) or 0
    return good, bad


def shares(
    parts: Sequence[FoundPart], target: KpiTarget, given: Mapping[str, float]
) -> dict[str, float]:
    """Return role -> share (0 to 1, together 1): the KPI set is as large as proves the target.

    ``given`` shares stand; the others share what they leave.
    """
    good = sum(part.good for part in parts)
    wanted_good, wanted_bad = needed(target)
    least, most = KPI_SHARES
    wanted = max(wanted_good / max(1, good), wanted_bad / max(1, len(parts) - good))
    kpi = min(max(wanted, least), most)
    rest = {"kpi": kpi, **{role: (1 - kpi) * share for role, share in REST.items()}}
    left = 1 - sum(given.values())
    unnamed = sum(share for role, share in rest.items() if role not in given)
    return {
        role: given[role] if role in given else left * rest[role] / unnamed if unnamed else 0.0
        for role in ROLES
    }


def split(
    parts: Sequence[FoundPart], wanted: Mapping[str, float], seed: int
) -> dict[str, list[FoundPart]]:
    """Return role -> its parts, in the parts' order; parts with a role of their own keep it."""
    given: dict[str, list[FoundPart]] = {role: [] for role in ROLES}
    units: dict[str, list[FoundPart]] = defaultdict(list)
    for number, part in enumerate(parts):
        if part.role:
            given[part.role].append(part)
        else:
            units[part.board or f"\0{number}"].append(part)
    placed = _placed(units, wanted, seed)
    _give_each_both(units, placed, given)
    of_part = {id(part): role for role, found in given.items() for part in found}
    of_part |= {id(part): placed[name] for name, found in units.items() for part in found}
    roles: dict[str, list[FoundPart]] = {role: [] for role in ROLES}
    for part in parts:
        roles[of_part[id(part)]].append(part)
    return roles


def _placed(
    units: Mapping[str, Sequence[FoundPart]], wanted: Mapping[str, float], seed: int
) -> dict[str, str]:
    counts = {name: Counter(part.label for part in found) for name, found in units.items()}
    total: Counter[str] = sum(counts.values(), Counter())
    missing = {role: {k: wanted[role] * n for k, n in total.items()} for role in ROLES}

    def drawn(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode()).digest()

    def order(name: str) -> tuple[int, int, bytes]:
        rarest = min(total[label] for label in counts[name])
        return rarest, -sum(counts[name].values()), drawn(name)

    placed = {}
    for name in sorted(units, key=order):
        rarest = min(counts[name], key=lambda label: (total[label], label))

        def want(role: str, name: str = name, rarest: str = rarest) -> tuple[float, float, int]:
            return missing[role][rarest], sum(missing[role].values()), -ROLES.index(role)

        role = max((r for r in ROLES if wanted[r] > 0), key=want)
        placed[name] = role
        for label, count in counts[name].items():
            missing[role][label] -= count
    return placed


def _give_each_both(
    units: Mapping[str, Sequence[FoundPart]],
    placed: dict[str, str],
    given: Mapping[str, Sequence[FoundPart]],
) -> None:
    """Move the smallest boards to tables that lack good or bad parts, where others can spare them.

    Shares of a few boards round to nothing, and no table works with one side alone.
    """

    sides = {name: Counter(part.good for part in parts) for name, parts in units.items()}
    counts = {role: Counter(part.good for part in parts) for role, parts in given.items()}
    for name, role in placed.items():
        counts[role] += sides[name]

    def can_spare(name: str) -> bool:
        left = [counts[placed[name]][side] - sides[name][side] for side in (True, False)]
        return any(left) if placed[name] == "pool" else all(left)

    for role in ("base", "kpi", "validation"):
        for good in (True, False):
            if counts[role][good]:
                continue
            spare = [
                name
                for name, other in placed.items()
                if other != role and sides[name][good] and can_spare(name)
            ]
            if spare:
                moved = min(spare, key=lambda name: (len(units[name]), name))
                counts[placed[moved]] -= sides[moved]
                counts[role] += sides[moved]
                placed[moved] = role


def check_roles(roles: Mapping[str, Sequence[FoundPart]]) -> None:
    """Raise HardStop ``config_invalid`` where a table would lack good or bad parts."""
    boards = {part.board for found in roles.values() for part in found}
    for role, found in roles.items():
        good = sum(part.good for part in found)
        if found and (role == "pool" or 0 < good < len(found)):
            continue
        told = f"{good} good and {len(found) - good} bad parts"
        raise HardStop(
            "config_invalid",
            f"the {role} table would have {told}"
            + ("" if boards == {""} else f"; the data set has {len(boards)} boards"),
            fix="every table needs good and bad parts: import more, let import_folder.board find "
            "smaller units, or set import_folder.shares",
        )
