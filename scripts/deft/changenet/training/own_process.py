"""A whole training in this process, the only one or one of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deft.changenet.data.images import PictureCache
from deft.changenet.data.pairs import PairData, open_pairs
from deft.changenet.data.sampling import training_weights
from deft.changenet.device import reproducible
from deft.changenet.model import ChangeNet, build_model
from deft.changenet.spec import Spec, dump_spec
from deft.changenet.speed import prepare
from deft.changenet.training import resume
from deft.changenet.training.distributed import DistributedContext
from deft.changenet.training.options import Options
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import Log
from deft.changenet.training.restore import Restored, restore_training
from deft.changenet.training.schedule import make_optimizer
from deft.changenet.training.selection import JUDGES, best_file, need_both_classes
from deft.changenet.weights import load_weights
from deft.changenet.without_compiler import without_compiler
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic
from deft.core.interrupt import Requests
from deft.settings.config import logic_version

if TYPE_CHECKING:
    from deft.changenet.training.trainer import Training


def train_here(
    spec: Spec,
    workspace: Path,
    folders: tuple[Path, Path],
    options: Options,
    devices: list[torch.device],
    log: Log | None,
    requests: Requests,
    processes: DistributedContext,
) -> dict[str, Any]:
    """Train in this process, one of ``processes``; see :func:`train`. Process 0 gets the result."""
    out_dir = folders[0]
    device = processes.own_device(devices)
    threads = max(1, options.threads // processes.size)
    running = reproducible(spec, device, threads, compile=options.compile)
    with without_compiler(unless=options.compile), running:
        training = _prepared(spec, workspace, folders, options, devices, processes, log)
        training.run(requests)
    result = _result(training, workspace) if processes.writes else {}
    if processes.writes:
        out_dir.mkdir(parents=True, exist_ok=True)
        dump_spec(spec, out_dir / "experiment.yaml")
        write_json_atomic(out_dir / "weights.json", result)
    return result


def _prepared(
    spec: Spec,
    workspace: Path,
    folders: tuple[Path, Path],
    options: Options,
    devices: list[torch.device],
    processes: DistributedContext,
    log: Log | None,
) -> Training:
    """Return the training of opened tables and a filled network."""
    # Lightning takes a second to import, and other stages import this module.
    from deft.changenet.training import bare_metrics as bare_metrics  # before Lightning loads them
    from deft.changenet.training.trainer import Training

    going_on = spec.train.resume_training_checkpoint_path
    start, backbone = _sources(spec, options, workspace)
    device = devices[processes.rank]
    data, validation = _open(spec, workspace, options)
    # Stops before a network is built when the table cannot train.
    chances = training_weights(data, processes.size)
    need_both_classes(validation.labels, options.select_weights_by, validation.csv_path)
    torch.manual_seed(options.seed)
    model = build_model(spec, upstream_compat=options.upstream_compat, backbone_file=backbone)
    if start is not None and not going_on:
        load_weights(model, start)
        _settle_class_weights(model, spec, start, options.upstream_compat, log)
    prepare(model, device, compile=options.compile)
    optimizer, restored = make_optimizer(spec, model), None
    if start is not None and going_on:
        say = log or (lambda text: print(text, flush=True))
        restored = restore_training(start, model, optimizer, say)
        _require_epochs(spec, restored, start)
    identity = {
        "logic": logic_version("train"),
        "layout": resume.LAYOUT,
        "spec": spec.digest,
        "tables": [sha256_file(d.csv_path) for d in (data, validation) if d.csv_path],
        "pictures": resume.pictures_digest(data, validation),
        "initial_weights": sha256_file(start) if start else None,
        "backbone_weights": sha256_file(backbone) if backbone else None,
        "device": device.type,
        "processes": processes.size,
        **options.identity(),
    }
    parts = Parts(
        spec, options, processes, device, model, optimizer, data, validation, tuple(devices)
    )
    return Training(parts, chances, folders, identity, restored, log, (start, backbone))


def _sources(spec: Spec, options: Options, workspace: Path) -> tuple[Path | None, Path | None]:
    """Return the file of a whole network to start from, or else the one of the backbone."""
    start = (
        spec.train.resume_training_checkpoint_path
        or options.initial_weights
        or spec.train.pretrained_model_path
    )
    if start:
        return workspace / Path(start).expanduser(), None
    backbone = spec.model.backbone.pretrained_backbone_path
    return None, workspace / Path(backbone).expanduser() if backbone else None


def _open(spec: Spec, workspace: Path, options: Options) -> tuple[PairData, PairData]:
    cache = PictureCache()
    found = []
    for name in ("train_dataset", "validation_dataset"):
        source = getattr(spec.dataset.classify, name)
        if not source.csv_path:
            raise HardStop(
                "spec_invalid", f"dataset.classify.{name}.csv_path is empty", file=spec.source
            )
        found.append(
            open_pairs(
                spec,
                workspace / source.csv_path,
                workspace / source.images_dir,
                cache=cache,
                training=name == "train_dataset",
                seed=options.seed,
                levels=options.picture_levels,
                workspace=workspace,
            )
        )
    return found[0], found[1]


def _settle_class_weights(
    model: ChangeNet, spec: Spec, path: Path, upstream_compat: bool, log: Log | None
) -> None:
    """Put the spec's ``cls_weight`` back after loading a model file, which brings its own.

    TAO lets the file win, silently; ``upstream_compat`` keeps that.
    """
    if not model.learnable:
        return
    weight: Any = model.criterion.weight
    wanted = torch.tensor(spec.train.classify.cls_weight, dtype=weight.dtype)
    if torch.equal(weight.cpu(), wanted):
        return
    winner = "the file's" if upstream_compat else "the spec's"
    say = log or (lambda text: print(text, flush=True))
    say(
        f"class weights: {path.name} was trained with {weight.tolist()}, the spec says "
        f"{wanted.tolist()}; {winner} are used"
    )
    if not upstream_compat:
        with torch.no_grad():
            weight.copy_(wanted)


def _require_epochs(spec: Spec, restored: Restored, path: Path) -> None:
    """Stop when a file's training has no epoch left."""
    progress = restored.progress
    first = progress.epoch + progress.epoch_done
    if first >= spec.train.num_epochs:
        raise HardStop(
            "spec_invalid",
            f"train.resume_training_checkpoint_path: the file's training has finished epoch "
            f"{progress.epoch}, and train.num_epochs is {spec.train.num_epochs}: nothing is left",
            file=path,
            fix=f"set train.num_epochs above {first}",
        )


