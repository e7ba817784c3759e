"""Render the report while a command works on a run; ends with that command."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deft.core.layout import Run
from deft.report.live import watch
from deft.report.render import render_pages
from deft.settings.run_name import run_argument


def main() -> None:
    """Watch the run at the lowest priority, without a word."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path(), help="folder of the data")
    parser.add_argument("--run", required=True, type=run_argument, help="name of the run")
    given = parser.parse_args()
    parent = os.getppid()
    # It works beside trainings: it takes what they leave.
    os.nice(19)
    logging.disable(logging.CRITICAL)
    run, ending = Run(given.workspace.absolute(), given.run), Ending()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's, which ends this one
    signal.signal(signal.SIGTERM, ending)

    def render(still: Callable[[], bool]) -> None:
        with ending.postponed_from(still) as asked:
            render_pages(run.dir, run.workspace, still=asked)

    watch(run, render, lambda: os.getppid() == parent)


class Ending:
    """Ends this process at once, but for the moment in which a page is written."""

    def __init__(self) -> None:
        self.writing = self.asked = False

    def __call__(self, *_: object) -> None:
        """Take a signal."""
        self.asked = True
        if not self.writing:
            os._exit(0)

    @contextmanager
    def postponed_from(self, still: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
        """Give ``still`` in a form after whose yes a signal waits until the block has ended."""

        def asked() -> bool:
            self.writing = still()
            return self.writing

        try:
            yield asked
        finally:
            self.writing = False
            if self.asked:
                os._exit(0)


if __name__ == "__main__":
    main()
