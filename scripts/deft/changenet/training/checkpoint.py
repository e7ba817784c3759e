"""A training's whole state in the layout of TAO's ``.pth``, which is PyTorch Lightning's.

Beside the weights it holds Lightning's loop counters, the entry of its ``ModelCheckpoint``, the
optimizer's state by parameter index and the scheduler, already advanced to the next epoch. Names
inside are file names alone: equal trainings give equal bytes wherever they run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.changenet.training.schedule import Schedule
from deft.changenet.weights import fill_strictly, read_state, weights_name
from deft.errors import HardStop

SAVER = (
    "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': %d, "
    "'every_n_epochs': %d, 'train_time_interval': None}"
)
# Entries of a parameter group that torch 2.6 (TAO's) has, in its order; newer ones are left out.
GROUP_KEYS = (
    *("lr", "momentum", "dampening", "betas", "eps", "weight_decay", "nesterov", "amsgrad"),
    *("foreach", "maximize", "capturable", "differentiable", "fused"),
)


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    ``epoch`` counts from 0; ``step`` and ``batches`` count steps and batches of the whole
    training, ``epoch_steps`` and ``epoch_batches`` those of this epoch; ``epoch_done``: whether
    it is finished; ``validation_batches`` of the last validation (0 before the first).
    """

    epoch: int
    step: int
    batches: int
    epoch_steps: int
    epoch_batches: int
    epoch_done: bool = True
    validation_batches: int = 0


def training_entries(
    progress: Progress,
    optimizer: torch.optim.Optimizer | None,
    schedule: Schedule,
    *,
    save_every: tuple[int, str] = (1, "epoch"),
) -> dict[str, Any]:
    """Return ``loops``, ``callbacks``, ``optimizer_states`` and ``lr_schedulers`` of a file.

    ``optimizer`` None leaves the optimizer's state out (an empty list, as Lightning allows).
    ``save_every``: interval of the model files and its unit, ``epoch`` or ``step``.
    """
    steps, epochs = save_every[0] * (save_every[1] == "step"), save_every[0]
    name = weights_name(progress.epoch, progress.step)
    return {
        "loops": _loops(progress),
        "callbacks": {
            SAVER % (steps, 0 if steps else epochs): {
                "monitor": None,
                "best_model_score": None,
                "best_model_path": name,
                "current_score": None,
                "dirpath": "",
                "best_k_models": {},
                "kth_best_model_path": "",
                "kth_value": torch.tensor(torch.inf),
                "last_model_path": name,
            }
        },
        "optimizer_states": []
        if optimizer is None
        else [_optimizer_state(optimizer, schedule, progress)],
        "lr_schedulers": [schedule.state(_next_epoch(progress))],
    }


def _next_epoch(progress: Progress) -> int:
    return progress.epoch + progress.epoch_done


def _counters(done: int, *names: str) -> dict[str, int]:
    return dict.fromkeys(names or ("ready", "completed", "started", "processed"), done)


def _both(total: int, current: int, *names: str) -> dict[str, Any]:
    return {"total": _counters(total, *names), "current": _counters(current, *names)}


def _loops(p: Progress) -> dict[str, Any]:
    """Return the counters of Lightning 2.5's four loops, in its order."""
    ran, validated = p.epoch + 1, p.validation_batches
    ended = p.epoch + p.epoch_done
    # A file is written before the epoch itself counts as completed.
    epochs = {"ready": ran, "completed": p.epoch, "started": ran, "processed": ended}
    idle = {"state_dict": {}, "batch_progress": {**_both(0, 0), "is_last_batch": False}}
    steps = ("ready", "completed")
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {"_batches_that_stepped": p.step},
            "epoch_loop.batch_progress": {
                **_both(p.batches, p.epoch_batches),
                "is_last_batch": p.epoch_done,
            },
            "epoch_loop.scheduler_progress": _both(ended, int(p.epoch_done), *steps),
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {
                "optimizer": {
                    "step": _both(p.step, p.epoch_steps, *steps),
                    "zero_grad": _both(p.step, p.epoch_steps, "ready", "completed", "started"),
                }
            },
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": _both(0, 0, *steps),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": {
                **_both(validated, validated),
                "is_last_batch": validated > 0,
            },
            "epoch_progress": {"total": epochs, "current": dict(epochs)},
        },
        "validate_loop": idle,
        "test_loop": idle,
        "predict_loop": {"state_dict": {}, "batch_progress": _both(0, 0)},
    }


