"""What the terminal shows: a line per finished stage, the target's progress, what is wrong.

Snakemake's own lines stay in its log file; ``--verbose`` and ``--printshellcmds`` bring them back.
A filter on Snakemake's handler and no logger plugin: plugins are found among installed packages
alone, and this project is run from its folder. It is told the same events.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from deft.settings.session import BRIEF

HANDLER = "DefaultStreamHandler"  # Snakemake's own; there is none beside a logger plugin's
HIDDEN_EVENTS = {
    *(LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.GROUP_INFO),
    *(LogEvent.PROGRESS, LogEvent.RESOURCES_INFO, LogEvent.SHELLCMD, LogEvent.WORKFLOW_STARTED),
}
# Lines without an event. What is not known here is shown, so nothing new goes unseen.
HIDDEN = re.compile(
    r"Building DAG of jobs|Using shell: |Conda environments: ignored|Singularity containers: ign"
    r"|Select jobs to execute|Execute \d+ jobs|Updating checkpoint dep|DAG of jobs will be updated"
    r"|Removing (temporary )?output|Complete log|Elapsed time|Shutting down, |Group jobs: inactive"
    r"|Exiting because a job execution failed|This was a dry-run|The run involves checkpoint jobs"
    r"|Assuming unrestricted shared|Config file .* is extended|host: |Will exit after finishing"
    r"|Reasons:|Job \d+ completed|Rules claiming more threads|Cleaning up|Cleanup "
)
STATISTICS = "Job stats:\n"
# The displays of rules are hidden; this option brings them back.
REASONS = ("see 'reason' section in the rule displays above", "--printshellcmds shows each reason")


class Brief(logging.Filter):
    """Lets through what a user must see."""

    def __init__(self, *, dryrun: bool) -> None:
        super().__init__()
        self.dryrun, self.told, self.over = dryrun, False, False

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line of Snakemake's is shown; of a plan the table, once."""
        event = getattr(record, "event", None)
        if self.over or event in HIDDEN_EVENTS:
            return False
        if event == LogEvent.RUN_INFO:
            shown, self.told = self.dryrun and not self.told, True
            return shown
        text = str(record.msg)
        if text.startswith("RuleException:") and "CalledProcessError" in text:
            return False  # the failed job's line and its own message say it
        return event is not None or not HIDDEN.match(text)


class BriefFormatter(logging.Formatter):
    """A failed job in one line, a plan without its title; all else as Snakemake writes it."""

    def __init__(self, own: logging.Formatter, *, show_logs: bool) -> None:
        super().__init__()
        self.own, self.show_logs = own, show_logs

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a line."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            return str(record.msg).removeprefix(STATISTICS).rstrip()
        if event == LogEvent.JOB_ERROR and not self.show_logs:
            return failed(vars(record))
        return self.own.format(record).replace(*REASONS)


def failed(job: dict[str, Any]) -> str:
    """Return the line of a failed job (the fields of Snakemake's event)."""
    wildcards = dict(job.get("wildcards") or {})
    phase = wildcards.get("phase") or wildcards.get("lap")
    where = " · ".join(filter(None, (phase, job.get("rule_name"))))
    logs = ", ".join(map(str, job.get("log") or []))
    return f"[{where}] failed" + (f"; its log: {logs}" if logs else "")


class Lasting:
    """A stream that stays quiet once nobody reads it any more (``snakemake … | head``).

    Snakemake's handler passes a broken pipe on into the thread that tells the scheduler of a
    finished job, and the command would then wait for that job for ever.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.gone = stream, False

    def write(self, text: str) -> int:
        """Write, or drop the text where the other end is gone."""
        return int(self._do(lambda: self.stream.write(text)) or len(text))

    def flush(self) -> None:
        """Flush what was written."""
        self._do(self.stream.flush)

    def _do(self, act: Callable[[], Any]) -> Any:
        if self.gone:
            return None
        try:
            return act()
        except BrokenPipeError:
            self.gone = True
            return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def make_brief(settings: Any) -> Brief | None:
    """Have this process and its jobs be brief, unless the user asked for more.

    ``settings``: Snakemake's ``OutputSettings``. Returns the filter, to be told when nothing more
    is to be said.
    """
    wanted = settings.verbose or settings.printshellcmds or settings.debug_dag
    logger = logging.getLogger("snakemake.logging")
    handlers = [handler for handler in logger.handlers if handler.name == HANDLER]
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(Lasting(handler.stream))
    if wanted or not handlers:
        os.environ.pop(BRIEF, None)
        return None
    os.environ[BRIEF] = "1"
    brief = Brief(dryrun=settings.dryrun)
    for handler in handlers:
        handler.addFilter(brief)
        own = handler.formatter or logging.Formatter()
        handler.setFormatter(BriefFormatter(own, show_logs=settings.show_failed_logs))
    return brief
