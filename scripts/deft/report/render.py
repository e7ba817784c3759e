"""Render a run's report: read once, render in one pass, move the file into place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from deft.core.files import write_text_atomic
from deft.record.lenient import load_run
from deft.record.phrases import (
    COUNT,
    EXACT,
    MISSING,
    PERCENT,
    PLAIN_PERCENT,
    POINTS,
    SCORE,
    Literal,
    Number,
    Sentence,
    shown,
)
from deft.record.results import collect_results
from deft.report.check import check_text
from deft.report.viewmodel import build_phase_view, build_view

TEMPLATES = Path(__file__).parent / "templates"
# The instrument tells the gallery its threshold, which must listen by then.
SCRIPTS = ("gallery.js", "instrument.js", "map.js")
REPORT_FILE = "DEFT_Loop_Report.html"
PHASE_REPORT_FILE = "report.html"


def render_report(run_dir: str | Path, workspace: str | Path) -> Path:
    """Write ``DEFT_Loop_Report.html`` of a run and return its path.

    Reads files only. A stage that has not run yet, or failed, is left out.
    """
    return render_pages(run_dir, workspace)[0][0]


def render_pages(
    run_dir: str | Path,
    workspace: str | Path,
    phase: str | None = None,
    *,
    still: Callable[[], bool] | None = None,
) -> tuple[list[Path], list[str]]:
    """Write the run's page and, with ``phase``, that phase's; return the paths and their problems.

    All pages and their check (see :mod:`deft.report.check`) come from one reading of the run: other
    jobs go on logging meanwhile, and a second reading would find other numbers. ``still``: asked
    before they are written; when it says no they are old already and are left out.
    """
    files = load_run(run_dir, workspace)
    results = collect_results(files)
    drawn: dict[str, dict[str, Any]] = {}
    html = to_html("report.html.j2", build_view(files, results, drawn), results)
    pages = [(files.run.dir / REPORT_FILE, html)]
    if phase:
        html = to_html("phase.html.j2", build_phase_view(files, phase, results, drawn), results)
        pages.append((files.run.phase(phase) / PHASE_REPORT_FILE, html))
    problems = [f"{path}: {text}" for path, html in pages for text in check_text(html, results)]
    if still is not None and not still():
        return [], problems
    return [write_text_atomic(path, html) for path, html in pages], problems


@cache
def _templates() -> Environment:
    """Return the templates; each is compiled once in a process."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_html(template: str, view: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return a template filled with a view; every number carries its key in ``results``."""

    def q(key: str, form: str = COUNT) -> Markup:
        text = shown(results, key, form)
        if text == MISSING:
            return Markup('<span class="soft">{}</span>').format(text)
        return Markup('<span data-key="{}">{}</span>').format(key, text)

    def say(sentence: Sentence) -> Markup:
        out = Markup("")
        for part in sentence:
            if isinstance(part, Number):
                out += q(part.key, part.form)
            elif isinstance(part, Literal):
                out += Markup('<span class="name" data-literal>{}</span>').format(part.text)
            else:
                out += escape(part)
        return out

    return (
        _templates()
        .get_template(template)
        .render(
            view=view,
            q=q,
            say=say,
            has=lambda key: key in results,
            percent=PERCENT,
            plain_percent=PLAIN_PERCENT,
            points=POINTS,
            score=SCORE,
            exact=EXACT,
            css=Markup(_template_text("style.css")),
            doubts_js=Markup(_template_text("doubts.js")),
            js=Markup("\n".join(_template_text(name) for name in SCRIPTS)),
        )
    )


def _template_text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
