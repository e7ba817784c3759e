"""Running the loop on the cluster: the shipped profile made fit for small nodes, with a watchdog.

The executor plugin can hang in silence, so nothing here waits without an end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from cluster import until
from guard import slurm
from workflow_tools import (
    CONFIG,
    REPOSITORY,
    RUN,
    clean_environment,
    load,
    working_folder,
)

# The suite runs the native engine; the other engine's rules ask for GPUs of their own.
RULES = "\n".join(
    path.read_text()
    for path in sorted((REPOSITORY / "rules").glob("*.smk"))
    if path.name != "engine_tao.smk"
)
# The rules that ask for a GPU are the ones that become jobs (tests/workflow/test_dry_run.py).
HEAVY = tuple(re.findall(r"^rule (\w+):\n(?:(?:    .*)?\n)*?        gres=", RULES, re.MULTILINE))
WATCHDOG_S = 900
SMALL_MB = 3000
METRICS = f"results/{RUN}/baseline/metrics.json"
WEIGHTS = f"results/{RUN}/baseline/train/weights.json"


def profile(folder: Path, **changes: object) -> Path:
    """Write the shipped slurm profile for this cluster's nodes; returns its folder.

    `changes` go to `default-resources`, where None leaves one out; but `rules`, which are
    `set-resources`, and the executor's own settings, which are named with underscores.
    """
    shipped = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text())
    own = {rule: {"mem_mb": SMALL_MB, "runtime": 20} for rule in HEAVY}
    for rule, resources in changes.pop("rules", {}).items():
        own[rule] = {**own[rule], **resources}
    for name in [n for n in changes if n.startswith(("slurm_init", "retries"))]:
        shipped[name.replace("_", "-")] = changes.pop(name)
    shipped["set-resources"] = own
    defaults = {**shipped["default-resources"], "slurm_partition": "cpu", "runtime": 20, **changes}
    shipped["default-resources"] = {k: v for k, v in defaults.items() if v is not None}
    shipped |= {"max-threads": 1, "latency-wait": 10}
    folder.mkdir(parents=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump(shipped))
    return folder


class Command:
    """A Snakemake at work, its output in a file."""

    def __init__(self, words: list[str], folder: Path, output: Path) -> None:
        self.output = output
        with output.open("w") as handle:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                env=clean_environment(),
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        """Return what it printed so far."""
        return self.output.read_text(errors="replace")

    def wait(self, seconds: float = WATCHDOG_S) -> str:
        """Wait for its end and return what it printed; a hanging one fails the test."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            queue = slurm("squeue", "--states=all")
            raise AssertionError(
                f"still at work after {seconds:.0f} s:\n{self.text()[-3000:]}\n{queue}"
            ) from None
        return self.text()

    def succeed(self, seconds: float = WATCHDOG_S) -> str:
        """Wait for its good end and return what it printed."""
        text = self.wait(seconds)
        assert self.process.returncode == 0, text[-5000:]
        return text

    def fail(self, seconds: float = WATCHDOG_S) -> str:
        """Wait for its bad end and return what it printed."""
        text = self.wait(seconds)
        assert self.process.returncode != 0, text[-5000:]
        return text

    def kill(self) -> None:
        """End it with SIGKILL, it alone."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def submitted(self) -> list[int]:
        """Return the numbers of the SLURM jobs that it submitted."""
        return [int(n) for n in re.findall(r"submitted with SLURM jobid (\d+)", self.text())]

    def job(self, count: int = 1, seconds: float = 120) -> int:
        """Return the number of its `count`-th SLURM job as soon as it runs."""
        until(
            lambda: self.process.poll() is None and len(self.submitted()) >= count or self._ended(),
            f"job {count}",
            seconds,
        )
        number = self.submitted()[count - 1]
        until(lambda: state_of(number) == "RUNNING" or self._ended(), "a running job", seconds)
        return number

    def _ended(self) -> bool:
        assert self.process.poll() is None, f"ended before:\n{self.text()[-3000:]}"
        return False


def state_of(number: int) -> str:
    """Return the state of a job, '' when SLURM has forgotten it."""
    return slurm("squeue", "-h", "--states=all", "-j", str(number), "-o", "%T").strip()


def node_of(number: int) -> str:
    """Return the node of a job."""
    return slurm("squeue", "-h", "--states=all", "-j", str(number), "-o", "%N").strip()


def rule_of(number: int) -> str:
    """Return the rule of a job; the plugin writes it into the comment."""
    comment = slurm("squeue", "-h", "--states=all", "-j", str(number), "-o", "%k").strip()
    return comment.removeprefix("rule_").split("_wildcards_")[0]


class Workplace:
    """A workspace, the folder that commands are typed in, and the commands that were started."""

    def __init__(self, workspace: Path, folder: Path) -> None:
        self.workspace, self.folder = workspace, folder
        self.commands: list[Command] = []

    def profile(self, **changes: object) -> Path:
        """Write a profile that looks for ended jobs often."""
        name = f"profile{len(list(self.folder.glob('profile*')))}"
        return profile(
            self.folder / name, **{"slurm_init_seconds_before_status_checks": 3, **changes}
        )

    def snakemake(self, *targets: str, profile: Path, run: str = RUN, **config: object) -> Command:
        """Start Snakemake on the workspace."""
        values = {**CONFIG, "max_iterations": 0, "device": "auto", "run": run, **config}
        words = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile"), *targets]
        words += ["--workflow-profile", str(profile)]
        words += [
            "--config",
            f"workspace={self.workspace}",
            *(f"{k}={v}" for k, v in values.items()),
        ]
        return self.start(words, working_folder(self.workspace))

    def resume(self, profile: Path, *targets: str) -> Command:
        """Start what `make resume` starts."""
        words = [sys.executable, str(REPOSITORY / "scripts/resume.py"), "--workspace"]
        words += [str(self.workspace), "--go-on", "--", *targets]
        words += ["--workflow-profile", str(profile)]
        return self.start(words, self.folder)

    def start(self, words: list[str], folder: Path) -> Command:
        """Start any command; it is ended with the test."""
        output = self.folder / f"output{len(self.commands)}.txt"
        self.commands.append(Command(words, folder, output))
        return self.commands[-1]

    def end(self) -> None:
        """End every command that is left."""
        for command in self.commands:
            command.kill()

    def load(self, name: str, run: str = RUN) -> dict:
        """Return a JSON file of the run."""
        return load(self.workspace, name, run)

    def slurm_log(self, number: int) -> str:
        """Return the log of a job."""
        (path,) = (self.workspace / ".snakemake/slurm_logs").rglob(f"{number}.log")
        return path.read_text(errors="replace")


def sleep_until_written(path: Path, seconds: float = 300) -> Path:
    """Wait for a file, for a job that is at its work."""
    return until(lambda: path if path.exists() else None, f"{path.name}", seconds)
