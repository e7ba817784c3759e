"""A training's whole state in the layout of TAO's ``.pth``, which is PyTorch Lightning's.

Beside the weights it holds Lightning's loop counters, the entry of its ``ModelCheckpoint``, the
optimizer's state by parameter index and the scheduler, already advanced to the next epoch. Names
inside are file names alone: equal trainings give equal bytes wherever they run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from deft.changenet.training.schedule import EpochRate
from deft.changenet.weights import weights_name

SAVER = (
    "ModelCheckpoint{'monitor': None, 'mode': 'min', 'every_n_train_steps': %d, "
    "'every_n_epochs': %d, 'train_time_interval': None}"
)
SHAPE = "deft_epoch"
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
    shape: dict[str, Any] | None = None


def training_entries(
    progress: Progress,
    optimizer: torch.optim.Optimizer | None,
    scheduler: EpochRate,
    *,
    save_every: tuple[int, str] = (1, "epoch"),
    shape: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return ``loops``, ``callbacks``, ``optimizer_states`` and ``lr_schedulers`` of a file.

    ``optimizer`` None leaves the optimizer's state out (an empty list, as Lightning allows).
    ``save_every``: interval of the model files and its unit, ``epoch`` or ``step``. ``shape`` goes
    into one from the middle of an epoch as :data:`SHAPE`, since TAO's entries do not tell what its
    batches were; Lightning passes over it.
    """
    steps, epochs = save_every[0] * (save_every[1] == "step"), save_every[0]
    name = weights_name(progress.epoch, progress.step)
    return {
        "loops": loop_counters(progress),
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
        "optimizer_states": [] if optimizer is None else [_optimizer_state(optimizer, scheduler)],
        "lr_schedulers": [scheduler.state_dict()],
        **({SHAPE: shape} if shape is not None else {}),
    }


def _counters(done: int, *names: str) -> dict[str, int]:
    return dict.fromkeys(names or ("ready", "completed", "started", "processed"), done)


def _both(total: int, current: int, *names: str) -> dict[str, Any]:
    return {"total": _counters(total, *names), "current": _counters(current, *names)}


def loop_counters(p: Progress) -> dict[str, Any]:
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


def _optimizer_state(optimizer: torch.optim.Optimizer, scheduler: EpochRate) -> dict[str, Any]:
    state = optimizer.state_dict()
    groups = []
    for group in state["param_groups"]:
        kept = {name: group[name] for name in GROUP_KEYS if name in group}
        base = scheduler.base_lrs[0]
        groups.append({**kept, "initial_lr": base, "params": group["params"]})
    return {"state": state["state"], "param_groups": groups}
