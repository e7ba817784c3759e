"""A page of docs/ that shows commands and what they print: blocks of ```console.

A line that begins with `$ ` is a command, what follows is its output. `…` alone on a line stands
for any number of lines, within a line for any words. What another run or machine prints otherwise
is compared without its numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HOME = "/home/me/deft-aoi-loop"  # where the page's reader has the project
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
# A run's name, a digest, a time; and any other number, where a trained network made it.
PASSING = [
    (re.compile(r"run_\d{8}_\d{6}"), "<run>"),
    (re.compile(r"\b[0-9a-f]{16,64}\b"), "<digest>"),
    (re.compile(r" · (?:\d+h ?)?(?:\d+m ?)?\d+s\b"), " · <time>"),
]
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e-\d+)?")


@dataclass(frozen=True)
class Shown:
    """A command of the page and the output that stands below it."""

    command: str
    output: str

    @property
    def trained(self) -> bool:
        """Whether a trained network's numbers are in the output."""
        return (
            "score.py" in self.command
            or re.fullmatch(r"snakemake( --configfile \S+)?", self.command) is not None
        )


def shown_on(page: Path) -> list[Shown]:
    """Return the page's commands, in their order."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Shown(command.split("  #")[0].strip(), output))
    return found


def files_on(page: Path) -> dict[str, str]:
    """Return name -> text of the files that the page has its reader write."""
    return dict(FILE.findall(page.read_text(encoding="utf-8")))


def without_passing(text: str, root: Path, *, trained: bool) -> str:
    """Return the text without what differs from run to run; ``root`` is where it was printed."""
    text = text.replace(str(root), HOME)
    for pattern, word in PASSING:
        text = pattern.sub(word, text)
    return NUMBER.sub("<n>", text) if trained else text


def is_shown(shown: Shown, printed: str, root: Path) -> bool:
    """Return whether the page shows what the command printed."""
    lines = without_passing(shown.output, root, trained=shown.trained).splitlines()
    pattern = "".join(
        r"(?:[^\n]*\n)*?"
        if line.strip() == "…"
        else re.escape(line.rstrip()).replace("…", r"[^\n]*") + r"[ \t]*\n"
        for line in lines
    )
    text = without_passing(printed, root, trained=shown.trained)
    return (
        re.fullmatch(pattern, text if text.endswith("\n") or not text else f"{text}\n") is not None
    )
