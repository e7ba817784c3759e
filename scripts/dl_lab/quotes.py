"""Numbers of a Markdown or TeX text, each compared with the key of ``analysis.json`` it names.

A quote is a number and, after it in the same passage, a pointer:
``12.40 % (analysis.json:results.KEY)``, in TeX also in a comment; or a link around it,
``[12.40 %](PATH/analysis.json#results.KEY)``, ``\\href``. Several pointers side by side speak of as
many numbers before them, in order: ``12.40 ± 0.31 % (POINTER, POINTER)``. A pointer with a path
means the file there (relative to the text), one without the run that was asked for.

A number without a pointer is a problem too, unless a mark takes it out (dates, versions, numbers of
sections): a comment ``quotes: ignore`` for its line, ``quotes: ignore 2023 3.1`` for these numbers
of it, ``quotes: off`` to ``quotes: on`` for what lies between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from .markdown_passages import markdown_passages
from .passages import CANDIDATE, WIDE, Link, Mark, Passages, Piece
from .printed_numbers import Printed, disagreement, numbers_in
from .tex_passages import tex_passages

POINTER = re.compile(r"analysis\.json[:#]results\.(?P<key>[A-Za-z0-9][^\s()<>{}\[\]\"'`,;]*)")
# The path before a pointer is looked for backwards, from each pointer: as a part of the pattern it
# would be tried from every character of a long word.
BEFORE = re.compile(rf"[^\s()<>{{}}\[\]\"'`|,;\u200b{WIDE}]{{0,400}}\Z")
BESIDE = re.compile(rf"(?:[\s,;/&|±()\[\]{{}}+–—\u200b$`^{WIDE}-]|\band\b)*")
ADDRESS = re.compile(r"\b(?:https?|ftp|doi|arxiv)[:.]\S+", re.IGNORECASE)
PATH_CHARACTERS = 400
MOST = 1e300
READERS = {".md": markdown_passages, ".tex": tex_passages}
POINTER_FORM = "write analysis.json:results.KEY, or #results.KEY in a link"
WORDS = ("ignore", "off", "on")


@dataclass(frozen=True)
class Quote:
    """A pointer and the number it speaks of; ``number`` is None where none precedes it."""

    line: int
    number: Printed | None
    pointer: str
    path: str


@dataclass(frozen=True)
class Found:
    """What a text holds: its quotes, and its numbers that no pointer speaks of, with their line."""

    quotes: list[Quote]
    keyless: list[tuple[int, str]]
    faults: list[tuple[int, str]]


def check_files(files: Iterable[Path], analysis: Path | None) -> tuple[list[str], list[str]]:
    """Return what to tell of each file, and the problems, each with file and line."""
    told, problems = [], []
    for path in files:
        try:
            if path.exists() and not path.is_file():
                raise OSError("no file")  # a pipe would be waited for
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read ({error})")
            continue
        found = found_in(READERS.get(path.suffix.lower(), tex_passages)(text))
        wrong = [
            (q.line, fault) for q in found.quotes if (fault := _problem(q, path.parent, analysis))
        ]
        told.append(
            f"{path}: {len(found.quotes) - len(wrong)} of {len(found.quotes)} quoted numbers agree"
        )
        problems += [
            f"{path}:{line}: {fault}"
            for line, fault in sorted([*wrong, *found.faults, *_without_key(found.keyless)])
        ]
    return told, problems


def found_in(passages: Passages) -> Found:
    """Return the quotes and keyless numbers of a text, in order, marks applied."""
    quotes: list[Quote] = []
    keyless: list[tuple[int, str]] = []
    for passage in passages.found:
        _passage(passage, quotes, keyless)
    kept, faults = unmarked(keyless, passages.marks)
    return Found(quotes, kept, [*passages.unread, *faults])


def _passage(pieces: list[Piece], quotes: list[Quote], keyless: list[tuple[int, str]]) -> None:
    text = "".join(piece.text for piece in pieces)
    of = [piece for piece in pieces for _ in piece.text]
    if not any(sign.isdigit() for sign in text) and not CANDIDATE.search(text):
        return
    pointers: list[tuple[int, int, str, str]] = []
    begin = 0
    for candidate in CANDIDATE.finditer(text):
        before = BEFORE.search(
            text, max(begin, candidate.start() - PATH_CHARACTERS), candidate.start()
        )
        path = before[0] if before and before[0].endswith("/") else ""
        begin = candidate.end()
        pointers.append((candidate.start() - len(path), begin, _trimmed(candidate[0]), path))
    signs = list(text)
    for start, end in [p[:2] for p in pointers] + [m.span() for m in ADDRESS.finditer(text)]:
        signs[start:end] = " " * (end - start)
    text = "".join(signs)
    numbers = numbers_in(text)
    waiting: list[Printed] = []
    links: dict[Link, list[Printed]] = {p.link: [] for p in pieces if p.link is not None}
    for number in numbers:
        link = of[number.start].link
        (waiting if link is None else links[link]).append(number)

    def free(some: Iterable[Printed]) -> None:
        keyless.extend((of[n.start].line, n.text) for n in some if not of[n.start].known)

    after = [0] * len(pointers)  # how many pointers stand beside each, behind it
    for i in range(len(pointers) - 2, -1, -1):
        if BESIDE.fullmatch(text, pointers[i][1], pointers[i + 1][0]):
            after[i] = after[i + 1] + 1
    for i, (start, _, pointer, path) in enumerate(pointers):
        ready = [n for n in waiting if n.end <= start]
        alone = not after[i] and not (i and after[i - 1])
        back = 1 + after[i] + (alone and bool(ready) and ready[-1].spread)
        chosen = ready[-back] if len(ready) >= back else None
        if chosen is not None:
            free(n for n in ready if n.start < chosen.start or (alone and n.start > chosen.start))
            waiting = [n for n in waiting if n.start > (start if alone else chosen.start)]
        quotes.append(Quote(of[start].line, chosen, pointer, path))
    free(waiting)
    for link, inside in links.items():
        line = next(p.line for p in pieces if p.link is link)
        at = CANDIDATE.search(link.target)
        shown = next((n for n in reversed(inside) if not n.spread), None)
        quotes.append(
            Quote(
                line,
                shown,
                _trimmed(at[0]) if at else link.target,
                unquote(link.target[: at.start()]) if at else "",
            )
        )
        free(n for n in inside if n is not shown)


def _trimmed(pointer: str) -> str:
    """Return a pointer without the signs of the sentence around it."""
    while pointer:
        last = pointer[-1]
        opening = {")": "(", "]": "[", "}": "{"}.get(last)
        if last in ".:!?*" or (opening and pointer.count(last) > pointer.count(opening)):
            pointer = pointer[:-1]
        else:
            break
    return pointer


def unmarked(
    keyless: list[tuple[int, str]], marks: list[Mark]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Return the keyless numbers that no mark takes out, and what is wrong with the marks."""
    faults = []
    whole: set[int] = set()
    named: dict[int, list[str]] = {}
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    for mark in marks:
        line = mark.line + mark.alone
        if mark.word not in WORDS:
            faults.append((mark.line, f"'quotes: {mark.word}' is no mark ({', '.join(WORDS)})"))
        elif mark.word in ("off", "on"):
            # What is left open would take out more than its author sees.
            if (mark.word == "off") != (begun is None):
                before = "another 'quotes: off'" if begun else "no 'quotes: off'"
                faults.append((mark.line, f"'quotes: {mark.word}' after {before}"))
            elif begun is None:
                begun = mark.line
            else:
                spans.append((begun, mark.line))
                begun = None
        elif mark.word == "ignore" and mark.numbers:
            named.setdefault(line, []).extend(mark.numbers)
        elif mark.word == "ignore":
            whole.add(line)
    if begun is not None:
        faults.append((begun, "'quotes: off' without a 'quotes: on' after it"))
    kept = []
    for line, number in keyless:
        if line in whole or any(begin <= line <= end for begin, end in spans):
            continue
        if number in named.get(line, ()):
            named[line].remove(number)
        else:
            kept.append((line, number))
    for line, left in named.items():
        if left:
            faults.append((line, f"a mark names {', '.join(left)}, no keyless number here"))
    return kept, faults


