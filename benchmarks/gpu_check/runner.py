"""Run the checks in processes of their own: one that dies, hangs or fills the card loses itself.

Standard library only. What is found is on the disk after every check, so that a machine that is
taken away leaves what was done.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_check.result import NO_TIME, Result, as_table, failed, not_checked
from gpu_check.table import CHECKS, Check

LEAST_S = 8.0  # not worth starting a check in
POLL_S = 0.05
LAST_WORDS = 4  # lines of a dead process that the table shows
JSON_NAME, TABLE_NAME, LOG_NAME = "gpu_check.json", "gpu_check.md", "gpu_check.log"
Start = Callable[[Check], list[str]]


@dataclass
class Running:
    """A check's process, its files, and when it must have ended."""

    check: Check
    process: subprocess.Popen
    results: Path
    words: Path
    began: float
    until: float
    cut: bool  # the run's time, not the check's own limit, ends it


@dataclass
class Runner:
    """One run of ``checks`` on ``device``.

    Parameters
    ----------
    out: gets the JSON, the table and the log of all processes.
    scratch: folder that the checks share; the caller removes it.
    budget_s: of the whole run; a check that finds no time is told as not checked.
    jobs: checks beside each other, of those that do not measure time.
    start: command line of a check, for tests.
    facts: put into the JSON as they are.
    asked: whether the checks were named; then also those run that a CPU takes minutes for.
    """

    checks: Sequence[Check]
    device: str
    out: Path
    scratch: Path
    budget_s: float
    jobs: int = 1
    start: Start | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    asked: bool = False
    log: Callable[[str], None] = lambda text: print(text, flush=True)
    found: list[Result] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    def run(self) -> int:
        """Run all; return 0 when nothing failed, else 1."""
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / LOG_NAME).write_text("", encoding="utf-8")
        self.began = time.monotonic()
        waiting = list(self.checks)
        self.write(finished=False)
        try:
            while waiting or self.running:
                for one in [r for r in self.running if self._over(r)]:
                    self._take(one)
                while waiting and self._may_start(waiting[0]):
                    self._begin(waiting.pop(0))
                time.sleep(POLL_S)
        finally:
            for one in list(self.running):  # this runner was told to end
                _end(one.process)
                self._take(one, "the run was ended")
            for check in waiting:
                self._note(check, [not_checked(name, NO_TIME) for name in check.rows])
            self.write(finished=True)
        return int(any(result.state == "FAILED" for result in self.found))

    def _left(self) -> float:
        return self.budget_s - (time.monotonic() - self.began)

    def _may_start(self, check: Check) -> bool:
        if not self.running:
            return True
        if self._alone(check) or any(self._alone(one.check) for one in self.running):
            return False
        return len(self.running) < self.jobs

    def _alone(self, check: Check) -> bool:
        """Whether nothing may run beside it; a CPU's times are only tried, not told."""
        return check.alone and self.device != "cpu"

    def _begin(self, check: Check) -> None:
        if check.cpu_asks and self.device == "cpu" and not self.asked:
            why = f"minutes on a CPU: --only {check.name} runs it"
            self._note(check, [not_checked(name, why) for name in check.rows])
            return
        own, left = check.limit(self.device), self._left()
        limit = min(own, left)
        if limit < LEAST_S:
            self._note(check, [not_checked(name, NO_TIME) for name in check.rows])
            return
        folder = self.scratch / "checks" / check.name
        folder.mkdir(parents=True, exist_ok=True)
        results, words = folder / "results.jsonl", folder / "words.txt"
        for path in (results, words):
            path.write_text("", encoding="utf-8")
        cores = len(os.sched_getaffinity(0))
        threads = str(cores if self._alone(check) else max(1, cores // self.jobs))
        temporary = self.scratch / "tmp"  # so that nothing stays of what is ended
        temporary.mkdir(exist_ok=True)
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "DEFT_GPU_LEASES": str(folder / "leases"),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(temporary),
        }
        command = (self.start or self._command)(check)
        with words.open("wb") as out:
            process = subprocess.Popen(
                [*command, str(results)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that all that it starts can be ended with it
            )
        now = time.monotonic()
        self.running.append(Running(check, process, results, words, now, now + limit, left < own))

    def _command(self, check: Check) -> list[str]:
        child = [sys.executable, "-m", "gpu_check.child", check.where, self.device]
        return [*child, str(self.scratch)]

    def _over(self, one: Running) -> bool:
        return one.process.poll() is not None or time.monotonic() > one.until

    def _take(self, one: Running, ended: str = "") -> None:
        """Collect an ended or overdue process: what it wrote, and what it owes."""
        self.running.remove(one)
        took = time.monotonic() - one.began
        no_time = ""
        if one.process.poll() is None and not ended:
            ended = f"ended after its limit of {took:.0f} s"
            if one.cut:  # which says nothing of what is checked
                no_time = f"{NO_TIME}: the run had {took:.0f} s for it and ended it"
        _end(one.process)  # also what it left running
        status = one.process.returncode
        found = []
        for line in one.results.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # cut off in the middle
                found.append(Result(**json.loads(line)))
        words = one.words.read_text(encoding="utf-8", errors="replace")
        why = ended or f"its process died (status {status}): {_last(words)}"
        told = {result.name for result in found}
        owed = [name for name in one.check.rows if name not in told]
        found += [not_checked(name, no_time) if no_time else failed(name, why) for name in owed]
        with (self.out / LOG_NAME).open("a", encoding="utf-8") as log:
            log.write(f"=== {one.check.name} ({took:.1f} s, status {status})\n{words}\n")
        self.seconds[one.check.name] = round(took, 1)
        self._note(one.check, found)

    def _note(self, check: Check, found: list[Result]) -> None:
        self.found += found
        for result in found:
            took = self.seconds.get(check.name)
            time_text = f" [{check.name} {took:.0f} s]" if took is not None else ""
            self.log(f"{result.state:12} {result.name}{time_text} {result.why}".rstrip())
        self.write(finished=False)

    def write(self, *, finished: bool) -> None:
        """Write JSON and table of what is known; each is whole at any time."""
        order = {name: i for i, check in enumerate(CHECKS) for name in check.rows}
        results = sorted(self.found, key=lambda result: order.get(result.name, len(order)))
        document = {
            "schema_version": 1,
            "device": self.device,
            "finished": finished,
            "seconds": round(time.monotonic() - self.began, 1),
            "seconds_by_check": self.seconds,
            **self.facts,
            "results": [result.as_dict() for result in results],
        }
        _put(self.out / JSON_NAME, json.dumps(document, indent=1) + "\n")
        _put(self.out / TABLE_NAME, as_table(results))


def _end(process: subprocess.Popen) -> None:
    """End a process of ours and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return " / ".join(lines[-LAST_WORDS:])[-500:] or "it said nothing"


def _put(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
