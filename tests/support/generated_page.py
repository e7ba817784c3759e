"""A page of docs/ whose parts are results of tests; `--update-docs` writes them anew."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock
from workflow_tools import REPOSITORY


@dataclass(frozen=True)
class Page:
    """`docs/<name>.md`: `head`, the parts in the order of `keys`, `tail`.

    A part begins with `marker` (of its key) and ends with the next `end`.
    """

    name: str
    head: str
    keys: Sequence[str]
    tail: str = ""
    marker: str = "| {} |"
    end: str = "\n"

    @property
    def path(self) -> Path:
        return REPOSITORY / "docs" / f"{self.name}.md"

    def parts(self) -> dict[str, str]:
        """Return key -> part, of those that the page has."""
        if not self.path.is_file():
            return {}
        text, found = self.path.read_text(encoding="utf-8"), {}
        for key in self.keys:
            at = text.find(self.marker.format(key))
            end = text.find(self.end, at)
            if at >= 0 and end >= 0:
                found[key] = text[at : end + len(self.end)]
        return found

    def text(self, parts: dict[str, str]) -> str:
        """Return the page of these parts."""
        return self.head + "".join(parts[key] for key in self.keys if key in parts) + self.tail

    def check(self, config: pytest.Config, key: str, part: str) -> None:
        """Compare a part with the page, or write it there when the command says so."""
        assert part.startswith(self.marker.format(key)) and part.count(self.end) == 1
        assert part.endswith(self.end)
        if config.getoption("--update-docs", default=False):
            with FileLock(Path(tempfile.gettempdir()) / f"deft_page_{self.name}.lock"):
                self.path.write_text(self.text({**self.parts(), key: part}), encoding="utf-8")
        assert self.parts().get(key) == part, "pytest tests/workflow --update-docs"

    def check_rest(self, config: pytest.Config) -> None:
        """Compare what no part is, and that no part is missing or left over."""
        if config.getoption("--update-docs", default=False):
            self.path.write_text(self.text(self.parts()), encoding="utf-8")
            return
        parts = self.parts()
        assert list(self.keys) == [key for key in self.keys if key in parts]
        assert self.path.read_text(encoding="utf-8") == self.text(parts)
