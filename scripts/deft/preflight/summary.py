"""The Pre-Flight Summary: plain text with aligned tables, for the terminal and the run folder."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.preflight.check import STOP, WARN
from deft.settings.kpi_target import KpiTarget
from deft.settings.metric_contract import recorded_contract

WIDTH = 98  # columns of a terminal line
LABELS_SHOWN = 6
COUNTED = ((WARN, "warning"), (STOP, "stop"))
MARKS = {"ok": "  ok ", WARN: " warn", STOP: " STOP"}


def render(report: dict[str, Any]) -> str:
    """Return the whole summary of ``checks.json``'s content (see :mod:`deft.preflight.run`)."""
    parts = [*_head(report), *_tables(report, all_settings=True)]
    parts += ["## Checks", "", *_checks(report["checks"]), ""]
    parts += ["## Resume", "", *_resume(report["resume"]), ""]
    return "\n".join([*parts, *_end(report)]) + "\n"


def on_terminal(report: dict[str, Any], run_dir: Path) -> str:
    """Return what a decision needs: what is wrong, what differs from the defaults, the data."""
    parts = [*_head(report, run_dir), *_tables(report, all_settings=False)]
    parts += [_resume(report["resume"])[0]]
    parts += [f"All settings and checks: {run_dir / 'preflight' / 'summary.md'}", ""]
    return "\n".join([*parts, *_end(report)])


def _head(report: dict[str, Any], run_dir: Path | None = None) -> list[str]:
    """Return the target, then what stops, then what is to be read."""
    parts = [f"# Pre-Flight Summary: {report['run']}", "", target_line(report), ""]
    for status, title in ((STOP, "Stops"), (WARN, "Warnings")):
        found = [check for check in report["checks"] if check["status"] == status]
        if found:
            parts += [f"## {title}", "", *_checks(found), ""]
    pairs, place = report.get("suspicious_pairs"), Path("pairs.html")
    if pairs:
        place = run_dir / "preflight" / place if run_dir else place
        parts += [f"{pairs} suspicious pairs, side by side: {place}", ""]
    return parts


def _tables(report: dict[str, Any], *, all_settings: bool) -> list[str]:
    """Return the four tables; of the settings all, or those that are no defaults."""
    parts = []
    for title, name in (
        ("Run config", "run_config"),
        ("Dataset", "dataset"),
        ("Augmentation", "augmentation"),
        ("Images", "images"),
    ):
        table = report["summary_tables"][name]
        rows = table["rows"]
        if name == "run_config" and not all_settings:
            source = table["head"].index("source")
            rows = [row for row in rows if row[source] != "default"]
            title += " (what differs from the defaults)"
        parts += [f"## {title}", "", *aligned(table["head"], rows), ""]
        if name == "dataset":
            parts += [
                line
                for check in report["checks"]
                if check["id"] == "corrections" and check["status"] == "ok"
                for line in (f"Corrections: {check['evidence']}", "")
            ]
    return parts


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
    contract = recorded_contract(report.get("metric_contract"))
    if contract is not None:
        recall = f"FAR is reported at a recall of {target.recall_pct:g} %, and decides nothing"
        return f"Target: {contract.told()} ({recall})"
    return f"Target: {target.canonical()}"


def verdict(report: dict[str, Any]) -> str:
    """Return the last line: ``35 ok, 2 warnings, 0 stops``."""
    counts = {s: sum(c["status"] == s for c in report["checks"]) for s in ("ok", WARN, STOP)}
    warnings, stops = (f"{counts[s]} {w}{'s' * (counts[s] != 1)}" for s, w in COUNTED)
    return f"{counts['ok']} ok, {warnings}, {stops}"


def _checks(checks: list[dict[str, Any]]) -> list[str]:
    width = max(len(c["id"]) for c in checks)
    indent = " " * (width + 8)
    lines = []
    for check in checks:
        code = f"{check['code']}: " if check.get("code") else ""
        head = f"{MARKS[check['status']]}  {check['id'].ljust(width)} "
        lines += _wrapped(head, code + check["evidence"], indent)
        if check["fix"] and check["status"] != "ok":
            fix = f"→ {check['fix']}"
            # A command is pasted: it stays on its line.
            whole = "snakemake" in fix or "make " in fix
            lines += [indent + fix] if whole else _wrapped(indent, fix, indent + "  ")
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


def _end(report: dict[str, Any]) -> list[str]:
    digest = f"Digest of parameters and inputs: {report['digest'][:16]}"
    if any(c["status"] == STOP for c in report["checks"]):
        told = f"Mend the stops above, then run:  {again('preflight')}"
    else:
        told = f"To start: read this summary, then run:  {again('approve')}"
    return [digest, told, "", verdict(report)]


def labels_text(labels: dict[str, int]) -> str:
    """Return ``bridge 4, missing 4, …`` without PASS."""
    named = [f"{k} {v}" for k, v in labels.items() if k != "PASS"]
    more = len(named) - LABELS_SHOWN
    return ", ".join(named[:LABELS_SHOWN]) + (f", and {more} more" if more > 0 else "") or "-"
