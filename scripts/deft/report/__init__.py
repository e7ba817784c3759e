"""The report of a run: numbers read from disk, one view model, one HTML file."""

from deft.report.render import render_pages, render_phase_report, render_report
from deft.report.results import build_results

__all__ = ["build_results", "render_pages", "render_phase_report", "render_report"]
