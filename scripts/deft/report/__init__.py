"""The report of a run: numbers read from disk, one view model, one HTML file."""

from deft.record.results import build_results
from deft.report.render import render_pages, render_phase_report, render_report

__all__ = ["build_results", "render_pages", "render_phase_report", "render_report"]
