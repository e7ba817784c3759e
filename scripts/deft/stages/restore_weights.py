"""Put back a deleted weight file by repeating its training, if that gives the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deft.changenet.device import training_devices
from deft.changenet.training.options import Options
from deft.changenet.training.train import train as run_training
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import copy_atomically, sha256_file
from deft.stages.context import Context
from deft.stages.train import Files, check_table, completed, phase_spec
from deft.stages.weights import weights_table

RESTORE_DIR = "restore_resume"  # undeclared, as the training's own


def restore_weights(
    context: Context,
    files: Files,
    target: Path,
    phase: str,
    *,
    epochs: int,
    options: Options,
) -> str:
    """Train once more, aside, and put back one deleted weight file if it comes out the same.

    Raises
    ------
    HardStop ``missing_input`` for a name that the training did not write, ``no_new_checkpoint``
    when the repeated training gives other bytes (another device or library version), and before it
    begins where this job has another number of threads on a CPU.
    """
    table = weights_table(files.weights)
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
    check_table(context, files)
    spec = phase_spec(context, files, epochs)
    on_gpu = training_devices(spec, options.device)[0].type == "cuda"
    trained_with = table.get("cpu_threads")
    if not on_gpu and trained_with not in (None, options.threads):
        raise _other_threads(target, phase, trained_with, options.threads)
    if on_gpu:
        print(
            f"training {phase} again to restore {target.name}. On a GPU it may differ in its last "
            "bits: then the file stays lost, and the phase must be trained again on purpose",
            flush=True,
        )
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".restore_") as folder:
        run_training(
            spec,
            out_dir=Path(folder) / "train",
            resume_dir=files.weights.parent.with_name(RESTORE_DIR),
            workspace=context.workspace,
            options=completed(files, phase, options),
        )
        fresh = Path(folder) / "train" / target.name
        if sha256_file(fresh) != known[target.name]:
            raise HardStop(
                "no_new_checkpoint",
                "the repeated training gives other bytes than the deleted file had"
                + _likely(on_gpu=on_gpu, known=trained_with is not None, threads=options.threads),
                file=target,
                fix=f"train the phase again with: {again('-R', context.relative(files.weights))}",
            )
        fresh.replace(target)
    return f"{target.name} restored"


def _other_threads(target: Path, phase: str, trained_with: int, threads: int) -> HardStop:
    return HardStop(
        "no_new_checkpoint",
        f"{phase} was trained with {trained_with} thread(s), this command gives its repetition "
        f"{threads}, and on a CPU other threads give other weights",
        file=target,
        fix=f"give the same command with --cores {trained_with} (on a cluster: "
        f"--set-threads restore_weights={trained_with})",
    )


def _likely(*, on_gpu: bool, known: bool, threads: int) -> str:
    """Return what may be why the bytes differ."""
    if on_gpu:
        return ", as may happen on a GPU"
    if known:
        return ""
    return (
        f". It had {threads} thread(s); with how many the file was trained is not on record, and "
        "other threads give other weights: try another --cores first, as the run had"
    )
