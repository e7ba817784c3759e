"""Words, numbers and signs of a sentence, each with its place in what the user wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_CHARACTERS = 1000  # a target takes fifty; a file that was pasted by mistake is said at once


class Unread(Exception):
    """A part of the sentence has no reading.

    ``start`` and ``end`` are characters (from 0) of the sentence; ``reason`` may be empty when
    that part simply belongs to nothing.
    """

    def __init__(self, start: int, end: int, reason: str = "") -> None:
        super().__init__(reason)
        self.start, self.end, self.reason = start, end, reason


@dataclass(frozen=True)
class Token:
    """``kind``: ``word`` (``text`` in lower case), ``number``, ``sign`` or ``odd`` (unreadable)."""

    kind: str
    text: str
    start: int
    end: int
    written: str


# One character for one character, so that places stay. Full-width forms are the ASCII ones; no
# other compatibility form is: NFKC would make 10-3 of a power of ten, and 1/2 of a vulgar fraction.
_SAME = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys(map(ord, "−﹣‐‑"), "-"),
    **dict.fromkeys(map(ord, "﹪٪"), "%"),
    **dict.fromkeys(map(ord, "≦⩽"), "≤"),
    **dict.fromkeys(map(ord, "≧⩾"), "≥"),
    **dict.fromkeys(map(ord, "⁄∕"), "/"),
    ord("﹤"): "<",
    ord("﹥"): ">",
    ord("﹦"): "=",
}
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without blanks beside Latin words
_TOKEN = re.compile(
    rf"""(?P<number>\.?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+(?![0-9.,]))?)
       | (?P<cjk>[{_CJK}]+)
       | (?P<word>(?:(?![{_CJK}])[^\W\d_][\u0300-\u036f]*)
                  (?:(?![{_CJK}])[^\W\d][\u0300-\u036f]*)*)
       | (?P<sign><=|=<|>=|=>|==|[-<>=≤≥%‰‱/+@&:;,.!?()\[\]'"“”„‘’«»–—…、。])
       | (?P<odd>\S)""",
    re.VERBOSE,
)


def tokenize(sentence: str) -> list[Token]:
    """Return the tokens of a sentence; blanks of every width only part them."""
    plain = sentence.translate(_SAME)
    out = []
    for found in _TOKEN.finditer(plain):
        kind = str(found.lastgroup)
        kind = "word" if kind == "cjk" else kind
        text = found.group().lower() if kind in ("word", "number") else found.group()
        start, end = found.span()
        out.append(Token(kind, text, start, end, sentence[start:end]))
    return out
