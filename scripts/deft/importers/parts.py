"""What a reader of somebody's data set finds, before anything is written.

A reader (one module per layout, in ``deft/importers/layouts``) turns files into a :class:`Source`;
:mod:`deft.importers.build` makes a workspace of it. Readers open annotations and headers, never
pixels; they write nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from deft.tables.changenet_table import PASS

# What becomes of a part. None: the split decides.
ROLES = ("base", "validation", "kpi", "pool")


def file_safe(text: str, also: str = "@.+-_") -> str:
    """Return a name in which all but letters, digits and ``also`` is a hyphen."""
    return "".join(c if c.isalnum() or c in also else "-" for c in text)


@dataclass(frozen=True)
class Picture:
    """A picture file, or a part of it: ``box`` is (x, y, width, height) in px, origin top left."""

    path: Path
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class FoundPart:
    """One inspected part: what becomes one row of a table.

    ``name`` is the wish for ``object_name`` (made unique and safe for file names when built);
    ``board`` the unit that splits keep together ("" = the part stands alone);
    ``label`` PASS or a defect's name; ``pictures`` one per light (one light: the key "");
    ``goldens`` likewise, each light with one or more; empty = the set has none, and one is looked
    for among the good parts of the same ``part_type``.
    ``origin``: the file (and line or record) that says so, as the user knows it.
    """

    name: str
    board: str
    label: str
    pictures: dict[str, Picture]
    origin: str
    goldens: dict[str, list[Picture]] = field(default_factory=dict)
    part_type: str = ""
    role: str | None = None

    @property
    def good(self) -> bool:
        """Whether the part passed."""
        return self.label == PASS


@dataclass(frozen=True)
class LeftOver:
    """A file or record that becomes no row, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Source:
    """What was found under a root. ``licence``: what is known of it, as one sentence."""

    layout: str
    root: Path
    parts: list[FoundPart]
    left_over: list[LeftOver]
    licence: str
    notes: list[str] = field(default_factory=list)
