"""Tables of the Markdown reports; what a user wrote must not end a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def code(text: object) -> str:
    """Return a user's text as code for a table's cell."""
    one_line = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{one_line}`"


def report_text(title: str, sections: Mapping[str, Sequence[str]]) -> str:
    """Return a report with numbered sections.

    No section's text may hold a later heading's words: NVIDIA's readers find a section by them.
    """
    lines = [f"# {title}"]
    for number, (heading, body) in enumerate(sections.items(), start=1):
        lines += ["", f"## {number}. {heading}", "", *body]
    return "\n".join(lines) + "\n"


def table_lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table's lines; the cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, cells))} |" for cells in lines]
