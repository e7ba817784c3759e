"""Going on from a model file with a whole training's state (layout: ``checkpoint``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.changenet.training.checkpoint import SHAPE, Progress
from deft.changenet.training.loader import EpochLoader
from deft.changenet.weights import fill_strictly, read_state
from deft.core.errors import HardStop

# Settings of an optimizer that are the spec's or fixed by the engine: told when a file has others.
SETTINGS = ("weight_decay", "betas", "momentum", "eps")


@dataclass(frozen=True)
class Restored:
    """Where a training goes on: its progress, the saved rate and the schedule's base rate."""

    progress: Progress
    rate: float
    base: float


def restore_training(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    say: Callable[[str], None] = print,
) -> Restored:
    """Fill model and optimizer from a model file with a whole training's state, ours or TAO's.

    ``say`` takes a line when the file's optimizer has other settings than ``optimizer``.

    Raises
    ------
    HardStop ``missing_input`` or ``spec_invalid``: a file of another architecture or optimizer,
    one that holds no optimizer state, or one whose entries are not laid out as Lightning's.
    """
    data, progress, base = look_at(path, model)
    states = data["optimizer_states"]
    _fill_optimizer(optimizer, states, path, say)
    group = optimizer.param_groups[0]
    if base is None:
        base = group.get("initial_lr", group["lr"])
    return Restored(progress, float(group["lr"]), float(base))


def look_at(path: str | Path, model: nn.Module) -> tuple[dict[str, Any], Progress, float | None]:
    """Fill ``model``; return the file's dictionary, its progress and the schedule's base rate.

    Nothing is half done when an entry is malformed: the optimizer is filled after this. Raises as
    :func:`restore_training` does, but for an optimizer that does not fit.
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
    _torch_state(states, path)
    return data, _progress(data, path), _base_rate(data, path)


def _malformed(what: str, path: str | Path) -> HardStop:
    return HardStop(
        "spec_invalid",
        f"train.resume_training_checkpoint_path: {what}",
        file=path,
        fix="give a file as this project or TAO saved it",
    )


def _inside(data: Mapping[str, Any], path: str | Path, *names: str) -> Mapping[str, Any]:
    """Return the dictionary below ``names``, empty where one of them is absent."""
    for i, name in enumerate(names):
        data = data.get(name) or {}
        if not isinstance(data, Mapping):
            where = ".".join(names[: i + 1])
            raise _malformed(f"the file's {where} is a {type(data).__name__}, no dictionary", path)
    return data


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _base_rate(data: Mapping[str, Any], path: str | Path) -> float | None:
    """Return the scheduler's base rate, None when the file names none."""
    schedulers = data.get("lr_schedulers") or [{}]
    first = schedulers[0] if isinstance(schedulers, list) else None
    rates = (first.get("base_lrs") or [None]) if isinstance(first, Mapping) else None
    if not isinstance(rates, list) or not (rates[0] is None or _is_number(rates[0])):
        raise _malformed("the file's lr_schedulers are not torch's", path)
    return rates[0]


