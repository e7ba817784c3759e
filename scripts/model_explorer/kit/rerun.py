"""An experiment run again, beside what it has: only a rerun that reaches its end takes the place
of the reports, figures and outputs before it.

Standard library only: whatever Python starts ``run_all.py``, the one that the experiment was made
with does the work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from .folder import Folder, Refusal
from .steps import FIRST_OF_REPORTS, Step, run_steps, wanted

STAGE = ".rerun"
READY = "ready.json"  # in the stage: it is whole, only its files are still to be moved
PARTS = ("inputs", "outputs", "logs", "reports")
GROWING = ("commands.log", "network.jsonl")
SHARED = ("environment",)  # outputs that the exploration wrote and a step adds to
PROBE_TIMEOUT_S = 120


def run_all(folder: Folder, arguments: list[str]) -> str:
    """Run all steps, or (``--reports``) only judging, figures and reports, by the experiment's own
    Python; return the summary line.

    Raises :class:`Refusal` when that Python is not there, and when a step that the exploration
    needs fails: everything is then as it was, and what the rerun made lies in ``logs/failed-…``.
    """
    asked = _parsed(arguments)
    _alone(folder)
    environment = interpreter(folder, asked.python)
    steps = wanted(folder.parameters)
    if asked.reports:
        names = [s.script for s in steps]
        steps = steps[names.index(FIRST_OF_REPORTS) :]
    stage = _staged(folder, reports=asked.reports)
    if asked.python:
        stage.write("environment", environment)
    records = run_steps(stage, environment["command"], steps)
    needed = {s.script for s in steps if s.required}
    bad = [r for r in records if r["status"] != "ok"]
    failed = [r for r in bad if r["script"] in needed]
    if failed:
        kept = _keep(folder, stage)
        raise Refusal(
            f"the rerun failed: {failed[0]['what']} ({failed[0].get('said')}); reports and outputs "
            f"are as they were, and what it made lies in {kept}"
        )
    changed = _changed(environment, stage.read("environment", {}))
    _ready(folder, stage, steps)
    _move(folder)
    note = f"run_all.py {' '.join(arguments)}".strip() + " wrote the files again"
    folder.note("outputs", f"{note}{changed}")
    left = f"; not ok: {', '.join(r['script'] for r in bad)}" if bad else ""
    return f"reports/experiment-report.md is written{left}{changed}"


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python scripts/run_all.py", description=run_all.__doc__)
    parser.add_argument("--reports", action="store_true", help="only judge, draw and report")
    parser.add_argument("--python", help="another Python than the experiment's, and keep to it")
    return parser.parse_args(arguments)


def interpreter(folder: Folder, given: str | None = None) -> dict[str, Any]:
    """Return ``outputs/environment.json`` with the ``command`` that starts its Python, or with the
    ``given`` Python; raises :class:`Refusal` when it does not start or is of another version.
    """
    environment: dict[str, Any] = folder.need("environment")
    command = environment.get("command") or str(environment["python"]).split()
    if given:
        found = shutil.which(os.path.expanduser(given))
        if found is None or not os.path.isabs(found):
            raise Refusal(f"--python {given} is no program; give its absolute path")
        command = [found]
    facts, said = _ask([*command, str(folder.path("scripts/kit/probe.py"))])
    other = "or name another one: python scripts/run_all.py --python PATH"
    if facts is None:
        raise Refusal(
            f"the Python of this experiment ({' '.join(command)}) does not start here ({said}); "
            f"nothing was run. Make it again, {other}"
        )
    if given:
        return {
            **environment, "command": command, "python": command[0], "kind": "named",
            "place": facts["prefix"], "found": ["--python of run_all.py"],
        }  # fmt: skip
    before = (environment.get("machine") or {}).get("python")
    if before and before.split(".")[:2] != facts["version"].split(".")[:2]:
        raise Refusal(
            f"{' '.join(command)} is Python {facts['version']} now, the experiment was made with "
            f"{before}; nothing was run. Make it again, {other}"
        )
    return {**environment, "command": command}


def _ask(command: list[str]) -> tuple[dict[str, Any] | None, str]:
    """Return what an interpreter says of itself, or None and why it says nothing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return dict(json.loads(done.stdout.strip().splitlines()[-1])["interpreter"]), ""
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    except (ValueError, LookupError):
        return None, (done.stderr.strip().splitlines() or ["no answer"])[-1]


