"""Sentences whose numbers keep their keys.

A sentence is a list of parts: plain text, a number of ``results`` by key, or a literal (a name in
which digits may stand, such as ``iter1``). The HTML wraps each part in its mark; plain text joins
them. So the same advice reads the same in the report and in a summary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MISSING = "–"
COUNT = "%d"
# A no-break space keeps a number and its unit on one line.
PERCENT = "%.2f\u00a0%%"
PLAIN_PERCENT = "%.12g\u00a0%%"  # a target: its digits are the user's, none is dropped
POINTS = "%.2f"
ALL_PCT = 100.0
DIGITS = re.compile(r"%\.\df")
SCORE = "%.9g"  # so many digits are read back as the same float32
EXACT = "%r"  # the shortest text that is read back as the same number


@dataclass(frozen=True)
class Number:
    """A value of ``results``, printed with a %-format."""

    key: str
    form: str = COUNT


@dataclass(frozen=True)
class Literal:
    """A name, file, date or quoted text: its digits are no measurement."""

    text: str


Part = str | Number | Literal
Sentence = Sequence[Part]


def shown(results: Mapping[str, Any], key: str, form: str) -> str:
    """Return a number as text; a dash when there is none.

    A small rate that two decimals would print as zero gets as many as it needs, and so does one
    that they would print as all.
    """
    value = results.get(key)
    if value is None:
        return MISSING
    if "%.2f" in form and value and abs(value) < 0.01:
        form = form.replace("%.2f", "%.2g")
    elif "%%" in form and (digits := DIGITS.search(form)):
        if float(digits[0] % value) in (0.0, ALL_PCT) and value not in (0.0, ALL_PCT):
            form = form.replace(digits[0], "%.2g" if abs(value) < 1 else "%.12g")
    return str(form % value)


def plain(sentence: Sentence, results: Mapping[str, Any]) -> str:
    """Return a sentence as plain text."""
    out = []
    for part in sentence:
        if isinstance(part, Number):
            out.append(shown(results, part.key, part.form))
        else:
            out.append(part.text if isinstance(part, Literal) else part)
    return "".join(out)
