"""A training in TAO's container, and what it wrote as the contract's files.

TAO goes on by itself from any ``*_latest.pth`` in its folder, and its own log calls a training of
zero steps a success. So it writes into a scratch folder that holds this very training alone, and
nothing counts but new model files that belong to the epochs of its status log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deft.changenet.device import lease_training
from deft.changenet.model import build_model
from deft.changenet.spec import Spec, dump_spec
from deft.changenet.training.progress import TRAIN_COLUMNS, VALIDATION_COLUMNS
from deft.changenet.training.selection import best_file
from deft.changenet.weights import key_report, read_state
from deft.core import layout
from deft.core.errors import HardStop, StageFailed
from deft.core.files import (
    copy_atomically,
    link_or_copy,
    read_json,
    sha256_file,
    write_json_atomic,
    write_text_atomic,
)
from deft.core.layout import BASELINE
from deft.run.containers.command import gpus_of_job
from deft.run.containers.launch import Image
from deft.stages.context import Context
from deft.stages.train import (
    Files,
    adopt,
    check_table,
    note_training,
    phase_changes,
    phase_spec,
    preseeded_weights,
)
from deft.tables.changenet_table import read_table
from deft.tao.spec import container_spec, write_spec
from deft.tao.stages import train_arguments
from deft.tao.status import Status, read_status
from deft.tao.work import Work

PERIODIC = re.compile(r"model_epoch_(\d+)_step_(\d+)\.pth")
LATEST = "_latest.pth"  # TAO's link to the newest file, which it would go on from
IDENTITY = "training.json"
ENDED = "ended.json"  # its name when the training has ended well
STAGE = "train"


def tao_train(context: Context, files: Files, phase: str, *, epochs: int) -> str:
    """Train (or take the pre-seeded baseline) and return the log summary.

    Raises
    ------
    HardStop ``spec_invalid`` (a key that TAO does not have or allow), ``missing_input`` (no image,
    a file that the spec names), ``no_new_checkpoint``; StageFailed when the container failed.
    """
    out = files.weights.parent
    seeded = preseeded_weights(context) if phase == BASELINE else None
    check_table(context, files)
    spec = phase_spec(context, files, epochs)
    if seeded:
        adopt(context, seeded, out, spec)
        best: dict[str, Any] = {"path": "model_epoch_000_step_00000.pth", "val_loss": None}
        summary = f"skipped: pre-seeded weights {seeded.name}"
    else:
        facts = _trained(context, files, phase, spec, epochs)
        best = next(f for f in facts["files"] if f["path"] == facts["best_val"])
        summary = (
            f"{facts['epochs']} epochs, {facts['steps']} steps on {facts['rows']} rows in TAO's "
            f"container; lowest validation loss {best['val_loss']:.4f} at epoch {best['epoch']}"
        )
    note_training(context, phase, out / best["path"], best["val_loss"], seeded=seeded is not None)
    return summary


def _trained(context: Context, files: Files, phase: str, spec: Spec, epochs: int) -> dict[str, Any]:
    work, out = Work(context, phase, STAGE), files.weights.parent
    image = work.image()
    lease_training(spec)
    changes = phase_changes(context, files, epochs)
    changes |= {"results_dir": str(work.out), "train.results_dir": str(work.out)}
    changes |= gpu_changes(work, spec)
    source = context.workspace / layout.SPEC
    data, named = container_spec(source, changes, context.root)
    for path in named:
        if not path.exists():
            raise HardStop("missing_input", "a file that the spec names is not there", file=path)
    identity = _identity(data, named, image)
    if _is_of(work.scratch / ENDED, identity):
        print("this very training has ended already: its files are put back", flush=True)
        return _collect(context, out, phase, spec, work, image)
    resumed = go_on_from(work, identity, epochs=int(data["train"]["num_epochs"]))
    if resumed is not None:
        print(f"going on from {resumed.name}, which an interrupted training left", flush=True)
        data["train"]["resume_training_checkpoint_path"] = str(resumed)
    write_json_atomic(work.scratch / IDENTITY, identity)
    write_spec(data, work.scratch / "spec.yaml")
    work.run(train_arguments(work.scratch / "spec.yaml"), read=named)
    facts = _collect(context, out, phase, spec, work, image)
    # The job may be started again: by a Snakemake that did not live to see this end.
    (work.scratch / IDENTITY).rename(work.scratch / ENDED)
    return facts


def forget_training(context: Context, phase: str) -> None:
    """Remove what the training of this phase would go on from; its inference calls this."""
    Work(context, phase, STAGE).clear()


def gpu_changes(work: Work, spec: Spec) -> dict[str, Any]:
    """Return the numbers that a container knows its GPUs by, where it does not see all."""
    if gpus_of_job() == "all":
        return {}
    return {"train.gpu_ids": list(range(spec.train.num_gpus))}


def _identity(data: dict[str, Any], named: list[Path], image: Image) -> dict[str, Any]:
    """Return what tells one training from another: spec, tables, first weights, image."""
    files = {str(path): sha256_file(path) for path in named if path.is_file()}
    return {"spec": data, "files": files, "image": image.id}


def go_on_from(work: Work, identity: dict[str, Any], epochs: int) -> Path | None:
    """Return the file that this very training goes on from; else empty the scratch folder.

    The newest one that is whole and has an epoch left: a killed training may leave half a file.
    """
    for link in work.out.glob(f"*{LATEST}"):
        link.unlink()  # the file that is gone on from is named, not found
    if _is_of(work.scratch / IDENTITY, identity):
        for file in reversed(model_files(work.out)):
            try:
                state = read_state(file)
            except HardStop:
                file.unlink()
                continue
            epoch = state.get("epoch")
            if state.get("optimizer_states") and isinstance(epoch, int) and epoch + 1 < epochs:
                return file
    work.clear()
    return None


def _is_of(path: Path, identity: dict[str, Any]) -> bool:
    try:
        return path.is_file() and read_json(path) == json.loads(json.dumps(identity))
    except HardStop:  # cut off by a crash: whose training it was cannot be told
        return False


def model_files(folder: Path) -> list[Path]:
    """Return the model files below a results folder, oldest epoch first; links are left out."""
    found = [p for p in folder.rglob("*.pth") if not p.is_symlink() and p.is_file()]
    return sorted((p for p in found if not p.name.endswith(LATEST)), key=_order)


def _order(path: Path) -> tuple[int, int, str]:
    match = PERIODIC.fullmatch(path.name)
    return (int(match[1]), int(match[2]), path.name) if match else (-1, -1, path.name)


def _collect(
    context: Context, out: Path, phase: str, spec: Spec, work: Work, image: Image
) -> dict[str, Any]:
    """Move what the container wrote to ``train/`` and return ``weights.json``."""
    logs = sorted(work.out.rglob("status.json"))
    status = read_status(logs[0]) if logs else Status()
    if status.failure:
        raise StageFailed(f"TAO's status log of {phase} tells of a failure: {status.failure}")
    files, wanted = model_files(work.out), spec.train.num_epochs
    if not files or max(status.epochs, default=-1) + 1 < wanted:
        raise HardStop(
            "no_new_checkpoint",
            f"TAO's training ended in good order, but left {len(files)} model file(s) and "
            f"{len(status.epochs)} of {wanted} epochs in its status log",
            file=work.out,
            fix="see train.log; a spec whose resume_training_checkpoint_path names a finished "
            "training trains nothing",
        )
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.pth"):
        if PERIODIC.fullmatch(old.name) or old.name in {f.name for f in files}:
            old.unlink()
    entries = [_entry(path, status) for path in files]
    for path in files:
        link_or_copy(path, out / path.name)
    facts = _facts(context, out, phase, spec, entries, status, image)
    for name in sorted({facts["best_val"], facts["latest"]}):
        differs = foreign_keys(spec, out / name)  # opened here, not first in a later stage
        if differs:
            print(
                f"warning: {name} has other keys than the network here ({differs}): the loop goes "
                "on, but the ONNX hand-off at its end will stop",
                flush=True,
            )
    _write_curves(out, status)
    copy_atomically(logs[0], out / "status.json")
    dump_spec(spec, out / "experiment.yaml")
    write_json_atomic(out / "weights.json", facts)
    return facts


def foreign_keys(spec: Spec, path: Path) -> str:
    """Return how a model file's keys differ from those of the network here; ``""`` if not."""
    state = read_state(path).get("state_dict")
    if not isinstance(state, Mapping):
        return "it has no state_dict"
    with torch.device("meta"):  # shapes without numbers
        wanted = build_model(spec).state_dict()
    return key_report(wanted, state)


