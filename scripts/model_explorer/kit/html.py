"""The reports as HTML: one file each, figures inside it, fit for a printer; no script, no network.

It reads the Markdown, so that a report that was edited by hand is shown as it was edited.
"""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

from .folder import Folder, write_text

REPORTS = ("reports/experiment-report.md", "reports/stakeholder-report.md")
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; border-bottom: 1px solid #ccc; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; margin: 0.8rem 0; font-size: 0.9em; }
th, td { border: 1px solid #ccc; padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; }
th, td { overflow-wrap: normal; } td.long { overflow-wrap: anywhere; }
td.number { white-space: nowrap; } th { background: #f3f3f3; }
code, pre { font-family: ui-monospace, monospace; background: #f6f6f6; }
pre { padding: 0.6rem; white-space: pre-wrap; } figure { margin: 1rem 0; }
img { max-width: 100%; } figcaption { color: #555; font-size: 0.9em; }
@page { margin: 18mm; }
@media print { body { margin: 0; max-width: none; font-size: 10pt; } a { color: inherit; }
  h2 { break-after: avoid; } tr, figure, pre { break-inside: avoid; } thead {
  display: table-header-group; } }
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
INLINE = re.compile(
    r"\\(?P<plain>[^\w\s])|`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|(?<![\w*])\*(?P<italic>[^*\s][^*]*)\*"
    r"|\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)"
)
SAFE = re.compile(r"(https?://|#|[\w./-]+$)")
FIGURE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<file>[\w./-]+\.png)\)$")
RULE = re.compile(r"\|[\s:|-]+\|$")
NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?( %)?$")
LONG_WORD = 28  # letters that are kept together in a table; a digest or a path may break
ITEM = re.compile(r"(?P<mark>[-*]|\d+\.) +(?P<text>.*)")


def write(folder: Folder) -> str:
    """Write an ``.html`` beside each report; return their names."""
    made = []
    for name in REPORTS:
        path = folder.path(name)
        if path.is_file():
            target = path.with_suffix(".html")
            write_text(target, page(path.read_text(encoding="utf-8"), path.parent))
            made.append(f"reports/{target.name}")
    return ", ".join(made) or "no report to show"


def page(text: str, place: Path) -> str:
    """Return a whole page of a report's Markdown; figures are taken from below ``place``."""
    lines = text.splitlines()
    title = next((line[2:].strip() for line in lines if line.startswith("# ")), "Report")
    return PAGE.format(
        title=html.escape(_unescaped(title)), style=STYLE, body="\n".join(_blocks(lines, place))
    )


def _blocks(lines: list[str], place: Path) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at].rstrip()
        end = at + 1
        if line.startswith("```"):
            while end < len(lines) and not lines[end].startswith("```"):
                end += 1
            code = "\n".join(lines[at + 1 : end])
            out.append(f"<pre><code>{html.escape(code)}</code></pre>")
            end += 1
        elif found := re.match(r"(#{1,6}) +(.*)", line):
            level = len(found[1])
            out.append(f"<h{level}>{inline(found[2])}</h{level}>")
        elif line.startswith("|") and end < len(lines) and RULE.match(lines[end].strip()):
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            out.append(_table(lines[at:end]))
        elif figure := FIGURE.match(line):
            caption = lines[at + 2] if at + 2 < len(lines) else ""
            is_caption = caption.startswith("*") and caption.rstrip().endswith("*")
            out.append(_figure(figure["alt"], figure["file"], caption if is_caption else "", place))
            end = at + 3 if is_caption else end
        elif item := ITEM.match(line):
            kind = "ol" if item["mark"][0].isdigit() else "ul"
            while end < len(lines) and ITEM.match(lines[end]):
                end += 1
            items = [ITEM.match(x) for x in lines[at:end]]
            inner = "\n".join(f"<li>{inline(i['text'])}</li>" for i in items if i)
            out.append(f"<{kind}>\n{inner}\n</{kind}>")
        elif line:
            while end < len(lines) and lines[end].strip() and lines[end][0] not in "#|-!`":
                end += 1
            out.append(f"<p>{inline(' '.join(x.strip() for x in lines[at:end]))}</p>")
        at = end
    return out


def _table(lines: list[str]) -> str:
    head, _, *rows = [[c.strip() for c in re.split(r"(?<!\\)\|", x.strip())[1:-1]] for x in lines]
    top = "".join(f'<th scope="col">{inline(c)}</th>' for c in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td{_kind(c)}>{inline(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f"<table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _kind(cell: str) -> str:
    """Return the class of a cell: numbers are never broken, words only where they are endless."""
    if NUMBER.match(cell):
        return ' class="number"'
    return ' class="long"' if any(len(w) > LONG_WORD for w in cell.split()) else ""


def _figure(alt: str, file: str, caption: str, place: Path) -> str:
    path = (place / file).resolve()
    if place.resolve() not in path.parents or not path.is_file():
        return f"<p>{inline(f'The figure {file} is not there.')}</p>"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    below = inline(caption.strip().strip("*")) if caption else ""
    return (
        f'<figure><img alt="{html.escape(_unescaped(alt))}" src="data:image/png;base64,{data}">'
        f"<figcaption>{below}</figcaption></figure>"
    )


def inline(text: str) -> str:
    """Return a line's HTML: code, bold, italics and links; all else is shown as it is written.

    >>> inline("**No-go.** `a<b` &lt;script>")
    '<strong>No-go.</strong> <code>a&lt;b</code> &lt;script&gt;'
    """
    out, at = [], 0
    for found in INLINE.finditer(text):
        out.append(html.escape(_unescaped(text[at : found.start()])))
        at = found.end()
        if found["plain"]:
            out.append(html.escape(found["plain"]))
        elif found["code"]:
            out.append(f"<code>{html.escape(_unescaped(found['code']))}</code>")
        elif found["bold"]:
            out.append(f"<strong>{inline(found['bold'])}</strong>")
        elif found["italic"]:
            out.append(f"<em>{inline(found['italic'])}</em>")
        else:
            target = re.sub(r"^([\w-]+)\.md$", r"\1.html", found["target"])
            said = inline(found["text"])
            if SAFE.match(target):
                said = f'<a href="{html.escape(target)}">{said}</a>'
            out.append(said)
    out.append(html.escape(_unescaped(text[at:])))
    return "".join(out)


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<")
