"""Every number that a run's report and other texts quote, compared with ``analysis.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.record.artifacts import artifacts_dir
from deft.report.check import check_html
from deft.report.render import REPORT_FILE
from dl_lab.quotes import check_files, read_results

TEXTS = (".md", ".tex")


def check_quotes(run: Run, files: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Return what to tell of each file, and the problems, each with file and line.

    Checked are the report (there a visible number without a key is a problem too), the knowledge
    base and ``files``: Markdown, TeX or reports, absolute or relative to the workspace.

    Raises
    ------
    HardStop ``missing_input`` when the run has no record or no report yet, or a file is not there;
    ``config_invalid`` for a file of another kind.
    """
    workspace = Path(run.workspace)
    analysis = artifacts_dir(workspace, run.name) / "analysis.json"
    page = run.dir / REPORT_FILE
    for path, fix in (
        (analysis, "let the run come to its end; this file is written there"),
        (page, again("report")),
    ):
        if not path.is_file():
            raise HardStop("missing_input", "there is nothing to compare yet", file=path, fix=fix)
    try:
        results = read_results(analysis)
    except ValueError as error:
        raise HardStop("missing_input", str(error), file=analysis) from None
    pages, texts = [page], sorted((workspace / "knowledge_base").rglob("*.md"))
    for name in files:
        path = workspace / Path(name).expanduser()
        if not path.is_file():
            raise HardStop("missing_input", "a file of quote_files is not there", file=path)
        if path.suffix == ".html":
            pages.append(path)
        elif path.suffix in TEXTS:
            texts.append(path)
        else:
            raise HardStop(
                "config_invalid",
                f"quote_files can name .html, .md and .tex files, found {path.suffix!r}",
                file=path,
            )
    told, problems = check_files(texts, analysis)
    for path in pages:
        wrong = check_html(path, results)
        problems += [f"{path}: {text}" for text in wrong]
        told.append(f"{path}: {'every number agrees with its key' if not wrong else 'see above'}")
    return told, problems