def _entry(path: Path, status: Status) -> dict[str, Any]:
    match = PERIODIC.fullmatch(path.name)
    if match:
        epoch, step = int(match[1]), int(match[2])
    else:  # a name of train.checkpointer.filename
        state = read_state(path)
        epoch, step = int(state["epoch"]), int(state["global_step"])
    told = status.epochs.get(epoch)
    # A file from the middle of an epoch was not validated.
    whole = told is not None and told.step in (None, step)
    return {
        "path": path.name,
        "epoch": epoch,
        "step": step,
        "val_loss": told.val_loss if told and whole else None,
        "val_far_pct": None,
        "val_far_at_recall_pct": None,
        "sha256": sha256_file(path),
        "bytes": path.stat().st_size,
    }


def _facts(
    context: Context,
    out: Path,
    phase: str,
    spec: Spec,
    entries: list[dict[str, Any]],
    status: Status,
    image: Image,
) -> dict[str, Any]:
    best = best_file(entries, "val_loss")
    if best is None:
        raise HardStop(
            "no_new_checkpoint",
            "no model file of this training was validated: epochs with a file "
            f"{[e['epoch'] for e in entries]}, validated "
            f"{[e.epoch for e in status.ordered() if e.val_loss is not None]}",
            file=out,
            fix="make train.checkpoint_interval a multiple of train.validation_interval",
        )
    data = spec.dataset.classify
    return {
        "schema_version": 1,
        "phase": phase,
        "files": entries,
        "best_val": best["path"],
        "latest": max(entries, key=lambda e: (e["epoch"], e["step"]))["path"],
        "selected_by": "val_loss",
        "best_by": {"val_loss": best["path"], "val_far": None},
        "steps": max(e["step"] for e in entries),
        "epochs": spec.train.num_epochs,
        "stopped_after_epoch": None,
        "rows": len(read_table(context.workspace / data.train_dataset.csv_path)),
        "validation_rows": len(read_table(context.workspace / data.validation_dataset.csv_path)),
        "initialised_from": _origin(context, spec.train.pretrained_model_path),
        "backbone_from": _origin(context, spec.model.backbone.pretrained_backbone_path),
        "spec_sha256": spec.digest,
        "seed": spec.train.seed,
        "engine": {"name": "tao", "image": image.name, "image_id": image.id},
    }


def _origin(context: Context, value: str | None) -> dict[str, str] | None:
    if not value:
        return None
    path = context.root / Path(value).expanduser()
    return {"path": context.relative(path), "sha256": sha256_file(path)}


def _write_curves(out: Path, status: Status) -> None:
    """Write both curves; figures that TAO does not tell (the rate, our own) stay empty."""
    told = status.ordered()
    rows = {
        "train_curve.csv": (TRAIN_COLUMNS, [e for e in told if e.train_loss is not None]),
        "validation_curve.csv": (VALIDATION_COLUMNS, [e for e in told if e.val_loss is not None]),
    }
    for name, (columns, epochs) in rows.items():
        lines = [",".join(columns)]
        for epoch in epochs:
            cells = [getattr(epoch, column, None) for column in columns]
            lines.append(",".join("" if cell is None else repr(cell) for cell in cells))
        write_text_atomic(out / name, "\n".join(lines) + "\n")
