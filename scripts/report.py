"""Render the HTML report of a run from its files (and, with --phase, that phase's own page)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deft.report import build_results, render_phase_report, render_report
from deft.report.check import check_html


def main(arguments: list[str] | None = None) -> int:
    """Render, check every number against its key, print where the report lies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, help="results/run_<TS>")
    parser.add_argument("--workspace", type=Path, default=Path.cwd())
    parser.add_argument("--phase", help="also write <phase>/report.html, e.g. iter1")
    given = parser.parse_args(arguments)
    written = [render_report(given.run_dir, given.workspace)]
    if given.phase:
        written.append(render_phase_report(given.run_dir, given.workspace, given.phase))
    results = build_results(given.run_dir, given.workspace)
    problems = [f"{path}: {text}" for path in written for text in check_html(path, results)]
    for problem in problems:
        print(f"report check: {problem}", file=sys.stderr)
    for path in written:
        print(f"report: {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
