"""Check that every visible number of a report is a value of ``analysis.json:results``.

Digits may stand in three places only: in an element with ``data-key`` (one number, equal to that
value at the printed precision), in one with ``data-literal`` (names, files, dates, quotations), and
in one with ``data-chart`` (axis ticks). What the page itself works out for a threshold that its
reader chose stands in ``data-live``; it is no value of the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from deft.core.reading import read_text
from dl_lab.quotes import same_at_precision

VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
UNSEEN = frozenset({"script", "style", "template"})
EXEMPT = frozenset({"data-literal", "data-chart", "data-live"})
NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
EXCERPT = 60


@dataclass
class _Element:
    tag: str
    line: int
    exempt: bool
    key: str | None
    text: list[str] = field(default_factory=list)


class _Checker(HTMLParser):
    def __init__(self, results: Mapping[str, float]) -> None:
        super().__init__(convert_charrefs=True)
        self.results = results
        self.problems: list[str] = []
        self.open: list[_Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        given = dict(attrs)
        outer = bool(self.open) and self.open[-1].exempt
        exempt = outer or tag in UNSEEN or bool(EXEMPT & set(given))
        self.open.append(_Element(tag, self.getpos()[0], exempt, given.get("data-key")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A self-closed element (SVG) holds no text."""

    def handle_endtag(self, tag: str) -> None:
        if not any(element.tag == tag for element in self.open):
            return
        while self.open:
            element = self.open.pop()
            if element.key is not None and not element.exempt:
                self._compare(element, element.key)
            if element.tag == tag:
                break

    def handle_data(self, data: str) -> None:
        if not self.open:
            inside_key = None
        elif self.open[-1].exempt:
            return
        else:
            inside_key = next((e for e in reversed(self.open) if e.key is not None), None)
        if inside_key is not None:
            inside_key.text.append(data)
            return
        first = self.getpos()[0]
        for offset, line in enumerate(data.split("\n")):
            if any(c.isdigit() for c in line):
                text = " ".join(line.split())[:EXCERPT]
                self.problems.append(f"line {first + offset}: a number without a key: {text!r}")

    def close(self) -> None:
        super().close()
        while self.open:
            element = self.open.pop()
            if element.key is not None and not element.exempt:
                self._compare(element, element.key)

    def _compare(self, element: _Element, key: str) -> None:
        text = " ".join("".join(element.text).split())
        where = f"line {element.line}: {key}"
        if key not in self.results:
            self.problems.append(f"{where} is no key of the results (shown: {text!r})")
            return
        found = NUMBER.findall(text)
        if len(found) != 1:
            self.problems.append(f"{where}: expected one number, found {text!r}")
            return
        value = self.results[key]
        if not same_at_precision(found[0], value):
            self.problems.append(f"{where}: shows {found[0]}, the value is {value!r}")


def check_html(path: str | Path, results: Mapping[str, float]) -> list[str]:
    """Return the problems of a report, in order of their lines; empty when all is well."""
    return check_text(read_text(path), results)


def check_text(html: str, results: Mapping[str, float]) -> list[str]:
    """Return the problems of a page that is not on disk yet."""
    checker = _Checker(results)
    checker.feed(html)
    checker.close()
    return checker.problems