def _optimizer_state(
    optimizer: torch.optim.Optimizer, schedule: Schedule, progress: Progress
) -> dict[str, Any]:
    state = optimizer.state_dict()
    groups = []
    for group in state["param_groups"]:
        kept = {name: group[name] for name in GROUP_KEYS if name in group}
        kept["lr"] = schedule.rate(_next_epoch(progress))
        groups.append({**kept, "initial_lr": schedule.base, "params": group["params"]})
    return {"state": state["state"], "param_groups": groups}


@dataclass(frozen=True)
class Restored:
    """Where a training goes on: its progress, the saved rate and the schedule's base rate."""

    progress: Progress
    rate: float
    base: float


def restore_training(
    path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Restored:
    """Fill model and optimizer from a model file with a whole training's state, ours or TAO's.

    Raises
    ------
    HardStop ``missing_input`` or ``spec_invalid``: a file of another architecture or optimizer, or
    one that holds no optimizer state.
    """
    data = read_state(path)
    fill_strictly(model, data, path)
    states = data.get("optimizer_states")
    if not states:
        raise HardStop(
            "spec_invalid",
            "train.resume_training_checkpoint_path: the file holds no optimizer state, so its "
            "training cannot go on",
            file=path,
            fix="name it in train.pretrained_model_path to start anew from its weights, or save "
            "files with optimizer_state: all",
        )
    _fill_optimizer(optimizer, states, path)
    group = optimizer.param_groups[0]
    schedulers = data.get("lr_schedulers") or [{}]
    base = (schedulers[0].get("base_lrs") or [group.get("initial_lr", group["lr"])])[0]
    return Restored(_progress(data, path), float(group["lr"]), float(base))


def _progress(data: Mapping[str, Any], path: str | Path) -> Progress:
    epoch, step = data.get("epoch"), data.get("global_step")
    if not isinstance(epoch, int) or not isinstance(step, int):
        raise HardStop("spec_invalid", "the model file names no epoch and step", file=path)
    loop = (data.get("loops") or {}).get("fit_loop") or {}
    batch = loop.get("epoch_loop.batch_progress") or {}
    optim = loop.get("epoch_loop.automatic_optimization.optim_progress") or {}
    steps = (optim.get("optimizer") or {}).get("step") or {}
    done = batch.get("is_last_batch", True)
    # A file that Lightning writes after the last epoch, not at its end, already names the next.
    ended = ((loop.get("epoch_progress") or {}).get("current") or {}).get("processed")
    epoch = ended - 1 if done and ended else epoch
    return Progress(
        epoch=epoch,
        step=step,
        batches=_completed(batch, "total", step),
        epoch_steps=_completed(steps, "current", 0),
        epoch_batches=_completed(batch, "current", 0),
        epoch_done=bool(done),
    )


def _completed(counters: Mapping[str, Any], which: str, otherwise: int) -> int:
    return int((counters.get(which) or {}).get("completed", otherwise))


def _fill_optimizer(optimizer: torch.optim.Optimizer, states: Any, path: str | Path) -> None:
    """Load the one optimizer's state after checking that it fits, parameter by parameter."""
    own = optimizer.state_dict()
    saved = states[0]
    try:
        groups, entries = saved["param_groups"], saved["state"]
        counts = [len(group["params"]) for group in groups]
    except (TypeError, KeyError):
        raise HardStop(
            "spec_invalid", "the file's optimizer state is not torch's", file=path
        ) from None
    wanted = [len(group["params"]) for group in own["param_groups"]]
    problem = ""
    if len(states) != 1 or counts != wanted:
        problem = f"parameters by group {counts} instead of {wanted}"
    slots = {"SGD": {"momentum_buffer"}}.get(
        type(optimizer).__name__, {"step", "exp_avg", "exp_avg_sq"}
    )
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entry in entries.items():
        if problem:
            break
        if not slots >= set(entry):
            problem = f"it holds {', '.join(entry)}, which {type(optimizer).__name__} does not have"
            continue
        for name, value in entry.items():
            shape = tuple(getattr(value, "shape", ()))
            if name != "step" and shape != tuple(parameters[index].shape):
                problem = (
                    f"{name} of parameter {index} is {shape} instead of "
                    f"{tuple(parameters[index].shape)}"
                )
    if problem:
        raise HardStop(
            "spec_invalid",
            f"the file's optimizer state does not fit train.optim: {problem}",
            file=path,
            fix="use the spec that the file was trained with",
        )
    # Newer versions of torch have group entries that TAO's files lack: keep the present ones.
    merged = [{**mine, **theirs} for mine, theirs in zip(own["param_groups"], groups, strict=True)]
    optimizer.load_state_dict({"state": dict(entries), "param_groups": merged})
