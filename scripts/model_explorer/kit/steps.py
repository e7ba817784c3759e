"""The scripts of an experiment in their order, each a process of its own, with transcript and
log.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import no_network
from .folder import EXIT_REFUSED, FAILURE_MARK, NEED_MARK, PROOF_MARK, STOP_MARK, Folder

TIMEOUT_S = 24 * 3600
HIDDEN = ("PYTHONPATH", "PYTHONHOME")


@dataclass(frozen=True)
class Step:
    """One script. ``required``: without it the exploration has no answer; ``model``: it loads
    it.
    """

    script: str
    what: str
    required: bool = True
    model: bool = True


STEPS = (
    Step("01_smoke.py", "import the runtime and load the model"),
    Step("02_contract.py", "establish what goes in and what comes out"),
    Step("03_inputs.py", "choose or make the inputs", model=False),
    Step("10_infer.py", "run every input, keep raw and decoded outputs"),
    Step("12_benchmark.py", "time cold and warm runs and batch sizes"),
    Step("14_profile.py", "profile the operators", required=False),
    Step("16_train_check.py", "try a few training steps on one batch", required=False),
    Step("18_judge.py", "measure quality, judge the targets", model=False),
    Step("20_visualize.py", "draw the figures", required=False, model=False),
    Step("30_experiment_report.py", "write the experiment report", model=False),
    Step("31_stakeholder_report.py", "write the stakeholder report", model=False),
    Step("32_html.py", "show the reports as HTML", model=False),
)
FIRST_OF_REPORTS = "18_judge.py"  # from here on, of what the steps before it left


def wanted(parameters: dict[str, Any]) -> list[Step]:
    """Return the steps of an experiment; the training check only where it was asked for, the
    profile only where the model runs in this process.
    """
    out = set() if parameters["train"]["steps"] else {"16_train_check.py"}
    if parameters["model"].get("served"):
        out.add("14_profile.py")
    return [s for s in STEPS if s.script not in out]


def run_steps(
    folder: Folder,
    command: list[str],
    steps: list[Step],
    told: Callable[[str], None] = print,
    environment: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Run steps one after another and record them in ``outputs/steps.json``; return the records.

    After a required step fails those that need it are left out, but judging and reporting are not:
    that a model does not run is a result too. ``command`` starts the chosen interpreter.
    """
    before = {r["script"]: r for r in folder.read("steps", [])}
    names = [s.script for s in STEPS]
    failed = False
    for step in steps:
        if failed and step.script < FIRST_OF_REPORTS:
            record: dict[str, Any] = {
                "script": step.script, "status": "left out", "what": step.what,
            }  # fmt: skip
        else:
            before_step = _files(folder)
            record = run_step(folder, command, step, environment)
            after = _files(folder)
            record["wrote"] = sorted(n for n in after if after[n] != before_step.get(n))
            failed = failed or (step.required and record["status"] != "ok")
        before[step.script] = record
        folder.write("steps", [before[n] for n in names if n in before])
        told(f"[explore · {step.script[3:-3]}] {record.get('said') or record['status']}"
             + (f" · {record['seconds']:.1f}s" if "seconds" in record else ""))  # fmt: skip
    return [before[s.script] for s in steps]


def run_step(
    folder: Folder, command: list[str], step: Step, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run one script; its output goes to ``logs/``, its command to ``logs/commands.log``."""
    line = [*command, f"scripts/{step.script}"]
    env = {k: v for k, v in os.environ.items() if k not in HIDDEN and not k.startswith("DEFT_")}
    threads = str(folder.parameters["runtime"]["threads"])
    env.update(OMP_NUM_THREADS=threads, OMP_WAIT_POLICY="PASSIVE", PYTHONUNBUFFERED="1")
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # a linked source is the user's; nothing is written there
    env.update(environment or {})
    log_of_network = folder.path(no_network.LOG)
    env[no_network.LOG_VARIABLE] = str(log_of_network)
    seen = log_of_network.stat().st_size if log_of_network.is_file() else 0
    began = time.monotonic()
    try:
        done = subprocess.run(
            line, cwd=folder.root, env=env, text=True, stdin=subprocess.DEVNULL, errors="replace",
            capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        code, out, err = done.returncode, done.stdout, done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        code, out, err = 127, "", str(error)
    seconds = time.monotonic() - began
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    logs = folder.path("logs")
    log = f"logs/{step.script[:-3]}.log"
    folder.path(log).write_text(
        f"$ {shlex.join(line)}\n--- stdout\n{out}--- stderr\n{err}--- exit {code} after "
        f"{seconds:.2f} s\n",
        encoding="utf-8",
    )
    with (logs / "commands.log").open("a", encoding="utf-8") as handle:
        handle.write(f"{stamp} exit {code} {seconds:.2f}s $ {shlex.join(line)}\n")
    said, status = _said(code, out, err)
    proven = status == "refused" and said.startswith(PROOF_MARK)
    return {
        "script": step.script,
        "what": step.what,
        # The interpreter's place is a fact of the machine and stands in environment.json.
        "command": f"python scripts/{step.script}",
        "status": status,
        "exit": code,
        "said": said.removeprefix(PROOF_MARK) if proven else said,
        "proven": proven,
        "needs": _needs(err) if status == "refused" else [],
        "network": _network(log_of_network, seen),
        "seconds": seconds,
        "log": log,
    }


def _files(folder: Folder) -> dict[str, tuple[int, int, int]]:
    """Return the files that steps write, each with what changes when it is written."""
    out = {}
    for part in ("inputs", "outputs", "reports"):
        for base, _, names in os.walk(folder.path(part)):
            for name in names:
                path = Path(base, name)
                facts = path.lstat()
                out[path.relative_to(folder.root).as_posix()] = (
                    facts.st_mtime_ns, facts.st_size, facts.st_ino,
                )  # fmt: skip
    return out


def _said(code: int, out: str, err: str) -> tuple[str, str]:
    if code == 0:
        return (out.strip().splitlines() or [""])[-1], "ok"
    lines = [line for line in err.strip().splitlines() if line.strip()]
    if code == EXIT_REFUSED:
        stop = next((x for x in reversed(lines) if x.startswith(STOP_MARK)), "")
        return stop.removeprefix(STOP_MARK), "refused"
    if code < 0 or code == 137:
        return f"the process was killed (signal {abs(code)}; out of memory?)", "failed"
    last = lines[-1] if lines else f"exit status {code}"
    failure = next((x for x in reversed(lines) if x.startswith(FAILURE_MARK)), last)
    return failure.removeprefix(FAILURE_MARK), "failed"


def _network(log: Path, seen: int) -> list[dict[str, str]]:
    """Return what a step wanted from a network and did not get, see :mod:`.no_network`."""
    if not log.is_file():
        return []
    lines = log.read_bytes()[seen:].decode("utf-8", "replace").splitlines()
    return list({line: dict(json.loads(line)) for line in lines}.values())


def asked_of_networks(records: list[dict[str, Any]]) -> list[str]:
    """Return, as conditions of a verdict, what steps wanted to download and ran without."""
    wished = {
        f"{n['wanted']} ({n['where']})"
        for r in records
        for n in r.get("network", [])
        if r["status"] == "ok"
    }
    return [f"it asked for {w}; it was not let, and ran without it" for w in sorted(wished)]


def _needs(err: str) -> list[dict[str, Any]]:
    """Return the open inputs that a refusing script printed, see :mod:`.outcomes`."""
    lines = [x.removeprefix(NEED_MARK) for x in err.splitlines() if x.startswith(NEED_MARK)]
    return [dict(json.loads(line)) for line in lines]
