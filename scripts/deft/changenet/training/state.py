"""When the state of a running training is saved, what is in it, and taking it over.

Safe points are the optimizer steps, the batches of a validation, and the ends of epochs. At each,
all processes ask each other whether one of them was told to stop; so they stop at the same one.
A state is a checkpoint of Lightning's with what a training is beside its network, optimizer and
counters: files, curves, random generators, and in the middle of an epoch the figures so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.plugins import CheckpointIO

from deft.changenet.training import resume
from deft.changenet.training.checkpoint import Progress, loop_counters
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import History
from deft.changenet.training.saving import ModelFiles
from deft.core.interrupt import Interrupted, Requests

SAVE_EVERY_S = 900.0  # in the middle of a long epoch: what a lost node costs at most
SAVE = 1  # below every signal's number: a process that is to stop says which signal told it


class Stopped(Exception):
    """Carries an interruption out of Lightning, which answers ``KeyboardInterrupt`` by exiting."""

    def __init__(self, interrupted: Interrupted) -> None:
        self.interrupted = interrupted
        super().__init__(str(interrupted))


class StateFile(CheckpointIO):
    """How Lightning's trainer reads and writes the state: whole or not at all.

    Parameters
    ----------
    identity: which training this is, see :func:`deft.changenet.training.resume.load_resume`.
    given: the checkpoint to go on from, already read and checked; None when starting anew.
    """

    def __init__(self, identity: dict[str, Any], given: dict[str, Any] | None) -> None:
        self.identity, self.given = identity, given

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write it into the folder of ``path``."""
        resume.save_resume(Path(path).parent, self.identity, checkpoint)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Return what is gone on from; Lightning lets go of it when it has."""
        assert self.given is not None
        given, self.given = self.given, None
        return given

    def remove_checkpoint(self, path: Any) -> None:
        """Remove it."""
        Path(path).unlink(missing_ok=True)


class ResumeState(Callback):
    """Saves the state of a training, and stops it when one of its processes was asked to stop.

    Parameters
    ----------
    requests: signals that this process got.
    going_on: the state that is taken over, None otherwise.
    start: how far the training of a model file was that is gone on from, None otherwise.
    """

    def __init__(
        self,
        parts: Parts,
        files: ModelFiles,
        history: History,
        resume_dir: Path,
        requests: Requests,
        going_on: dict[str, Any] | None,
        start: Progress | None,
    ) -> None:
        self.parts, self.files, self.history = parts, files, history
        self.resume_dir, self.requests = resume_dir, requests
        self.going_on, self.start = going_on, start
        self.saved = time.monotonic()
        self.kept = going_on is not None  # whether a state of this training lies in the folder

    # --- Lightning's hooks

    def on_train_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Make ready for the first epoch, be it new or half done."""
        self.trainer, self.module = trainer, pl_module
        state, start = self.going_on, self.start
        self.epoch_end = False
        if state is not None:
            processes, within = self.parts.processes, state["within"]
            pl_module.validation_batches = state["validation_batches"]
            if within is not None:
                start = Progress(**within["progress"])
                pl_module.begin(start.epoch, start.epoch_batches, within["seen"][processes.rank])
                pl_module.rate = within["rate"]
            if within is not None or processes.size == 1:
                resume.restore_random(state["random"][processes.rank], self.parts.device)
            state.clear()  # it is as large as the network and the optimizer's state
            self.going_on = None
        elif start is not None and not start.epoch_done:
            pl_module.begin(start.epoch, start.epoch_batches, None)
        self._stop_between(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Make ready for a new epoch."""
        self._stop_between(trainer.current_epoch)
        pl_module.begin(trainer.current_epoch, 0, None)

    def on_train_batch_end(self, trainer: Trainer, pl_module: TrainingModule, *_: Any) -> None:
        """After a step: save or stop if it is time."""
        if pl_module.stepped:
            self.safe_point()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:
        """Save the state of a finished epoch."""
        self.epoch_end = True
        self._save()
        self.epoch_end = False
        # Only now: until then the state of the epoch before counts on these files.
        self.files.remove_dropped()

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: TrainingModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what a training is beside Lightning's entries."""
        parts, at = self.parts, pl_module.progress(epoch_done=self.epoch_end)
        own = {
            "random": resume.random_state(parts.device),
            "seen": None if self.epoch_end else pl_module.stats.tensors(),
        }
        everyone = parts.processes.gathered(own)
        within = None
        if not self.epoch_end:
            seen = [found["seen"] for found in everyone]
            within = {"progress": asdict(at), "rate": pl_module.rate, "seen": seen}
        checkpoint |= {
            # A validation that is under way is made anew, as if the last step had just been made.
            "loops": loop_counters(at),
            "epochs_done": at.epoch + at.epoch_done,
            "within": within,
            "finished": pl_module.stopped_after is not None,
            "validation_batches": pl_module.validation_batches,
            "files": self.files.files,
            "topk": self.files.topk.kept,
            "history": asdict(self.history),
            "random": [found["random"] for found in everyone],
            "circumstances": circumstances(parts.device),
        }

    # --- safe points

    def safe_point(self) -> None:
        """Save or stop if it is time, in the middle of an epoch."""
        wanted = self.parts.processes.highest(self._wish())
        if not wanted:
            return
        self._save()
        if wanted != SAVE:
            at, epochs = self.module.progress(epoch_done=False), self.parts.spec.train.num_epochs
            where = f"after batch {at.epoch_batches} of {len(self.module.loader)}"
            self._leave(wanted, f"in epoch {at.epoch + 1} of {epochs}, {where}")

    def _stop_between(self, epoch: int) -> None:
        """Stop if it is time, before ``epoch``: what was made is saved already."""
        wanted = self.parts.processes.highest(self._wish())
        if wanted > SAVE:
            self._leave(wanted, f"after epoch {epoch} of {self.parts.spec.train.num_epochs}")

    def _wish(self) -> int:
        if self.requests.asked is not None:
            return self.requests.asked
        late = time.monotonic() - self.saved > SAVE_EVERY_S
        return SAVE if late and self.parts.processes.writes else 0

    def _save(self) -> None:
        self.trainer.save_checkpoint(self.resume_dir / resume.STATE_FILE, weights_only=False)
        self.saved, self.kept = time.monotonic(), True

    def _leave(self, number: int, where: str) -> None:
        text = (
            f"{where}, step {self.trainer.global_step}; the state is kept in {self.resume_dir}, "
            "and the same training, started again, goes on from there"
            if self.kept
            else "the training had not begun; started again, it begins"
        )
        raise Stopped(Interrupted(number, text))


def circumstances(device: torch.device) -> dict[str, Any]:
    """Return what may change the last digits of a result but makes no other training."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    threads = torch.get_num_threads()
    return {"threads": threads, "torch": str(torch.__version__), "device": name}


def take_over(
    state: dict[str, Any],
    epochs: int,
    files: ModelFiles,
    device: torch.device,
    say: Callable[[str], None],
) -> History:
    """Bring back files and curves of an interrupted training, and tell where it goes on."""
    history, within = History(**state["history"]), state["within"]
    if files.parts.processes.writes:
        files.restore(state["files"], state["topk"], say)
    done, step = state["epochs_done"], state["global_step"]
    if within is None:
        say(f"resuming after epoch {done}/{epochs}, step {step}")
        history.add_status("RUNNING", f"Resuming training after epoch {done - 1}.")
    else:
        say(f"resuming in epoch {done + 1}/{epochs}, step {step}")
        history.add_status("RUNNING", f"Resuming training in epoch {done}.")
    was, now = state["circumstances"], circumstances(device)
    differs = [f"{k} {was[k]} (now {now[k]})" for k in now if was.get(k) != now[k]]
    if differs:
        say(f"the state was written with {', '.join(differs)}: last digits may differ")
    return history
