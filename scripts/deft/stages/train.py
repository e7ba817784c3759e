"""Train a phase: the baseline from the base tables, a lap from the combined one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deft.changenet.spec import Spec, dump_spec, render
from deft.changenet.training.options import Options
from deft.changenet.training.progress import TRAIN_COLUMNS, VALIDATION_COLUMNS
from deft.changenet.training.resume import clear_resume
from deft.changenet.training.train import train as run_training
from deft.core import layout
from deft.core.files import (
    copy_atomically,
    read_json,
    sha256_file,
    write_json_atomic,
    write_text_atomic,
)
from deft.core.layout import BASELINE
from deft.run.handover import given_weights
from deft.run.stage_files import read, written
from deft.run.state import update_phase, update_state
from deft.run.state_format import IN_PROGRESS, SKIPPED, TRAINED_HERE, own_part
from deft.settings.config import DEFAULT_EPOCHS
from deft.stages.context import Context
from deft.stages.run_tables import validated_table
from deft.stages.weights import chosen_weights

# Undeclared, beside the training's folder: declared outputs are wiped when a job fails.
RESUME_DIR = "train_resume"


@dataclass(frozen=True)
class Files:
    """What a training reads (the baseline the user's own tables alone) and writes."""

    weights: Path = written("weights.json; the model files, curves and spec go beside it")
    validated: Path | None = read("validation.json of the lap", default=None)
    combined: Path | None = read("the training table of the lap", default=None)
    assembled: Path | None = read("assembly.json of the lap", default=None)
    previous: Path | None = read("metrics.json of the phase before", default=None)


def phase_spec(context: Context, files: Files, epochs: int) -> Spec:
    """Return the spec as this phase runs it: tables, first weights, folders, epochs."""
    return render(context.spec, phase_changes(context, files, epochs))


def phase_changes(context: Context, files: Files, epochs: int) -> dict[str, Any]:
    """Return what a phase changes in the user's spec, dotted key -> value."""
    spec, out = context.spec, files.weights.parent
    changes: dict[str, Any] = {
        "results_dir": context.absolute(out.parent),
        "train.results_dir": context.absolute(out),
        "train.num_epochs": epochs or spec.named_epochs or DEFAULT_EPOCHS,
        **table_changes(context),
    }
    if files.combined and files.previous:
        data = "dataset.classify.train_dataset"
        changes[f"{data}.csv_path"] = context.relative(files.combined)
        changes[f"{data}.images_dir"] = "."
        start = chosen_weights(context, files.previous)
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


def table_changes(context: Context) -> dict[str, Any]:
    """Return the user's tables as changes of the spec, dotted key -> value."""
    changes: dict[str, Any] = {}
    image_root = context.relative(context.image_root)
    data = "dataset.classify"
    for name, table in (
        ("validation_dataset", layout.VALIDATION_TABLE),
        ("test_dataset", layout.KPI_TABLE),
        ("infer_dataset", layout.KPI_TABLE),
        ("train_dataset", layout.BASE_TABLE),
    ):
        changes[f"{data}.{name}.csv_path"] = table
        changes[f"{data}.{name}.images_dir"] = image_root
    return changes


def preseeded_weights(context: Context) -> Path | None:
    """Return the baseline weights that a pre-seeded state names, if the file exists."""
    found = given_weights(context.run.dir, context.workspace)
    return found if found is not None and found.is_file() else None


def train(
    context: Context,
    files: Files,
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
    out = files.weights.parent
    seeded = preseeded_weights(context) if phase == BASELINE else None
    check_table(context, files)
    spec = phase_spec(context, files, epochs)
    if seeded:
        facts = adopt(context, seeded, out, spec)
        summary = f"{SKIPPED}pre-seeded weights {seeded.name}"
    else:
        facts = run_training(
            spec,
            out_dir=out,
            resume_dir=out.with_name(RESUME_DIR),
            workspace=context.workspace,
            options=completed(files, phase, options),
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
    note_training(context, phase, out / best["path"], best["val_loss"], seeded=seeded is not None)
    return summary


def check_table(context: Context, files: Files) -> None:
    """Stop unless the table of a lap is the very one that was validated."""
    if files.validated and files.combined:
        validated_table(context, files.validated, files.combined)


def note_training(
    context: Context, phase: str, best: Path, val_loss: float | None, *, seeded: bool
) -> None:
    """Write a training's end into the state, whatever engine trained. ``best``: its model file."""
    if phase == BASELINE and not seeded:
        update_state(context.run.dir, lambda state: own_part(state).update({TRAINED_HERE: True}))
    update_phase(
        context.run.dir,
        phase,
        status=IN_PROGRESS,
        stage_completed="train",
        best_ckpt_path=context.absolute(best),
        best_ckpt_kind="best_val",
        val_loss=val_loss,
    )


def forget_state(weights: Path) -> None:
    """Remove what a training (its ``weights.json``) would go on from; its inference calls this.

    That a later stage runs at all says that Snakemake has taken note of the training's end.
    """
    clear_resume(weights.parent.with_name(RESUME_DIR))


def _judgement(facts: dict[str, Any], best: dict[str, Any]) -> str:
    if facts["selected_by"] == "val_loss":
        return f"lowest validation loss {best['val_loss']:.4f}"
    recall = f"{facts['min_recall_pct']:g}%"
    return f"lowest validation FAR {best['val_far_at_recall_pct']:.2f}% at recall {recall}"


def completed(files: Files, phase: str, options: Options) -> Options:
    """Return a training's options with its phase, and the samples of an epoch if not its rows.

    The control arm ``none`` trains as many steps on the old rows as the mined table would have
    given. A restored file must come from the very training that wrote it: one place for both.
    """
    facts = read_json(files.assembled, {}) if files.assembled else {}
    return replace(options, phase=phase, draws_per_epoch=facts.get("draws_per_epoch"))


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
