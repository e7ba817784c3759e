"""The passages of a Markdown text (CommonMark and tables).

Code is an example or a name, and left out, but for a pointer that stands alone between backticks.
So are addresses, pictures, the front matter and display formulas (``$$``).
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .passages import CANDIDATE, Link, Passages

UNSEEN = re.compile(
    r"\A---\n.*?^(?:---|\.\.\.)[ ]*$|^[ ]{0,3}\$\$(?!\$).*?\$\$[ ]*$", re.DOTALL | re.MULTILINE
)
TAG = re.compile(r"<!--(?P<comment>.*?)-->|<(?P<end>/?)(?P<name>[A-Za-z][\w-]*)[^<>]*>", re.DOTALL)
# Formulas between dollars, as far as numbers need them; the parser has taken `\,` and `\%` already.
FORMULA = {
    r"\\times(?![A-Za-z]) ?": "×",
    r"\\cdot(?![A-Za-z]) ?": "·",
    r"\\pm(?![A-Za-z]) ?": "±",
    r"\\(?:approx|simeq|sim)(?![A-Za-z]) ?": "≈",
    r"\\leq?(?![A-Za-z]) ?": "≤",
    r"\\geq?(?![A-Za-z]) ?": "≥",
    r"\{,\}": ",",
    r"\$": "",
}
HIDING = ("script", "style", "template")


def markdown_passages(text: str) -> Passages:
    """Return what a reader sees of a Markdown text."""
    seen = UNSEEN.sub(lambda m: "\n" * m[0].count("\n"), text)
    out, line = Passages(), 1
    for token in MarkdownIt("commonmark").enable("table").parse(seen):
        if token.map:
            line = token.map[0] + 1
        if token.type == "inline":
            _inline(token.children or [], line, out)
        elif token.type == "html_block":
            _html(token.content, line, out)
        elif token.type in ("td_close", "th_close"):
            out.add(" | ", line)
        elif token.type not in ("td_open", "th_open"):
            out.end()
    return out


def _inline(tokens: Sequence[Token], line: int, out: Passages) -> None:
    links: list[Link | None] = [None]
    for token in tokens:
        if token.type == "text":
            out.add(_formula(token.content), line, links[-1])
        elif token.type in ("softbreak", "hardbreak"):
            out.add(" ", line)
            line += 1
        elif token.type == "link_open":
            target = str(token.attrs.get("href", ""))
            # An address with its own text as link (<https://…>) or to elsewhere stays prose.
            links.append(Link(target) if CANDIDATE.search(target) else links[-1])
        elif token.type == "link_close":
            links.pop()
        elif token.type == "code_inline":
            code = token.content.strip()
            pointer = CANDIDATE.search(code)
            alone = pointer and not re.search(r"\s", code) and pointer.end() == len(code)
            out.add(code if alone else " ` ", line, links[-1])
        elif token.type == "html_inline":
            tag = TAG.fullmatch(token.content)
            if tag and tag["comment"] is not None:
                out.comment(tag["comment"], line, alone=False)
            elif tag and tag["name"].lower() == "sup":
                out.add("}" if tag["end"] else "^{", line, links[-1])


def _formula(text: str) -> str:
    if "$" in text or "\\" in text:
        for pattern, plain in FORMULA.items():
            text = re.sub(pattern, plain, text)
    return text


def _html(block: str, line: int, out: Passages) -> None:
    """Add the text of a block of HTML; a row of a table is a passage."""
    out.end()
    at, hidden = 0, ""
    for tag in [*TAG.finditer(block), None]:
        between = block[at : tag.start() if tag else len(block)]
        for offset, part in enumerate(between.split("\n")):
            if not hidden:
                out.add(html.unescape(part) + " ", line + block.count("\n", 0, at) + offset)
        if tag is None:
            break
        where = line + block.count("\n", 0, tag.start())
        at = tag.end()
        name = (tag["name"] or "").lower()
        if tag["comment"] is not None:
            own = block[block.rfind("\n", 0, tag.start()) + 1 : tag.start()]
            rest = block[at:].partition("\n")[0]
            last = line + block.count("\n", 0, at)
            out.comment(tag["comment"], last, alone=not (own + rest).strip())
        elif name in HIDING:
            hidden = "" if tag["end"] else name
        elif name == "sup":
            out.add("}" if tag["end"] else "^{", where)
        elif name in ("td", "th"):
            out.add(" | ", where)
        elif name in ("tr", "p", "div", "li", "table", "br"):
            out.end()
    out.end()