def _alone(folder: Folder) -> None:
    """Finish or take away what an ended rerun left; raises :class:`Refusal` while one runs."""
    stage = folder.path(STAGE)
    if (stage / READY).is_file():
        _move(folder)
    try:
        other = int((stage / "pid").read_text(encoding="utf-8"))
        os.kill(other, 0)
    except PermissionError:
        pass
    except (OSError, ValueError):
        shutil.rmtree(stage, ignore_errors=True)
        return
    raise Refusal(
        f"process {other} is running this experiment again; wait for it, or remove "
        f"{stage} if that process is none of yours"
    )


def _staged(folder: Folder, *, reports: bool) -> Folder:
    """Return a folder beside the parts with all that the steps read and nothing that they write."""
    stage = folder.path(STAGE)
    for part in PARTS:
        (stage / part).mkdir(parents=True, exist_ok=True)
    (stage / "pid").write_text(str(os.getpid()), encoding="utf-8")
    away = shutil.ignore_patterns("__pycache__")
    shutil.copytree(folder.path("scripts"), stage / "scripts", ignore=away)
    (stage / "refs").symlink_to(Path("..", "refs"), target_is_directory=True)
    shutil.copytree(folder.path("reports"), stage / "reports", symlinks=True, dirs_exist_ok=True)
    made = {name for r in folder.read("steps", []) for name in r.get("wrote", [])}
    made -= {f"outputs/{name}.json" for name in SHARED}
    for part in ("inputs", "outputs"):
        for path in folder.path(part).iterdir():
            name = f"{part}/{path.name}"
            if path.is_file() and (reports or name not in made) and path.name != "steps.json":
                shutil.copyfile(path, stage / name)
            elif path.is_dir() and (reports or not any(m.startswith(f"{name}/") for m in made)):
                (stage / name).symlink_to(Path("..", "..", name), target_is_directory=True)
    if reports:
        shutil.copyfile(folder.path("outputs/steps.json"), stage / "outputs/steps.json")
    for name in ("README.md", *GROWING):
        if folder.path(f"logs/{name}").is_file():
            shutil.copyfile(folder.path(f"logs/{name}"), stage / "logs" / name)
    return Folder(stage)


def _ready(folder: Folder, stage: Folder, steps: list[Step]) -> None:
    """Say that the stage is whole, and which files of the last run it has none of."""
    scripts = {s.script for s in steps}

    def wrote(records: list[dict[str, Any]]) -> set[str]:
        return {name for r in records if r["script"] in scripts for name in r.get("wrote", [])}

    stale = wrote(folder.read("steps", [])) - wrote(stage.read("steps", []))
    temporary = stage.path(f"{READY}.tmp")
    temporary.write_text(json.dumps(sorted(stale)), encoding="utf-8")
    temporary.replace(stage.path(READY))


def _move(folder: Folder) -> None:
    """Move the stage's files to their places; done again from the start if it is cut off."""
    stage = folder.path(STAGE)
    for name in json.loads((stage / READY).read_text(encoding="utf-8")):
        folder.path(name).unlink(missing_ok=True)
    for part in PARTS:
        for base, _, names in os.walk(stage / part):
            for name in names:
                path = Path(base, name)
                if not path.is_symlink():
                    target = folder.root / path.relative_to(stage)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    path.replace(target)
    shutil.rmtree(stage)


def _keep(folder: Folder, stage: Folder) -> str:
    """Move what a failed rerun made to a folder of its own; return its name."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    kept = f"logs/failed-{stamp}"
    for number in range(2, 1000):
        if not folder.path(kept).exists():
            break
        kept = f"logs/failed-{stamp}-{number}"
    for part in ("outputs", "logs", "reports"):
        for path in stage.path(part).iterdir():
            if path.is_symlink():
                path.unlink()
        target = folder.path(kept) / part
        target.parent.mkdir(parents=True, exist_ok=True)
        stage.path(part).replace(target)
    shutil.rmtree(stage.root)
    folder.note("logs", f"a rerun failed: {kept}")
    return kept


def _changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return which libraries have other versions than before, as the end of a sentence."""
    old, new = ((e.get("machine") or {}).get("libraries") or {} for e in (before, after))
    odd = [f"{n} {old[n]} -> {new.get(n, 'gone')}" for n in sorted(old) if old[n] != new.get(n)]
    return f"; versions changed since: {', '.join(odd)}" if odd else ""
