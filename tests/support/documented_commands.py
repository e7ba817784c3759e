"""The commands that README and `docs/` show: where they stand and what they are."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
HEREDOC = re.compile(r"<<'?(\w+)'?\n.*?^\1$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
STARTS = ("snakemake", "make", "python", "python3", "pytest")


@dataclass(frozen=True)
class Command:
    """A command line. ``words``: without variables before it, comments and placeholders (…)."""

    page: str
    text: str
    words: tuple[str, ...]


def commands_of(page: Path) -> list[Command]:
    """Return the commands of a page that start the project, in blocks of code and within text."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line
        for language, block in FENCE.findall(text)
        if language in ("", "bash", "text", "console")
        for line in re.sub(r" *\\\n *", " ", HEREDOC.sub("", block)).splitlines()
        if language != "console" or line.startswith("$ ")
    ]
    lines += INLINE.findall(FENCE.sub("", text))
    return [
        Command(page.name, line.strip(), words)
        for line in lines
        for part in re.split(r"&&|; ", line.strip().removeprefix("$ "))
        if (words := _words(part)) and words[0] in STARTS
    ]


def _words(line: str) -> tuple[str, ...]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose, an apostrophe
        return ()
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return tuple(word for word in words if word not in ("…", "..."))
