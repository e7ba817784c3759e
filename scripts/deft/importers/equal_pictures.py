"""Parts whose test pictures are equal, pixel by pixel: copies, and those that contradict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from deft.importers.parts import ROLES, FoundPart, LeftOver
from deft.tables.labels import clean_label

BY_WORTH = ("kpi", "validation", "base", "pool")  # which role keeps a picture that several have


def without_contradictions(
    parts: Sequence[FoundPart], digests: Mapping[str, str]
) -> tuple[list[FoundPart], list[LeftOver]]:
    """Return the parts without those whose picture another has under another label, and these.

    Which label is right nobody knows here, so neither becomes a row. ``digests``: part name -> what
    is equal for equal test pictures.
    """
    alike: dict[str, list[FoundPart]] = defaultdict(list)
    for part in parts:
        alike[digests[part.name]].append(part)
    kept, left_over = [], []
    for part in parts:
        label = clean_label(part.label)
        others = [o for o in alike[digests[part.name]] if clean_label(o.label) != label]
        if others:
            other = others[0]
            why = f"the same picture is {part.label} here and {other.label} as {other.origin}"
            left_over.append(LeftOver(part.origin, f"{why}: keep the one whose label is right"))
        else:
            kept.append(part)
    return kept, left_over


def without_copies(
    roles: Mapping[str, Sequence[FoundPart]], digests: Mapping[str, str]
) -> tuple[dict[str, list[FoundPart]], int]:
    """Return the roles without pictures that a role before (KPI first) has: they would leak."""
    seen: set[str] = set()
    kept: dict[str, list[FoundPart]] = {}
    for role in BY_WORTH:
        kept[role] = []
        for part in roles[role]:
            if digests[part.name] not in seen:
                seen.add(digests[part.name])
                kept[role].append(part)
    before, after = (sum(map(len, found.values())) for found in (roles, kept))
    return {role: kept[role] for role in ROLES}, before - after
