"""Asking a user's command, or another system, for the metric of a phase."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.reading import read_json
from deft.settings.metric_contract import Contract

LINES_SHOWN, CHARACTERS = 12, 1200  # of what a command said, in a message
CODE = "kpi_invalid"
CREDENTIALS = ("HF_TOKEN", "NGC_API_KEY", "NGC_KEY")  # no business of a command that gets paths


def refuse_program(contract: Contract) -> None:
    """Raise ``kpi_invalid`` when the command of a contract cannot be started."""
    if contract.evaluator["type"] != "command":
        return
    path = Path(contract.evaluator["path"])
    what = "" if path.is_file() else "is no file"
    if not what and not os.access(path, os.X_OK):
        what = "may not be executed"
    if what:
        raise HardStop(
            CODE,
            f"metric_contract: the command {path} {what}",
            file=path,
            fix="name an executable file by its absolute path (chmod +x, and a first line #!)",
        )


def measure(contract: Contract, phase: str, inference_csv: Path, timeout_s: int) -> dict[str, Any]:
    """Return the evaluator's answer for a phase's KPI scores, as it gave it, checked.

    Parameters
    ----------
    inference_csv: absolute. timeout_s: after which a command and all that it started are ended.

    Raises
    ------
    HardStop ``kpi_invalid``: the command fails, takes too long or gives no sound answer; or the
    delivered file is not there yet.
    """
    if contract.evaluator["type"] == "artifact":
        path = contract.artifact(phase)
        if not path.is_file():
            raise HardStop(
                CODE,
                f"the metric of {phase} is not delivered yet: {contract.evaluator['producer']}",
                file=path,
                fix="run the same command again once the file is there",
            )
        return _answer(contract, path, f"{contract.evaluator['producer']} delivered")
    refuse_program(contract)
    before = _contents(contract)
    with tempfile.TemporaryDirectory(prefix="deft_measure_") as scratch:
        output = Path(scratch).resolve() / "metric_result.json"
        command = contract.command(inference_csv, output)
        said = Path(scratch) / "said.txt"
        status = _run(command, said, timeout_s)
        told = _told(said)
        print(told, flush=True)
        if status != 0:
            how = (
                f"took more than {timeout_s} s" if status is None else f"ended with {_name(status)}"
            )
            raise _stop(contract, f"the command {how}", told)
        if not output.is_file() or output.is_symlink():
            raise _stop(contract, "the command wrote no file to the path after --output-json", told)
        result = _answer(contract, output, "the command gave")
    after = _contents(contract)
    changed = sorted(path for path in after if after[path] != before.get(path))
    if changed:  # each command would find it changed, and ask again
        raise _stop(contract, f"the command wrote {changed[0]}, which its arguments name", "")
    return result


def _contents(contract: Contract) -> dict[str, str]:
    """Return the SHA-256 of each file that an answer depends on."""
    return {path: sha256_file(path) for path in contract.programs()}


def _run(command: list[str], said: Path, timeout_s: int) -> int | None:
    """Return the exit status, or None after the time is over; nothing of it is left running."""
    kept = {name: value for name, value in os.environ.items() if name not in CREDENTIALS}
    with said.open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=said.parent,
                env=kept,
                start_new_session=True,
            )
        except OSError as error:
            raise HardStop(
                CODE,
                f"metric_contract: the command cannot be started: {error.strerror}",
                file=command[0],
                fix="a script needs a first line such as #!/usr/bin/env python3",
            ) from None
        try:
            return process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError, PermissionError):  # also what it left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _name(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def _told(said: Path) -> str:
    """Return the end of what a command said."""
    with said.open("rb") as handle:
        handle.seek(max(0, said.stat().st_size - CHARACTERS))
        text = handle.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-LINES_SHOWN:])


def _answer(contract: Contract, path: Path, who: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = read_json(path)
        problem = contract.check(result)
    except HardStop as stop:
        problem = stop.message
    if problem:
        raise _stop(contract, f"{who} no sound answer: {problem}", "", path)
    return result


def _stop(contract: Contract, what: str, told: str, file: Path | None = None) -> HardStop:
    own = contract.evaluator.get("path")
    last = f"; it said: {told.strip()}" if told.strip() else ""
    return HardStop(
        CODE,
        f"metric_contract: {what}{last}",
        file=own or file,
        fix="correct it and run the same command again; no training is repeated (docs/metric.md)",
    )
