"""The passages of a TeX text: prose, inline formulas and rows of tables.

Left out: arguments that no reader sees (``\\ref``, ``\\includegraphics``, lengths), displayed
formulas, drawings, listings, the bibliography, and the preamble but for its title and macros. A
macro of the text's own is replaced by what it stands for; where a pointer follows its definition,
its numbers are checked there. Comments count only where they hold a pointer or a mark.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from .passages import CANDIDATE, Link, Passages
from .printed_numbers import numbers_in
from .tex_macros import (
    BREAK,
    COLUMNS,
    COUNT,
    COUNTS,
    DEFINED,
    DEFINING,
    ENDS,
    ESCAPED,
    LAYOUT,
    LENGTH,
    LENGTHS,
    OPTIONED,
    PLAIN,
    SKIPPED,
    UNSEEN,
)

TOKEN = re.compile(
    r"%(?P<comment>[^\n]*)|\\(?P<macro>[A-Za-z@]+)\*?|\\(?P<escaped>[^A-Za-z@])"
    r"|(?P<group>\{,\})|(?P<open>\{)|(?P<close>\})|(?P<display>\$\$)"
    r"|(?P<gap>\n[ \t]*\n\s*)|(?P<other>[$~&\n])|(?P<text>[^%\\{}$~&\n]+)"
)
PREAMBLE = re.compile(r"(?<!\\)%[^\n]*|\\([A-Za-z]+)\*?")
OPTIONS = re.compile(r"[ \t]*\n?[ \t]*\[[^\]\[]*\]|\([lr{}.\dempt ]*\)")
BARE = re.compile(r"\s*\\[A-Za-z@]+")
BRACE, BRACES = re.compile(r"\s*\{"), re.compile(r"\\.|%[^\n]*|[{}]", re.DOTALL)
# A macro may hold others; a text that was made to burst stops here.
PATH_SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/~%"
DEEPEST, MOST_EXPANDED = 4, 3_000


@dataclass(frozen=True)
class _Macro:
    body: str
    line: int
    known: bool  # a pointer follows its definition


def tex_passages(text: str) -> Passages:
    """Return what a reader sees of a TeX text."""
    reader = _Reader(text)
    begin = re.search(r"^[^%\n]*\\begin\s*\{document\}", text, re.MULTILINE)
    if begin:
        reader.preamble(begin.end())
    reader.walk(begin.end() if begin else 0, len(text))
    reader.unused()
    return reader.out


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.out = text, Passages()
        self.macros: dict[str, _Macro] = {}
        self.expanded = [0]
        self.used: set[str] = set()
        self.shut: dict[int, int] = {}  # opening brace to closing one
        opened: list[int] = []
        for brace in BRACES.finditer(text):
            if brace[0] == "{":
                opened.append(brace.start())
            elif brace[0] == "}" and opened:
                self.shut[opened.pop()] = brace.start()
        self.row_ended = False
        self.starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def line(self, at: int) -> int:
        return bisect_right(self.starts, at)

    def group(self, at: int, end: int) -> tuple[int, int] | None:
        """Return where the content of a group in braces lies that begins at ``at`` or after it."""
        begin = BRACE.match(self.text, at, end)
        shut = self.shut.get(begin.end() - 1, end) if begin else end
        return (begin.end(), shut) if begin and shut < end else None

    def skip(self, at: int, end: int, groups: int) -> int:
        """Return the place behind ``groups`` arguments and the options before each."""
        for _ in range(groups):
            if bare := BARE.match(self.text, at, end):  # \setlength\tabcolsep{3pt}
                at = bare.end()
                continue
            inner = self.group(self.skip_options(at, end), end)
            if inner is None:
                break
            at = inner[1] + 1
        return at

    def skip_options(self, at: int, end: int) -> int:
        """Return the place behind options in brackets, and a rule's ``(lr)``."""
        while option := OPTIONS.match(self.text, at, end):
            at = option.end()
        return at

    def preamble(self, end: int) -> None:
        """Take macros and title of what stands before ``\\begin{document}``."""
        at = 0
        while found := PREAMBLE.search(self.text, at, end):
            at = found.end()
            if found[1] in DEFINING:
                at = self.define(at, end)  # a comment behind it has been taken with it
            elif found[1] in ("title", "date"):
                inner = self.group(found.end(), end)
                if inner:
                    self.walk(*inner)
                    self.out.end()
            elif found[0].startswith("%"):
                self.comment(found[0][1:], found.start(), end)

    def define(self, at: int, end: int) -> int:
        """Take the definition of a macro; return the place behind it."""
        name = DEFINED.match(self.text, at, end)
        inner = self.group(name.end(), end) if name else None
        if name is None or inner is None:
            return at
        after = re.compile(r"\}[ \t]*%([^\n]*)").match(self.text, inner[1])
        known = bool(after and CANDIDATE.search(after[1]))
        self.macros[name["name"]] = _Macro(self.text[slice(*inner)], self.line(at), known)
        if known and after:
            self.out.end()
            self.walk(*inner)
            self.comment(after[1], inner[1], end)
            self.out.end()
            return after.end()
        return inner[1] + 1

    def unused(self) -> None:
        """Add the macros that stand for a number and are used elsewhere (a file of results)."""
        for name, macro in self.macros.items():
            body = re.sub(r"\\[,;!]|\\(?:ensuremath|text\w\w|xspace)\b|[{}$~\s]", "", macro.body)
            numbers = numbers_in(body.replace("\\%", "%"))
            if (
                name not in self.used
                and not LAYOUT.fullmatch(name)
                and not macro.known
                and len(numbers) == 1
            ):
                if numbers[0].start == 0 and not body[numbers[0].end :].strip("\\%"):
                    self.out.end()
                    self.out.add(numbers[0].text, macro.line)
        self.out.end()

    def comment(self, comment: str, at: int, end: int) -> None:
        """Take a comment's pointers and marks; one that has a number too was once prose."""
        line = self.line(at)
        own = self.text[self.starts[line - 1] : at]
        self.out.comment(comment, line, alone=not own.strip())
        pointer = CANDIDATE.search(comment)
        if pointer is None:
            return
        words = comment[: pointer.start()].rstrip(PATH_SIGNS)
        if not numbers_in(words):
            pointers = re.sub(r"\\([_#%&])", r"\1", comment[len(words) :])
            self.out.add(f" {pointers} ", line)

    def walk(
        self, at: int, end: int, link: Link | None = None, known: bool = False, depth: int = 0
    ) -> None:
        """Add the text between two places."""
        while at < end and (token := TOKEN.match(self.text, at, end)):
            line, at = self.line(at), token.end()
            kind = token.lastgroup
            if kind == "comment":
                self.comment(token["comment"], token.start(), end)
                continue
            if kind in ("gap", "display"):
                self.out.end()
                if kind == "display":
                    shut = self.text.find("$$", at, end)
                    at = shut + 2 if shut >= 0 else at
                continue
            if token[0] == "\n" and self.row_ended:
                self.out.end()
            if token[0].strip() or token[0] == "\n":
                self.row_ended = False
            if kind == "macro":
                at = self.macro(token["macro"], token.start(), at, end, link, known, depth)
            elif kind == "escaped":
                at = self.escaped(token["escaped"], at, end, line, link, known)
            else:
                self.out.add(self.plain(token), line, link, known)

    def plain(self, token: re.Match[str]) -> str:
        if token.lastgroup == "open":
            raised = token.start() and self.text[token.start() - 1] in "^_"
            return "{" if raised else BREAK
        own = {",": ",", "}": BREAK, "$": "", "~": "\u00a0", "&": " & ", "\n": " "}
        return own.get(token[0].strip("{}") or token[0], token[0])

    def escaped(
        self, sign: str, at: int, end: int, line: int, link: Link | None, known: bool
    ) -> int:
        if sign == "\\":
            self.row_ended = True
            self.out.add(" ", line, link, known)
            option = re.compile(r"\*?\s*\[[^\]\n]*\]").match(self.text, at, end)
            return option.end() if option else at
        if sign == "[":
            shut = self.text.find("\\]", at, end)
            self.out.end()
            return shut + 2 if shut >= 0 else at
        self.out.add(ESCAPED.get(sign, sign), line, link, known)
        return at

    def macro(
        self, name: str, start: int, at: int, end: int, link: Link | None, known: bool, depth: int
    ) -> int:
        """Add what a macro shows; return the place behind what it takes."""
        line = self.line(start)
        if name in ENDS:
            self.out.end()
            return at if name == "item" else self.skip_options(at, end)
        if name == "begin":
            return self.begin(at, end)
        if name == "end":
            self.out.end()
        if name == "verb" or (name == "lstinline" and self.text[at : at + 1] not in ("{", "[")):
            shut = self.text.find(self.text[at : at + 1] or " ", at + 1, end)
            code = self.text[at + 1 : shut] if shut > 0 else ""
            self.out.add(code if CANDIDATE.search(code) else BREAK, line, link, known)
            return shut + 1 if shut > 0 else at
        if name == "href" and (inner := self.group(at, end)):
            target = re.sub(r"\\([#%_&])", r"\1", self.text[slice(*inner)])
            shown = self.group(inner[1] + 1, end)
            if shown and CANDIDATE.search(target):
                self.walk(*shown, Link(target), known, depth)
                return shown[1] + 1
            return inner[1] + 1
        if name in DEFINING:
            return self.define(at, end)
        if name in self.macros:
            self.used.add(name)
            macro = self.macros[name]
            if depth == DEEPEST or self.expanded[0] == MOST_EXPANDED:
                self.out.add(BREAK, line, link, known)
                if re.search(r"\d|\\", macro.body) and not (
                    self.out.unread or known or macro.known
                ):
                    why = f"macros are followed {DEEPEST} deep and {MOST_EXPANDED} times"
                    self.out.unread.append((line, f"\\{name} is not read: {why}"))
            elif re.search(r"\d|\\", macro.body):  # a name, as most are, costs nothing
                self.expanded[0] += 1
                self.expand(macro, line, link, known or macro.known, depth)
            else:
                self.out.add(macro.body, line, link, known)
            return at
        if name == "url" and (inner := self.group(at, end)):
            address = self.text[slice(*inner)]
            self.out.add(address if CANDIDATE.search(address) else BREAK, line, link, known)
            return inner[1] + 1
        if name in UNSEEN or "cite" in name.lower():
            self.out.add(BREAK, line, link, known)
            return self.skip(at, end, UNSEEN.get(name, 1))
        if name in OPTIONED:
            at = self.skip_options(at, end)
        self.out.add(PLAIN.get(name, BREAK), line, link, known)
        form = LENGTH if LENGTHS.fullmatch(name) else COUNT if COUNTS.fullmatch(name) else None
        length = form.match(self.text, at, end) if form else None
        # TeX takes the blanks behind a macro's name.
        return length.end() if length else at

    def begin(self, at: int, end: int) -> int:
        self.out.end()
        inner = self.group(at, end)
        name = self.text[slice(*inner)] if inner else ""
        if SKIPPED.fullmatch(name):
            shut = self.text.find(f"\\end{{{name}}}", at, end)
            if shut >= 0:
                return shut
        return self.skip_options(self.skip(at, end, 1 + COLUMNS.get(name, 0)), end)

    def expand(self, macro: _Macro, line: int, link: Link | None, known: bool, depth: int) -> None:
        inner = _Reader(re.sub(r"#\d", "", macro.body))
        inner.macros, inner.expanded, inner.used = self.macros, self.expanded, self.used
        inner.out.unread = self.out.unread
        inner.walk(0, len(inner.text), link, known, depth + 1)
        for passage in inner.out.found:
            for piece in passage:
                self.out.add(piece.text, line, link, known or piece.known)
