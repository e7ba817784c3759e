"""What a training is asked for beside its spec."""

from __future__ import annotations

from dataclasses import dataclass

from deft.changenet.spec import Spec
from deft.changenet.training.selection import JUDGES
from deft.core.errors import HardStop

IDENTITY = (
    *("seed", "upstream_compat", "draws_per_epoch", "accumulate_steps", "select_weights_by"),
    *("early_stop_epochs", "min_recall", "optimizer_state", "compile"),
)
OPTIMIZER_STATE = ("none", "last", "all")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one training; all are plain values.

    Parameters
    ----------
    device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
    seed: of initial numbers, order and augmentation.
    threads: CPU threads of all processes; on a CPU another number gives other weights.
    upstream_compat: TAO's known deviations, see docs/training.md.
    initial_weights: model file to start from (default: ``train.pretrained_model_path``).
    phase: named in ``weights.json``.
    draws_per_epoch: samples drawn an epoch; None = as many as the table has rows.
    accumulate_steps: batches whose gradients make one optimizer step, at least 1.
    select_weights_by: ``val_loss`` or ``val_far`` (FAR at ``min_recall`` on the validation table).
    early_stop_epochs: end after so many epochs without a better validation; None = never.
    min_recall: required recall, 0 to 1.
    optimizer_state: which files hold the optimizer's state: ``none``, ``last`` or ``all``.
    compile: run the network through ``torch.compile``.
    picture_levels: full scale of pictures deeper than 8 bits; None refuses these.
    """

    device: str = "cpu"
    seed: int = 0
    threads: int = 1
    upstream_compat: bool = False
    initial_weights: str | None = None
    phase: str | None = None
    draws_per_epoch: int | None = None
    accumulate_steps: int = 1
    select_weights_by: str = "val_loss"
    early_stop_epochs: int | None = None
    min_recall: float = 1.0
    optimizer_state: str = "last"
    compile: bool = False
    picture_levels: int | None = None

    def __post_init__(self) -> None:
        stop = self.early_stop_epochs
        for name, holds, allowed in (
            ("accumulate_steps", self.accumulate_steps >= 1, "1 or more"),
            ("early_stop_epochs", stop is None or stop >= 1, "null, or 1 or more"),
            ("min_recall", 0 < self.min_recall <= 1, "above 0 and at most 1"),
            ("select_weights_by", self.select_weights_by in JUDGES, " or ".join(JUDGES)),
            (
                "optimizer_state",
                self.optimizer_state in OPTIMIZER_STATE,
                ", ".join(OPTIMIZER_STATE),
            ),
        ):
            if not holds:
                found = getattr(self, name)
                raise HardStop("config_invalid", f"{name} must be {allowed}, found {found!r}")

    def identity(self) -> dict[str, object]:
        """Return what tells one training from another, for the resume state."""
        found: dict[str, object] = {name: getattr(self, name) for name in IDENTITY}
        if self.picture_levels is not None:  # younger than the states of trainings under way
            found["picture_levels"] = self.picture_levels
        return found


def require_tensorboard(spec: Spec) -> None:
    """Raise HardStop ``spec_invalid`` when event files cannot be written."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise HardStop(
            "spec_invalid",
            f"train.tensorboard.enabled needs a package that is not installed ({error})",
            file=spec.source,
            fix="pip install tensorboard, or set train.tensorboard.enabled: false",
        ) from None