def _without_key(keyless: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return one line of text per line that holds keyless numbers."""
    lines: dict[int, list[str]] = {}
    for line, number in keyless:
        lines.setdefault(line, []).append(number)
    return [
        (line, f"{'numbers' if len(some) > 1 else 'a number'} without a key: {', '.join(some)}")
        for line, some in lines.items()
    ]


def _problem(quote: Quote, folder: Path, analysis: Path | None) -> str | None:
    form = POINTER.fullmatch(quote.pointer)
    if form is None:
        return f"{quote.pointer} is no pointer: {POINTER_FORM}"
    key = unquote(form["key"])
    if quote.number is None:
        return f"{key}: no number stands before this pointer"
    source = folder / f"{quote.path}analysis.json" if quote.path else analysis
    if source is None:
        return f"{key}: the pointer has no path, and no run was named"
    try:
        results = read_results(source)
    except ValueError as error:
        return f"{key}: {error}"
    if key not in results:
        return f"{key} is no key of {source} (shown: {quote.number.text})"
    value = results[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{key}: the value is no number: {value!r:.80}"
    if abs(value) > MOST:
        return f"{key}: shows {quote.number.text}, the value is beyond any number"
    fault = disagreement(quote.number, value, percent=in_percent(key))
    return f"{key}: {fault}" if fault else None


def in_percent(key: str) -> bool:
    """Return whether a key names a value in percent.

    >>> in_percent("iter1.far_pct"), in_percent("iter1.delta_pp")
    (True, False)
    """
    return key.lower().endswith(("_pct", "_percent", ".pct", ".percent"))


def read_results(path: Path) -> Mapping[str, float]:
    """Return ``results`` of an ``analysis.json``; raises ValueError with a line for a person."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"it holds {word}, which is no number")

    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        text = path.read_text(encoding="utf-8")
        results = json.loads(text, parse_constant=refuse)["results"]
    except FileNotFoundError:
        raise ValueError(f"{path} is not there (is the run finished?)") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no record's analysis ({error})") from None
    if not isinstance(results, dict):
        raise ValueError(f"{path} is no record's analysis (results is {type(results).__name__})")
    return results
