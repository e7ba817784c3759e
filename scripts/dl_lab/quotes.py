"""Numbers that a Markdown or TeX text quotes from ``analysis.json``, compared with their keys.

A quote is a number and, after it in the same paragraph, a pointer:
``12.40 % (analysis.json:results.KEY)``, in TeX also in a comment; in Markdown also a link,
``[12.40 %](PATH/analysis.json#results.KEY)``. A pointer speaks of the last number before it. One
with a path means the file there (relative to the text), one without the run that was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

NUMBER = re.compile(
    r"(?<![\w.])[-+−]?(?:\d{1,3}(?:(?:,|\\,|\{,\}|[\u2009\u202f])\d{3})+|\d+)(?:\.\d+)?"
    r"(?:[eE][-+]?\d+)?"
)
PATH = r"[^\s()<>{}\[\]\"'`]"
POINTED = r"analysis\.json[:#]results\.(?P<key>[A-Za-z0-9][^\s()<>{}\[\]\"'`,;]*)"
# The path before a pointer is looked for backwards, from each pointer: as a part of the pattern it
# would be tried from every character of a long word.
POINTER, BEFORE = re.compile(POINTED), re.compile(rf"{PATH}{{0,400}}\Z")
WHOLE_POINTER = re.compile(rf"{PATH}*{POINTED}")
PATH_CHARACTERS = 400
MOST = 1e300
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
GROUPING = re.compile(r",|\\,|\{,\}|[\u2009\u202f]")


@dataclass(frozen=True)
class Quote:
    """A number of a text and the key that it names; ``number`` is None where none precedes."""

    line: int
    number: str | None
    key: str
    path: str


def same_at_precision(text: str, value: float) -> bool:
    """Return whether ``text`` is ``value`` rounded to the digits that ``text`` has.

    >>> same_at_precision("12.40", 12.3999), same_at_precision("12.40", 12.41)
    (True, False)
    """
    text = GROUPING.sub("", text.replace("−", "-")).lstrip("+")
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    printed = f"{value:.{decimals}e}" if exponent else f"{value:.{decimals}f}"
    return float(printed) == float(text)


def without_examples(markdown: str) -> str:
    """Return Markdown with blanks for code that shows a quote instead of making one.

    A pointer alone between backticks is one: ``12.40 % (`analysis.json:results.KEY`)``.
    """

    def blank(code: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", code[0])

    def inline(code: re.Match[str]) -> str:
        return code[0] if WHOLE_POINTER.fullmatch(code[0][1:-1]) else blank(code)

    return CODE.sub(inline, FENCED.sub(blank, markdown))


def quotes_of(text: str) -> list[Quote]:
    """Return the quotes of a text, in order."""
    found, begin = [], 0
    for pointer in POINTER.finditer(text):
        word = BEFORE.search(text, max(begin, pointer.start() - PATH_CHARACTERS), pointer.start())
        path = word[0] if word else ""
        start = pointer.start() - len(path)
        begin = max(begin, text.rfind("\n\n", 0, start) + 1)
        numbers = NUMBER.findall(text[begin:start])
        # TeX wants `\_`, links escape blanks, a full stop may end the sentence.
        key = unquote(pointer["key"].replace("\\_", "_")).rstrip(".:!?")
        found.append(
            Quote(
                line=text.count("\n", 0, start) + 1,
                number=numbers[-1] if numbers else None,
                key=key,
                path=path,
            )
        )
        begin = pointer.end()
    return found


def check_files(files: Iterable[Path], analysis: Path | None) -> tuple[list[str], list[str]]:
    """Return what to tell of each file, and the problems, each with file and line."""
    told, problems = [], []
    for path in files:
        try:
            if path.exists() and not path.is_file():
                raise OSError("no file")  # a pipe would be waited for
            text = path.read_text(encoding="utf-8")
            quotes = quotes_of(without_examples(text) if path.suffix == ".md" else text)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read ({error})")
            continue
        wrong = [fault for q in quotes if (fault := _problem(q, path, analysis))]
        problems += wrong
        told.append(f"{path}: {len(quotes) - len(wrong)} of {len(quotes)} quoted numbers agree")
    return told, problems


def _problem(quote: Quote, file: Path, analysis: Path | None) -> str | None:
    where = f"{file}:{quote.line}: {quote.key}"
    if quote.number is None:
        return f"{where}: no number stands before this pointer"
    source = file.parent / f"{quote.path}analysis.json" if quote.path else analysis
    if source is None:
        return f"{where}: the pointer has no path, and no run was named"
    try:
        results = read_results(source)
    except ValueError as error:
        return f"{where}: {error}"
    if quote.key not in results:
        return f"{where} is no key of {source} (shown: {quote.number})"
    value = results[quote.key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"{where}: the value is no number: {value!r:.80}"
    if abs(value) > MOST:
        return f"{where}: shows {quote.number}, the value is beyond any number"
    if not same_at_precision(quote.number, value):
        return f"{where}: shows {quote.number}, the value is {value!r}"
    return None


def read_results(path: Path) -> Mapping[str, float]:
    """Return ``results`` of an ``analysis.json``; raises ValueError with a line for a person."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))["results"]
    except FileNotFoundError:
        raise ValueError(f"{path} is not there (is the run finished?)") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no record's analysis ({error})") from None
    if not isinstance(results, dict):
        raise ValueError(f"{path} is no record's analysis (results is {type(results).__name__})")
    return results
