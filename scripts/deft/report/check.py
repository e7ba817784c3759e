"""Check that every visible number of a page is a value of ``analysis.json:results``.

Digits may stand in four places only: in an element with ``data-key`` (one number, equal to that
value at the printed precision), in a link to ``analysis.json#results.KEY`` (a page made from
Markdown), in an element with ``data-literal`` (names, files, dates, quotations), and in one with
``data-chart`` (axis ticks). What the page itself works out for a threshold that its reader chose
stands in ``data-live``; it is no value of the record. Marks in comments are those of Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from deft.core.reading import read_text
from dl_lab.passages import CANDIDATE, MARK, Mark
from dl_lab.printed_numbers import disagreement, numbers_in
from dl_lab.quotes import POINTER, POINTER_FORM, in_percent, read_results, unmarked

VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
UNSEEN = frozenset({"script", "style", "template"})
EXEMPT = frozenset({"data-literal", "data-chart", "data-live"})
BLANKS = re.compile(r"[ \t\r\n]+")
EXCERPT = 60


@dataclass
class _Element:
    tag: str
    line: int
    exempt: bool
    key: str | None
    href: str | None
    text: list[str] = field(default_factory=list)


class _Checker(HTMLParser):
    def __init__(self, results: Mapping[str, float], folder: Path | None) -> None:
        super().__init__(convert_charrefs=True)
        self.results, self.folder = results, folder
        self.problems: list[tuple[int, str]] = []
        self.keyless: list[tuple[int, str]] = []
        self.marks: list[Mark] = []
        self.excerpts: dict[int, str] = {}
        self.open: list[_Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        given = dict(attrs)
        outer = bool(self.open) and self.open[-1].exempt
        exempt = outer or tag in UNSEEN or bool(EXEMPT & set(given))
        key, href = given.get("data-key"), None
        if key is None and tag == "a" and CANDIDATE.search(given.get("href") or ""):
            href = given["href"]
        self.open.append(_Element(tag, self.getpos()[0], exempt, key, href))
        if tag == "sup":
            self._raise("^{")

    def _raise(self, sign: str) -> None:
        """Mark in a keyed element where an exponent begins or ends."""
        keyed = self._keyed()
        if keyed is not None:
            keyed.text.append(sign)

    def _keyed(self) -> _Element | None:
        return next((e for e in reversed(self.open) if e.key is not None or e.href), None)

    def handle_comment(self, data: str) -> None:
        mark = MARK.fullmatch(data)
        if mark:
            line, column = self.getpos()
            last = line + data.count("\n")
            before, end = self.lines[line - 1][:column], self.lines[last - 1].rstrip()
            alone = not before.strip() and end.endswith("-->")
            self.marks.append(Mark(last, mark["word"], tuple(mark["numbers"].split()), alone))

    def feed(self, data: str) -> None:
        self.lines = data.split("\n")  # the page comes in one piece
        super().feed(data)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A self-closed element (SVG) holds no text."""

    def handle_endtag(self, tag: str) -> None:
        if not any(element.tag == tag for element in self.open):
            return
        if tag == "sup":
            self._raise("}")
        while self.open:
            element = self.open.pop()
            self._compare(element)
            if element.tag == tag:
                break

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1].exempt:
            return
        keyed = self._keyed()
        if keyed is not None:
            keyed.text.append(data)
            return
        first = self.getpos()[0]
        for offset, line in enumerate(data.split("\n")):
            if any(c.isdigit() for c in line):
                text = " ".join(line.split())[:EXCERPT]
                numbers = [number.text for number in numbers_in(line)]
                self.keyless += [(first + offset, n) for n in numbers or [text]]
                self.excerpts.setdefault(first + offset, text)

    def close(self) -> None:
        super().close()
        while self.open:
            self._compare(self.open.pop())
        kept, faults = unmarked(self.keyless, self.marks)
        self.problems += faults
        self.problems += [
            (line, f"a number without a key: {self.excerpts[line]!r}")
            for line in dict.fromkeys(line for line, _ in kept)
        ]

    def _compare(self, element: _Element) -> None:
        if element.exempt or (element.key is None and element.href is None):
            return
        # A no-break space may belong to the number.
        text = " ".join(w for w in BLANKS.split("".join(element.text)) if w)
        results, key = self.results, element.key or ""
        if element.key is None and element.href is not None:
            folder, _, _ = element.href.rpartition("analysis.json")
            pointer = POINTER.fullmatch(element.href[len(folder) :])
            if pointer is None:
                return self._tell(element, f"{element.href} is no pointer: {POINTER_FORM}")
            key, folder = unquote(pointer["key"]), unquote(folder)
            if folder and self.folder is not None:
                try:
                    results = read_results(self.folder / folder / "analysis.json")
                except ValueError as error:
                    return self._tell(element, f"{key}: {error}")
        if key not in results:
            return self._tell(element, f"{key} is no key of the results (shown: {text!r})")
        found = numbers_in(text)
        rest = text[: found[0].start] + text[found[0].end :] if found else text
        if len(found) != 1 or any(c.isdigit() for c in rest):
            return self._tell(element, f"{key}: expected one number, found {text!r}")
        fault = disagreement(found[0], results[key], percent=in_percent(key))
        return self._tell(element, f"{key}: {fault}") if fault else None

    def _tell(self, element: _Element, fault: str) -> None:
        self.problems.append((element.line, fault))


def check_html(path: str | Path, results: Mapping[str, float]) -> list[str]:
    """Return the problems of a report, in order of their lines; empty when all is well."""
    return check_text(read_text(path), results, Path(path).parent)


def check_text(html: str, results: Mapping[str, float], folder: Path | None = None) -> list[str]:
    """Return the problems of a page; ``folder`` is what paths of its links are relative to."""
    checker = _Checker(results, folder)
    checker.feed(html)
    checker.close()
    return [f"line {line}: {fault}" for line, fault in sorted(checker.problems)]
