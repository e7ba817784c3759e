"""Ends a test that waits in vain; closes a run with what it could not compare, for want of data."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

# Far above the longest test: only who waits for what never comes gets there.
LIMIT_S = {"slurm": 3600, None: 1800}


class WaitedTooLong(BaseException):
    """No ``Exception``: a stage that catches those must not take it for an error of its own."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give every test an end, fixtures included, whatever it waits for (a process, a lock)."""
    if threading.current_thread() is not threading.main_thread():
        return (yield)
    limit = LIMIT_S["slurm" if item.get_closest_marker("slurm") else None]

    def too_long(number: int, frame: object) -> None:
        raise WaitedTooLong(f"{item.nodeid}: {limit} s, and it still waits")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--update-docs", action="store_true", help="rewrite the tables in docs/ that tests make"
    )


def pytest_terminal_summary(terminalreporter) -> None:
    reports = (r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []))
    if any("conformance/" in report.nodeid for report in reports):
        import tao_reference

        terminalreporter.write_line(tao_reference.compared())

    skipped = terminalreporter.stats.get("skipped", [])
    names = [r.nodeid for r in skipped if "TAO_SKILLS is not set" in str(r.longrepr)]
    if names:
        import nvidia_skills

        terminalreporter.write_line(nvidia_skills.skipped_here(names))
