"""Parts whose golden has another size: both are stretched alike, which can give the label away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deft.importers.parts import FoundPart, Picture
from deft.importers.picture_tree import size_of
from deft.tables.changenet_table import PASS


def sizes_told(parts: Sequence[FoundPart]) -> list[str]:
    """Return what to tell of parts with a golden of another size, by label; of readable parts."""
    known: dict[Path, tuple[int, int]] = {}

    def size(picture: Picture) -> tuple[int, int]:
        if picture.box is not None:
            return picture.box[2], picture.box[3]
        if picture.path not in known:
            known[picture.path] = size_of(picture.path)
        return known[picture.path]

    unlike: Counter[str] = Counter()
    first = ""
    for part in parts:
        pairs = [
            (size(picture), size(golden))
            for light, picture in part.pictures.items()
            for golden in part.goldens[light]
        ]
        found = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if found is not None:
            unlike[part.label] += 1
            own, other = found
            first = first or (
                f"{part.origin} {own[0]} x {own[1]} px, its golden {other[0]} x {other[1]}"
            )
    if not unlike:
        return []
    of = Counter(part.label for part in parts)
    labels = sorted(of, key=lambda label: (label != PASS, label))
    told = ", ".join(f"{label} {unlike[label]} of {of[label]}" for label in labels)
    shares = {unlike[label] / of[label] for label in labels}
    uneven = "; a network can learn the label from that alone" if len(shares) > 1 else ""
    return [
        f"WARNING: {unlike.total()} part(s) have a golden of another size ({told}), the first "
        f"{first}: each is stretched to the spec's size on its own{uneven}"
    ]
