"""Every weight file that the run will read is opened before the approval: its kind, keys, numbers.

The network is laid out without numbers, and each file goes through the very function that fills it
later. One file's tensors are read at a time, mapped from the disk where its format allows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.layout import BACKBONE_DIR
from deft.core.weight_files import BACKBONE_KEY, SUFFIXES, refuse_foreign
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.preflight.checks_run import preseeded_weights
from deft.run.handover import given_weights

START_KEY = "train.pretrained_model_path"
GO_ON_KEY = "train.resume_training_checkpoint_path"
SEEDED = "iterations.baseline.best_ckpt_path of deft_state.json"


def checks(ctx: Context, model: Any) -> Iterator[Check]:
    """Yield a check for each file that the run reads weights from.

    ``model``: the spec's network on the device ``meta``.
    """
    from deft.changenet.training.restore import look_at
    from deft.changenet.weights import load_weights

    assert ctx.spec is not None
    seeded = preseeded_weights(ctx) or given_weights(ctx.run_dir, ctx.workspace)
    yield from _backbone(ctx, model, needed=seeded is None or not seeded.exists())
    ways: list[tuple[str, str, str | None, Callable[[Path], Any]]] = [
        (
            "start_weights",
            START_KEY,
            ctx.spec.train.pretrained_model_path,
            lambda path: load_weights(model, path),
        ),
        (
            "resumed_weights",
            GO_ON_KEY,
            ctx.spec.train.resume_training_checkpoint_path,
            lambda path: look_at(path, model),
        ),
    ]
    native = ctx.config.get("engine", "native") == "native"
    for id, key, value, read in ways:
        if value and "://" not in value:
            path = ctx.workspace / Path(value).expanduser()
            yield _opened(ctx, id, key, path, read if native else refuse_foreign)
    if seeded is not None and not seeded.exists():
        yield warn(
            "seeded_weights",
            f"{SEEDED} names {seeded}, which is not there: the baseline will be trained",
            "restore the file to skip the baseline's training",
        )
    elif seeded is not None:
        key = "start=best" if ctx.config.get("start") == "best" else SEEDED
        yield _opened(ctx, "seeded_weights", key, seeded, lambda path: load_weights(model, path))


def _backbone(ctx: Context, model: Any, *, needed: bool) -> Iterator[Check]:
    """Yield the check of the file that the backbone is filled from, named or found staged."""
    from deft.changenet.model import fill_backbone
    from deft.changenet.staged_backbone import backbone_file

    assert ctx.spec is not None
    id, named = "backbone_file", ctx.spec.model.backbone.pretrained_backbone_path
    try:
        random = bool(ctx.config.get("random_weights"))
        path = backbone_file(ctx.spec, ctx.workspace, random_weights=random)
    except HardStop as stop:
        yield stopped(id, stop) if needed else warn(id, stop.message, stop.fix or "")
        return
    if path is None:
        return
    ctx.facts["backbone_file"] = ctx.relative(path)
    if path != ctx.workspace / Path(named).expanduser():
        size = path.stat().st_size / 1e6
        why = f"{BACKBONE_KEY} {named!r} does not exist here" if named else f"no {BACKBONE_KEY}"
        yield ok(
            id, f"{why}; {ctx.relative(path)} ({size:.1f} MB) is the one staged file that fits"
        )
        return
    native = ctx.config.get("engine", "native") == "native"
    # TAO reads its files itself, some of them as pickles; here only their kind is known.
    read = (lambda path: fill_backbone(model, path)) if native else refuse_foreign
    yield _opened(ctx, id, BACKBONE_KEY, path, read)


def _opened(ctx: Context, id: str, key: str, path: Path, read: Callable[[Path], Any]) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except HardStop as stop:
        named = stop.message if key in stop.message else f"{key}: {stop.message}"
        told = HardStop(
            stop.code, named, file=stop.file or path, fix=stop.fix, evidence=stop.evidence
        )
        return stopped(id, told)
    size = path.stat().st_size / 1e6
    return ok(id, f"{key}: {ctx.relative(path)} ({size:.1f} MB) was opened and fits")


def staged(ctx: Context) -> Iterator[Check]:
    """Yield a warning for files under augmentation/backbone/ that hold no weights."""
    folder, problems = ctx.workspace / BACKBONE_DIR, []
    if not folder.is_dir():
        return
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        try:
            refuse_foreign(path, ctx.relative(path))
        except HardStop as stop:
            problems.append((stop.message, stop.fix))
    if problems:
        text = "; ".join(message for message, _ in problems)
        yield warn("staged_weights", text, problems[0][1] or "remove the file")
