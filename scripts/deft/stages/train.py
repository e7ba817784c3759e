"""Train a phase: the baseline from the base tables, a lap from the combined one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from deft.changenet.device import training_devices
from deft.changenet.spec import Spec, dump_spec, render
from deft.changenet.training.options import Options
from deft.changenet.training.progress import TRAIN_COLUMNS, VALIDATION_COLUMNS
from deft.changenet.training.resume import clear_resume
from deft.changenet.training.train import train
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import (
    copy_atomically,
    read_json,
    sha256_file,
    write_json_atomic,
    write_text_atomic,
)
from deft.core.layout import BASELINE, previous_phase
from deft.run.staging import seeded_weights
from deft.run.state import SKIPPED, update_phase, update_state
from deft.settings.config import DEFAULT_EPOCHS
from deft.stages.context import Context

# Undeclared: declared outputs are wiped when a job fails.
RESUME_DIR, RESTORE_DIR = "train_resume", "restore_resume"


def phase_spec(context: Context, phase: str, epochs: int) -> Spec:
    """Return the spec as this phase runs it: tables, first weights, folders, epochs."""
    return render(context.spec, phase_changes(context, phase, epochs))


def phase_changes(context: Context, phase: str, epochs: int) -> dict[str, Any]:
    """Return what a phase changes in the user's spec, dotted key -> value."""
    spec = context.spec
    image_root = context.relative(context.image_root)
    changes: dict[str, Any] = {
        "results_dir": str(context.root / context.relative(context.run.phase(phase))),
        "train.results_dir": str(
            context.root / context.relative(context.run.phase(phase) / "train")
        ),
        "train.num_epochs": epochs or spec.named_epochs or DEFAULT_EPOCHS,
    }
    data = "dataset.classify"
    for name, table in (
        ("validation_dataset", layout.VALIDATION_TABLE),
        ("test_dataset", layout.KPI_TABLE),
        ("infer_dataset", layout.KPI_TABLE),
        ("train_dataset", layout.BASE_TABLE),
    ):
        changes[f"{data}.{name}.csv_path"] = table
        changes[f"{data}.{name}.images_dir"] = image_root
    if phase != BASELINE:
        combined = context.run.phase(phase) / "dataset" / f"train_combined_{phase}.csv"
        changes[f"{data}.train_dataset.csv_path"] = context.relative(combined)
        changes[f"{data}.train_dataset.images_dir"] = "."
        start = context.chosen_weights(previous_phase(phase))
        changes["train.pretrained_model_path"] = context.relative(start)
        # Only the baseline can be the training that the user's file was interrupted in.
        changes["train.resume_training_checkpoint_path"] = ""
        # The trained weights are the start; a backbone file would only be read to be replaced.
        changes["model.backbone.pretrained_backbone_path"] = ""
    intervals = ["validation_interval"]
    if spec.train.checkpoint_interval_unit == "epoch":
        intervals.append("checkpoint_interval")
    for name in intervals:
        changes[f"train.{name}"] = min(getattr(spec.train, name), changes["train.num_epochs"])
    return changes


def preseeded_weights(context: Context) -> Path | None:
    """Return the baseline weights that a pre-seeded state names, if the file exists."""
    found = seeded_weights(context.run.dir, context.workspace)
    return found if found is not None and found.is_file() else None


def train_phase(
    context: Context,
    phase: str,
    *,
    epochs: int,
    options: Options,
) -> str:
    """Train (or take the pre-seeded baseline) and return the log summary.

    The state that a training goes on from stays until :func:`forget_state`, also at the end: a job
    loses its declared outputs when it is killed after its training, and when Snakemake did not live
    to see it end well.
    """
    out = context.run.phase(phase) / "train"
    seeded = preseeded_weights(context) if phase == BASELINE else None
    context.training_table(phase)  # the very table that was validated
    spec = phase_spec(context, phase, epochs)
    if seeded:
        facts = adopt(context, seeded, out, spec)
        summary = f"{SKIPPED}pre-seeded weights {seeded.name}"
    else:
        facts = train(
            spec,
            out_dir=out,
            resume_dir=context.run.phase(phase) / RESUME_DIR,
            workspace=context.workspace,
            options=_completed(context, phase, options),
            keep_state=True,
        )
    best = next(f for f in facts["files"] if f["path"] == facts["best_val"])
    if not seeded:
        stopped = facts["stopped_after_epoch"]
        ran = facts["epochs"] if stopped is None else f"{stopped + 1} of {facts['epochs']}"
        summary = (
            f"{ran} epochs, {facts['steps']} steps on {facts['rows']} rows; "
            f"{_judgement(facts, best)} at epoch {best['epoch']}"
        )
    note_training(context, phase, best, seeded=seeded is not None)
    return summary