def _progress(data: Mapping[str, Any], path: str | Path) -> Progress:
    epoch, step = data.get("epoch"), data.get("global_step")
    if not isinstance(epoch, int) or not isinstance(step, int) or min(epoch, step) < 0:
        raise _malformed("the model file names no epoch and step", path)
    fit = ("loops", "fit_loop")
    batch = (*fit, "epoch_loop.batch_progress")
    optim = (*fit, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step")
    done = _inside(data, path, *batch).get("is_last_batch", True)
    # A file that Lightning writes after the last epoch, not at its end, already names the next.
    ended = _count(data, path, 0, *fit, "epoch_progress", "current", "processed")
    epoch = ended - 1 if done and ended else epoch
    return Progress(
        epoch=epoch,
        step=step,
        batches=_count(data, path, step, *batch, "total", "completed"),
        epoch_steps=_count(data, path, 0, *optim, "current", "completed"),
        epoch_batches=_count(data, path, 0, *batch, "current", "completed"),
        epoch_done=bool(done),
        shape=dict(_inside(data, path, SHAPE)) or None,
    )


def _count(data: Mapping[str, Any], path: str | Path, otherwise: int, *names: str) -> int:
    """Return the counter below ``names``, ``otherwise`` where it is absent."""
    value = _inside(data, path, *names[:-1]).get(names[-1], otherwise)
    if not isinstance(value, int) or value < 0:
        raise _malformed(f"the file's {'.'.join(names)} is {value!r}, no count", path)
    return value


def _fill_optimizer(
    optimizer: torch.optim.Optimizer, states: Any, path: str | Path, say: Callable[[str], None]
) -> None:
    """Load the one optimizer's state after checking that it fits, parameter by parameter."""
    own = optimizer.state_dict()
    groups, entries = _torch_state(states, path)
    counts = [len(group["params"]) for group in groups]
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
        if index not in range(len(parameters)):
            problem = f"it has an entry for parameter {index!r} of {len(parameters)}"
            continue
        if not slots >= set(entry):
            found = ", ".join(map(str, entry))
            problem = f"it holds {found}, which {type(optimizer).__name__} does not have"
            continue
        for name, value in entry.items():
            shape = tuple(getattr(value, "shape", ()))
            if name == "step":
                if not _is_number(value) and not (torch.is_tensor(value) and value.numel() == 1):
                    problem = f"step of parameter {index} is no number"
            elif shape != tuple(parameters[index].shape):
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
    differs = [
        f"{name} {theirs[name]} (the spec: {mine[name]})"
        for mine, theirs in zip(own["param_groups"], groups, strict=True)
        for name in SETTINGS
        if name in mine and name in theirs and _plain(theirs[name]) != _plain(mine[name])
    ]
    if differs:
        say(f"optimizer: {Path(path).name} has {', '.join(differs)}; the file's are used")
    optimizer.load_state_dict({"state": dict(entries), "param_groups": merged})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _torch_state(states: Any, path: str | Path) -> tuple[list[dict[str, Any]], Mapping[Any, Any]]:
    """Return groups and entries of the first optimizer; refuse what is not laid out as torch's."""
    try:
        groups, entries = states[0]["param_groups"], states[0]["state"]
        numbers = [number for group in groups for number in group["params"]]
        good = (
            isinstance(groups, list)
            and isinstance(entries, Mapping)
            and all(isinstance(entry, Mapping) for entry in entries.values())
            and numbers == list(range(len(numbers)))
            and all(map(_good_group, groups))
        )
    except (KeyError, TypeError, IndexError):
        good = False
    if not good or not isinstance(states, list):
        raise _malformed("the file's optimizer state is not torch's", path)
    return groups, entries


def _good_group(group: Mapping[str, Any]) -> bool:
    betas = group.get("betas", (0.0, 0.0))
    plain = [name for name in ("initial_lr", *SETTINGS) if name in group and name != "betas"]
    return (
        isinstance(group["params"], list)
        and isinstance(betas, list | tuple)
        and len(betas) == 2
        and all(map(_is_number, (group["lr"], *betas, *(group[name] for name in plain))))
    )


def check_batches(start: Progress, loader: EpochLoader, say: Callable[[str], None]) -> None:
    """Refuse a file from the middle of an epoch that saw other batches than there are now.

    TAO's does not hold the batch size; its finished epochs give the batches of one. Where these
    differ ``say`` takes a line.
    """
    if start.epoch_done:
        require_steps(loader, start.epoch + 1)
        return
    here, finished = len(loader), start.batches - start.epoch_batches
    if start.shape is None and finished != start.epoch * here:
        say(
            f"resuming in the middle of epoch {start.epoch}: its {start.epoch} finished epochs "
            f"had {finished} batches, with the present batch size they have "
            f"{start.epoch * here}: the rows skipped as done may not be those that were seen"
        )
    now = loader.shape(start.epoch)
    found = start.shape if start.shape is not None else now
    changed = [name for name in now if found.get(name) != now[name]]
    how = ", ".join(f"{name} {found.get(name)} (now {now[name]})" for name in changed)
    if not how and start.epoch_batches >= here:
        how = (
            f"{start.epoch_batches} batches of epoch {start.epoch} are done, but its "
            f"{loader.parts.draws} draws make only {here} of {_batch(loader)}"
        )
    if how:
        raise HardStop(
            "spec_invalid",
            "train.resume_training_checkpoint_path: the file was saved in the middle of an epoch "
            f"with other batches: {how}",
            file=loader.parts.spec.train.resume_training_checkpoint_path,
            fix="use the seed, the training table, dataset.classify.batch_size and train.num_gpus "
            "that it was saved with, or a file from an epoch's end",
        )


def require_steps(loader: EpochLoader, epoch: int) -> None:
    """Stop when an epoch has no batch, told of ``epoch``, the first one to train."""
    if len(loader) == 0:
        raise HardStop(
            "no_new_checkpoint",
            f"epoch {epoch} made no step: {loader.parts.draws} draws do not fill a batch of "
            f"{_batch(loader)}",
            file=loader.parts.spec.source,
            fix="lower dataset.classify.batch_size",
        )


def _batch(loader: EpochLoader) -> str:
    size, processes = loader.parts.batch_size, loader.parts.processes.size
    return f"{size}" if processes == 1 else f"{processes} x {size}"
