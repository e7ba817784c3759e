"""What a reader sees of a text: its passages, made of pieces that know their line.

A passage is a paragraph, a heading, or a row of a table. The readers of Markdown and TeX make them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

WIDE = "（）「」【】，。；：、"
RUN_ENDS = rf"\s\"'`<>,;|&\u200b{WIDE}"
# Anything that was meant as a pointer, so that a misspelt one is an error and not passed over.
CANDIDATE = re.compile(
    rf"(?<![A-Za-z0-9_])analy[sz]\w*\.js\w*(?=[:#/.?\[][^{RUN_ENDS}])[^{RUN_ENDS}]+", re.I
)
MARK = re.compile(r"\s*quotes\s*:\s*(?P<word>\S*)\s*(?P<numbers>.*?)\s*", re.DOTALL)


@dataclass(eq=False)
class Link:
    """A link around a number; ``target`` is its address."""

    target: str


@dataclass(frozen=True)
class Piece:
    """Text of one line.

    ``link`` is the link around it; ``known``: its numbers have their key where they were defined.
    """

    text: str
    line: int
    link: Link | None = None
    known: bool = False


@dataclass(frozen=True)
class Mark:
    """A comment ``quotes: ignore [NUMBER …]``, ``quotes: off`` or ``quotes: on``.

    ``alone``: nothing else stands on its line, so it speaks of the next one.
    """

    line: int
    word: str
    numbers: tuple[str, ...]
    alone: bool


@dataclass
class Passages:
    """The passages of a text, in order, its marks, and what of it was not read, with its line."""

    found: list[list[Piece]] = field(default_factory=lambda: [[]])
    marks: list[Mark] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)

    def add(self, text: str, line: int, link: Link | None = None, known: bool = False) -> None:
        """Append to the passage that is open."""
        if text:
            self.found[-1].append(Piece(text, line, link, known))

    def end(self) -> None:
        """End the passage that is open."""
        if self.found[-1]:
            self.found.append([])

    def comment(self, text: str, line: int, *, alone: bool) -> None:
        """Take a comment, which may be a mark."""
        mark = MARK.fullmatch(text)
        if mark:
            self.marks.append(Mark(line, mark["word"], tuple(mark["numbers"].split()), alone))