def note_training(context: Context, phase: str, best: dict[str, Any], *, seeded: bool) -> None:
    """Write a training's end into the state, whatever engine trained. ``best``: of its files."""
    if phase == BASELINE and not seeded:
        update_state(context.run.dir, lambda state: state.update(baseline_trained_here=True))
    path = context.run.phase(phase) / "train" / best["path"]
    update_phase(
        context.run.dir,
        phase,
        status="running",
        stage_completed="train",
        best_ckpt_path=str(context.root / context.relative(path)),
        best_ckpt_kind="best_val",
        val_loss=best["val_loss"],
    )


def forget_state(context: Context, phase: str) -> None:
    """Remove what the training of this phase would go on from; its inference calls this.

    That a later stage runs at all says that Snakemake has taken note of the training's end.
    """
    clear_resume(context.run.phase(phase) / RESUME_DIR)


def _judgement(facts: dict[str, Any], best: dict[str, Any]) -> str:
    if facts["selected_by"] == "val_loss":
        return f"lowest validation loss {best['val_loss']:.4f}"
    recall = f"{facts['min_recall_pct']:g}%"
    return f"lowest validation FAR {best['val_far_at_recall_pct']:.2f}% at recall {recall}"


def _completed(context: Context, phase: str, options: Options) -> Options:
    # A restored file must come from the very training that wrote it: one place for both calls.
    return replace(options, phase=phase, draws_per_epoch=draws_per_epoch(context, phase))


def draws_per_epoch(context: Context, phase: str) -> int | None:
    """Return the samples of an epoch when they are not the rows: the control arm ``none``.

    It trains as many steps on the old rows as the mined table would have given.
    """
    if phase == BASELINE:
        return None
    facts = read_json(context.run.phase(phase) / "dataset" / "assembly.json", {})
    return facts.get("draws_per_epoch")


def adopt(context: Context, weights: Path, out: Path, spec: Spec) -> dict[str, Any]:
    """Take pre-seeded weights as the baseline's; write and return its ``weights.json``."""
    out.mkdir(parents=True, exist_ok=True)
    name = "model_epoch_000_step_00000.pth"
    if weights.resolve() != (out / name).resolve():
        copy_atomically(weights, out / name)
    digest = sha256_file(out / name)
    facts = {
        "schema_version": 1,
        "phase": BASELINE,
        "files": [
            {
                "path": name,
                "epoch": 0,
                "step": 0,
                "val_loss": None,
                "val_far_pct": None,
                "val_far_at_recall_pct": None,
                "sha256": digest,
                "bytes": (out / name).stat().st_size,
            }
        ],
        "best_val": name,
        "latest": name,
        "steps": 0,
        "epochs": 0,
        "rows": 0,
        "validation_rows": 0,
        "initialised_from": {"path": context.relative(weights), "sha256": digest},
        "spec_sha256": spec.digest,
        "seed": None,
        "preseeded": True,
    }
    dump_spec(spec, out / "experiment.yaml")
    write_text_atomic(out / "status.json", "")
    write_text_atomic(out / "train_curve.csv", ",".join(TRAIN_COLUMNS) + "\n")
    write_text_atomic(out / "validation_curve.csv", ",".join(VALIDATION_COLUMNS) + "\n")
    write_json_atomic(out / "weights.json", facts)
    return facts


def restore_file(
    context: Context,
    phase: str,
    target: Path,
    *,
    epochs: int,
    options: Options,
) -> str:
    """Train once more, aside, and put back one deleted weight file if it comes out the same.

    Raises
    ------
    HardStop ``missing_input`` for a name that the training did not write, ``no_new_checkpoint``
    when the repeated training gives other bytes (another device or library version).
    """
    table = context.weights_table(phase)
    known = {f["path"]: f["sha256"] for f in table["files"]}
    if target.name not in known:
        raise HardStop(
            "missing_input",
            f"the training of {phase} wrote no {target.name}; it wrote {', '.join(known)}",
            file=target,
        )
    if table.get("preseeded"):
        source = context.workspace / table["initialised_from"]["path"]
        if not source.is_file():
            raise HardStop("missing_input", "the pre-seeded weights are gone too", file=source)
        copy_atomically(source, target)
        return f"{target.name} copied from the pre-seeded file"
    context.training_table(phase)
    spec = phase_spec(context, phase, epochs)
    on_gpu = training_devices(spec, options.device)[0].type == "cuda"
    if on_gpu:
        print(
            f"training {phase} again to restore {target.name}. On a GPU it may differ in its last "
            "bits: then the file stays lost, and the phase must be trained again on purpose",
            flush=True,
        )
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".restore_") as folder:
        train(
            spec,
            out_dir=Path(folder) / "train",
            resume_dir=context.run.phase(phase) / RESTORE_DIR,
            workspace=context.workspace,
            options=_completed(context, phase, options),
        )
        fresh = Path(folder) / "train" / target.name
        if sha256_file(fresh) != known[target.name]:
            raise HardStop(
                "no_new_checkpoint",
                "the repeated training gives other bytes than the deleted file had"
                + (", as may happen on a GPU" if on_gpu else ""),
                file=target,
                fix="train the phase again with: snakemake -R "
                f"{context.relative(context.run.phase(phase) / 'train' / 'weights.json')}",
            )
        fresh.replace(target)
    return f"{target.name} restored"
