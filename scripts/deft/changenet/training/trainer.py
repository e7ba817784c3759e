"""Lightning's trainer with a training's callbacks, and what is told before it starts."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as lightning
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins import MixedPrecision
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from deft.changenet.precision import Precision
from deft.changenet.training import resume
from deft.changenet.training.callbacks import Display, Status, Validation
from deft.changenet.training.checkpoint import loop_counters
from deft.changenet.training.distributed import TIMEOUT
from deft.changenet.training.loader import EpochLoader
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.options import require_tensorboard
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import History, Log, Reporter
from deft.changenet.training.restore import Restored, check_batches, require_steps
from deft.changenet.training.saving import ModelFiles
from deft.changenet.training.schedule import scheduler_state
from deft.changenet.training.state import ResumeState, StateFile, Stopped, take_over
from deft.changenet.training.sync_norm import synchronise_batch_norm
from deft.core.interrupt import Requests

TENSORBOARD = "tensorboard"


class _Mixed(MixedPrecision):
    """Casts each weight once a step, as torch does by itself; both pictures of a pair use it."""

    def autocast_context_manager(self) -> torch.autocast:
        """Return the context in which a step runs."""
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.float16
        return torch.autocast(self.device, dtype=dtype)


class _EventFiles(TensorBoardLogger):
    def save(self) -> None:
        """Write no ``hparams.yaml``: the spec lies beside, as ``experiment.yaml``."""


class Training:
    """One training: :meth:`run` makes it, then ``files`` and ``stopped_after`` say what came out.

    Parameters
    ----------
    folders: of the outputs, and of the state of an unfinished training.
    identity: which training this is, for the state of an interruption.
    restored: the model file's state that is gone on from, None when starting anew.
    sources: the files of network and backbone that it starts from, None for neither.
    """

    def __init__(
        self,
        parts: Parts,
        chances: torch.Tensor,
        folders: tuple[Path, Path],
        identity: dict[str, Any],
        restored: Restored | None,
        log: Log | None,
        sources: tuple[Path | None, Path | None],
    ) -> None:
        self.parts, self.restored, self.log = parts, restored, log
        self.out_dir, self.resume_dir = folders
        self.identity, self.sources = identity, sources
        self.files = ModelFiles(parts, *folders)
        self.loader = EpochLoader(parts, chances)
        self.steps = 0
        self.stopped_after: int | None = None

    def run(self, requests: Requests) -> None:
        """Train from the first unfinished epoch to the last, or to the early stop.

        Raises
        ------
        Interrupted after saving the state, when this process or another was asked to stop.
        """
        parts, spec = self.parts, self.parts.spec
        say = self.log or (lambda text: print(text, flush=True))
        if parts.processes.writes:
            resume.sweep_folders(self.out_dir, self.resume_dir)
        state = resume.load_resume(self.resume_dir, self.identity, say)
        if state is not None:
            history = take_over(state, spec.train.num_epochs, self.files, parts.device, say)
            self.steps = state["global_step"]
            epoch = state["epochs_done"]
            within = state["within"]
            made = within["progress"]["epoch_steps"] if within else 0
            done = state["finished"] or epoch == spec.train.num_epochs
            self.stopped_after = epoch - 1 if state["finished"] else None
        else:
            history = self._begun(say)
            start = self.restored.progress if self.restored else None
            epoch = start.epoch + start.epoch_done if start else 0
            made = start.epoch_steps if start and not start.epoch_done else 0
            done = False
        if not done:
            self._fit(state, history, requests, (epoch, made), say)
        if parts.processes.writes:
            history.finished()
            history.write(self.out_dir)

    def _begun(self, say: Log) -> History:
        """Return the history of a training without a state, after what can be said at once."""
        history, parts = History(), self.parts
        history.add_status("STARTED", "Starting Training Loop.")
        if self.restored is None:
            require_steps(self.loader, 0)
            if parts.processes.writes:
                self.files.remove_older([path for path in self.sources if path])
            return history
        path = parts.spec.train.resume_training_checkpoint_path
        history.add_status("RUNNING", f"Resuming training from checkpoint: {path}")
        check_batches(self.restored.progress, self.loader, say)
        return history

    def _fit(
        self,
        state: dict[str, Any] | None,
        history: History,
        requests: Requests,
        at: tuple[int, int],
        say: Log,
    ) -> None:
        parts, spec = self.parts, self.parts.spec
        steps = math.ceil(len(self.loader) / parts.options.accumulate_steps)
        silent = not parts.processes.writes
        reporter = Reporter(
            spec.train.num_epochs,
            at[0],
            (lambda text: None) if silent else self.log,
            steps,
            at[1],
        )
        module = TrainingModule(parts, self.loader)
        precision = Precision(spec, parts.device)
        start = self.restored.progress if self.restored else None
        resume_state = ResumeState(
            parts, self.files, history, self.resume_dir, requests, state, start
        )
        validation = Validation(
            parts, precision, (lambda text: None) if silent else say, resume_state.safe_point
        )
        for row in history.validation:
            validation.early.says_stop(row["epoch"], row)
        callbacks: list[Any] = [validation, self.files]
        callbacks += [] if silent else [Status(parts, history, self.out_dir)]
        callbacks += [resume_state, Display(parts, reporter)]
        state_file = StateFile(self.identity, state or self._checkpoint())
        going_on = self.resume_dir / resume.STATE_FILE if state_file.given else None
        trainer = self._trainer(precision, callbacks, state_file, state)
        try:
            trainer.fit(module, self.loader, ckpt_path=going_on)
        except Stopped as stop:
            parts.processes.wait()  # nobody leaves before the state is written
            raise stop.interrupted from None
        finally:
            reporter.close()
        self.steps, self.stopped_after = trainer.global_step, module.stopped_after

    def _checkpoint(self) -> dict[str, Any] | None:
        """Return the model file's state as a checkpoint that Lightning goes on from."""
        if self.restored is None:
            return None
        parts, start = self.parts, self.restored.progress
        epoch = start.epoch + start.epoch_done
        rates = (self.restored.base, self.restored.rate)
        return {
            "epoch": start.epoch,
            "global_step": start.step,
            "pytorch-lightning_version": lightning.__version__,
            "state_dict": parts.model.state_dict(),
            "loops": loop_counters(start),
            "callbacks": {},
            "optimizer_states": [parts.optimizer.state_dict()],
            "lr_schedulers": [scheduler_state(parts.spec, epoch, *rates)],
        }

    def _trainer(
        self,
        precision: Precision,
        callbacks: list[Any],
        state_file: StateFile,
        state: dict[str, Any] | None,
    ) -> Trainer:
        parts, spec = self.parts, self.parts.spec
        device, several = parts.device, parts.processes.size > 1
        gpus = [one.index or 0 for one in parts.devices if one.type == "cuda"]
        quiet()
        # Without the first Lightning takes SLURM's variables for its own business.
        plugins: list[Any] = [LightningEnvironment(), state_file]
        if precision.dtype is not None:
            scaler = precision.scaler if precision.scaler.is_enabled() else None
            name: Literal["bf16-mixed", "16-mixed"] = "bf16-mixed" if scaler is None else "16-mixed"
            plugins.append(_Mixed(name, device.type, scaler=scaler))
        strategy: Any = "auto"
        if several:
            if spec.train.sync_batchnorm:
                synchronise_batch_norm(parts.model, device)
            # Some difference modules may be switched off by the spec: they get no gradient.
            strategy = DDPStrategy(timeout=TIMEOUT, find_unused_parameters=True)
        trainer = Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=gpus or parts.processes.size,
            strategy=strategy,
            plugins=plugins,
            callbacks=callbacks,
            logger=self._logger(state) if parts.processes.writes else False,
            max_epochs=spec.train.num_epochs,
            accumulate_grad_batches=parts.options.accumulate_steps,
            # Ours are made on purpose where Lightning's would differ: see docs/dependencies.md.
            limit_val_batches=0,
            num_sanity_val_steps=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=self.resume_dir,
        )
        # Its handler for SIGTERM talks to the other processes in the middle of whatever runs, and
        # each batch asks whether it did, for which a GPU has to finish its queued work.
        connector: Any = trainer._signal_connector
        connector.register_signal_handlers = lambda: None
        epoch_loop: Any = trainer.fit_loop.epoch_loop
        epoch_loop._broadcast_sigterm_tensor = lambda: None
        return trainer

    def _logger(self, state: dict[str, Any] | None) -> Any:
        if not self.parts.spec.train.tensorboard.enabled:
            return False
        require_tensorboard(self.parts.spec)
        if state is None:  # the curves of another training must not run into these
            shutil.rmtree(self.out_dir / TENSORBOARD, ignore_errors=True)
        return _EventFiles(self.out_dir, name=TENSORBOARD, version="")


def quiet() -> None:
    """Keep Lightning's advice and announcements out of the logs; its errors stay."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
