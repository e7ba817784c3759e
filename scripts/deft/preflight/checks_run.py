"""Whether this is a new run or the rest of an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deft.core.errors import HardStop
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.record.promoted_start import start_of
from deft.run.handover import given_weights
from deft.run.state import read_log, read_state

LAST_ENTRIES = 5


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the resume state, and what a run goes on from."""
    yield from _start(ctx)
    try:
        state, log = read_state(ctx.run_dir), read_log(ctx.run_dir)
    except HardStop as stop:
        yield stopped("resume", stop)
        return
    done = [e for e in log if e.get("iter") != "preflight"]  # a stop there is logged there too
    resumes = bool(done) or bool(state.get("iterations"))
    ctx.facts["resume"] = {
        "run": ctx.run_dir.name,
        "resumes": resumes,
        "status": state.get("status", "new"),
        "entries": len(log),
        "last": log[-LAST_ENTRIES:],
    }
    if not resumes:
        yield ok("resume", f"new run {ctx.run_dir.name}")
        return
    last = f"; last: {done[-1]['iter']} {done[-1]['stage']} {done[-1]['status']}" if done else ""
    yield ok("resume", f"resumes {ctx.run_dir.name}: {len(done)} stage entries{last}")
    yield from _baseline(ctx)


def preseeded_weights(ctx: Context) -> Path | None:
    """Return the weights that take the place of the baseline's training, if they are there."""
    try:
        found = given_weights(ctx.run_dir, ctx.workspace)
        if found is None and ctx.config.get("start") == "best":
            found = start_of(ctx.workspace, ctx.run_dir, ctx.config.get("champion")).weights
    except HardStop:
        return None
    return found if found is not None and found.is_file() else None


def _start(ctx: Context) -> Iterator[Check]:
    """Say which promoted model a run goes on from."""
    if ctx.config.get("start") != "best":
        return
    if ctx.config.get("noise_trainings") is not None:
        why = "noise_trainings trains the base table as a baseline is, and start=best trains none"
        fix = "measure the noise floor in a run that begins from the base table"
        yield stopped("start", HardStop("config_invalid", why, fix=fix))
        return
    try:
        start = start_of(ctx.workspace, ctx.run_dir, ctx.config.get("champion"))
    except HardStop as stop:
        yield stopped("start", stop)
        return
    who = f"{start.run}, {start.phase}" if start.run else str(start.weights)
    yield ok("start", f"the baseline is the promoted model of {who}; its mined rows stay")


def _baseline(ctx: Context) -> Iterator[Check]:
    path = given_weights(ctx.run_dir, ctx.workspace)
    if path is None:
        return
    if path.is_file():
        yield ok("baseline_weights", f"baseline training is skipped: {path} is given")
    else:
        yield warn(
            "baseline_weights",
            f"the state says the baseline is trained, but {str(path)!r} is no file: it trains "
            "again",
            "correct iterations.baseline.best_ckpt_path in deft_state.json",
        )
