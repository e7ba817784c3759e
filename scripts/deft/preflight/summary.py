"""The Pre-Flight Summary: plain text with aligned tables, for the terminal and the run folder."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from deft.core.commands import again
from deft.preflight.check import STOP, WARN
from deft.settings.kpi_target import KpiTarget

WIDTH = 98  # columns of a terminal line
LABELS_SHOWN = 6
MARKS = {"ok": "  ok ", WARN: " warn", STOP: " STOP"}


def render(report: dict[str, Any]) -> str:
    """Return the summary of ``checks.json``'s content (see :mod:`deft.preflight.run`)."""
    tables = report["summary_tables"]
    parts = [f"# Pre-Flight Summary: {report['run']}", "", target_line(report), ""]
    parts += [_verdict(report), ""]
    for title, name in (
        ("Run config", "run_config"),
        ("Dataset", "dataset"),
        ("Augmentation", "augmentation"),
        ("Images", "images"),
    ):
        table = tables[name]
        parts += [f"## {title}", "", *aligned(table["head"], table["rows"]), ""]
    parts += ["## Checks", "", *_checks(report["checks"]), ""]
    parts += ["## Resume", "", *_resume(report["resume"]), ""]
    parts += _next_steps(report)
    return "\n".join(parts) + "\n"


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose columns line up in a terminal."""
    cells = [[str(c).replace("|", "/") for c in row] for row in rows]
    widths = [max([len(h), *(len(row[i]) for row in cells)]) for i, h in enumerate(head)]

    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    return [line(head), rule, *(line(row) for row in cells)]


def target_line(report: dict[str, Any]) -> str:
    """Return the target as it was read: the first thing to check before anything is approved."""
    target = KpiTarget.from_dict(report.get("kpi_target") or {})
    if target is None:
        return "Target: not understood, see the check kpi_target."
    return f"Target: {target.canonical()}"


def _verdict(report: dict[str, Any]) -> str:
    counts = {s: sum(c["status"] == s for c in report["checks"]) for s in ("ok", WARN, STOP)}
    text = f"{counts['ok']} checks passed, {counts[WARN]} warnings, {counts[STOP]} stops."
    return text + (" The run cannot start." if counts[STOP] else " The run can start.")


def _checks(checks: list[dict[str, Any]]) -> list[str]:
    width = max(len(c["id"]) for c in checks)
    indent = " " * (width + 8)
    lines = []
    for check in checks:
        code = f"{check['code']}: " if check.get("code") else ""
        head = f"{MARKS[check['status']]}  {check['id'].ljust(width)} "
        lines += _wrapped(head, code + check["evidence"], indent)
        if check["fix"] and check["status"] != "ok":
            lines += _wrapped(indent, f"→ {check['fix']}", indent + "  ")
    # Four spaces make it a literal block in Markdown, so the columns survive there too.
    return ["    " + line.rstrip() for line in lines]


def _wrapped(first: str, text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=max(WIDTH, len(indent) + 40),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first]


def _resume(resume: dict[str, Any]) -> list[str]:
    if not resume.get("resumes"):
        lines = [f"New run {resume.get('run', '')}; nothing to resume."]
    else:
        lines = [
            f"Resumes {resume['run']} (state: {resume['status']}, {resume['entries']} log entries)."
        ]
    if resume.get("last"):
        lines += ["", "Last log entries:"]
        lines += [
            f"    {e.get('seq')}. {e.get('ts')}  {e.get('iter')} {e.get('stage')} "
            f"{e.get('status')}: {str(e.get('summary', '')).splitlines()[0:1]}".replace("['", "")
            .replace("']", "")
            .replace("[]", "")
            for e in resume["last"]
        ]
    return lines


def _next_steps(report: dict[str, Any]) -> list[str]:
    digest = f"Digest of parameters and inputs: {report['digest'][:16]}"
    if any(c["status"] == STOP for c in report["checks"]):
        return [f"Mend the stops above, then run:  {again('preflight')}", digest]
    return [f"To start: read this summary, then run:  {again('approve')}", digest]


def labels_text(labels: dict[str, int]) -> str:
    """Return ``bridge 4, missing 4, …`` without PASS."""
    named = [f"{k} {v}" for k, v in labels.items() if k != "PASS"]
    more = len(named) - LABELS_SHOWN
    return ", ".join(named[:LABELS_SHOWN]) + (f", and {more} more" if more > 0 else "") or "-"