def _result(training: Training, workspace: Path) -> dict[str, Any]:
    files, parts = training.files.all_files(), training.parts
    spec, options, identity = parts.spec, parts.options, training.identity
    start, backbone = training.sources
    best = {judge: best_file(files, judge) for judge in JUDGES}
    chosen = best[options.select_weights_by]
    if chosen is None:
        raise HardStop(
            "no_new_checkpoint",
            "no model file of this training was validated",
            file=training.out_dir,
        )
    return {
        "schema_version": 1,
        "phase": options.phase,
        "files": files,
        "best_val": chosen["path"],
        "latest": training.files.files[-1]["path"],
        "selected_by": options.select_weights_by,
        "best_by": {judge: found["path"] if found else None for judge, found in best.items()},
        "min_recall_pct": 100 * options.min_recall,
        "steps": training.steps,
        "epochs": spec.train.num_epochs,
        "stopped_after_epoch": training.stopped_after,
        "rows": len(parts.data),
        "validation_rows": len(parts.validation),
        "initialised_from": _origin(start, identity["initial_weights"], workspace),
        "backbone_from": _origin(backbone, identity["backbone_weights"], workspace),
        "spec_sha256": spec.digest,
        "seed": options.seed,
        # On a CPU the sums, and with them every byte, go by it.
        "cpu_threads": options.threads if parts.device.type == "cpu" else None,
    }


def _origin(path: Path | None, digest: str | None, workspace: Path) -> dict[str, Any] | None:
    """Return a file's path, relative to the workspace where it lies inside, and its SHA-256."""
    if path is None:
        return None
    resolved, root = path.resolve(), workspace.resolve()
    shown = resolved.relative_to(root) if root in resolved.parents else resolved
    return {"path": shown.as_posix(), "sha256": digest}
