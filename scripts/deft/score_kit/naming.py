"""Where the pictures of a row lie, which is TAO's rule, and words that labels are written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# What people call a good part, cleaned; taken as it stands each of them would be a defect.
GOOD_WORDS = frozenset(
    (
        *("ok", "okay", "good", "passed", "passes", "accept", "accepted", "true", "yes", "y", "p"),
        *("0", "1", "normal", "none", "no defect", "no_defect", "no-defect", "nodefect", "perfect"),
        *("non-defective", "defect-free", "false call", "false_call", "falsecall", "false alarm"),
        *("pseudo", "i.o.", "i. o.", "io", "gut", "bon", "bonne", "buono", "correcto", "bueno"),
        *("良品", "良", "合格", "正常", "양품", "정상", "양호"),
    )
)
# What may mean a good part or "not looked at", and is the name of a defect to some.
UNCLEAR_WORDS = frozenset("0 1 true false yes y p none null nan n/a na - ? unknown pseudo".split())


def image_name(object_name: str, light: str, ext: str) -> str:
    """Return the file name of one light's picture; an empty light adds no suffix."""
    return f"{object_name}_{light}{ext}" if light else f"{object_name}{ext}"


def evenly(names: Sequence[T], count: int) -> list[T]:
    """Return ``count`` of the names in order: neighbours in a folder are often alike."""
    return [names[i * len(names) // count] for i in range(count)]
