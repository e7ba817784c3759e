"""When the state of a running training is saved, and taking it over.

Safe points are the optimizer steps, the batches of a validation, and the ends of epochs. At each,
all processes ask each other whether one of them was told to stop; so they stop at the same one.
A state from the middle of an epoch holds what the epoch's figures need of the steps made so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from deft.changenet.training import resume
from deft.changenet.training.epoch import Done, EpochRunner
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import History
from deft.changenet.training.saving import Saver
from deft.core.interrupt import Interrupted, Requests

SAVE_EVERY_S = 900.0  # in the middle of a long epoch: what a lost node costs at most
SAVE = 1  # below every signal's number: a process that is to stop says which signal told it


class Keeper:
    """Saves the state of a training, and stops it when one of its processes was asked to stop.

    Parameters
    ----------
    identity: which training this is, see :func:`deft.changenet.training.resume.load_resume`.
    requests: signals that this process got.
    """

    def __init__(
        self,
        parts: Parts,
        runner: EpochRunner,
        saver: Saver,
        resume_dir: Path,
        identity: dict[str, Any],
        requests: Requests,
    ) -> None:
        self.parts, self.runner, self.saver = parts, runner, saver
        self.resume_dir, self.identity, self.requests = resume_dir, identity, requests
        self.history = History()
        self.validation_batches = 0
        self.saved = time.monotonic()
        self.kept = False  # whether a state of this training lies in the folder

    def look(self, epoch: int, at: dict[str, int] | None = None) -> None:
        """Save or stop if it is time; ``at``: the counts of an unfinished epoch.

        Without ``at`` the epochs before ``epoch`` are finished and saved, nothing else is done.
        """
        world = self.parts.world
        wanted = world.highest(self._wish())
        if not wanted or (wanted == SAVE and at is None):
            return
        if at is not None:
            self.in_epoch(epoch, at)
        if wanted == SAVE:
            return
        world.wait()  # nobody leaves before the state is written
        raise Interrupted(wanted, self._where(epoch, at))

    def _wish(self) -> int:
        if self.requests.asked is not None:
            return self.requests.asked
        late = time.monotonic() - self.saved > SAVE_EVERY_S
        return SAVE if late and self.parts.world.writes else 0

    def _where(self, epoch: int, at: dict[str, int] | None) -> str:
        epochs = self.parts.spec.train.num_epochs
        if at is not None:
            made = f"in epoch {epoch + 1} of {epochs}, after batch {at['batches']} of {at['of']}"
        elif self.kept:
            made = f"after epoch {epoch} of {epochs}"
        else:
            return "the training had not begun; started again, it begins"
        return (
            f"{made}, step {self.runner.step}; the state is kept in {self.resume_dir}, and the "
            "same training, started again, goes on from there"
        )

    def in_epoch(self, epoch: int, at: dict[str, int]) -> None:
        """Save the state in the middle of an epoch: steps, or the validation, are still to do."""
        own = {
            "random": resume.random_state(self.parts.device),
            "seen": self.runner.seen.tensors(),
        }
        everyone = self.parts.world.gathered(own)
        if self.parts.world.writes:
            counts = {name: at[name] for name in ("steps", "batches")}
            seen = [found["seen"] for found in everyone]
            random = [found["random"] for found in everyone]
            self._save(epoch, random, within={**counts, "seen": seen}, stopped=False)
        self.saved, self.kept = time.monotonic(), True

    def after_epoch(self, epoch: int, *, stopped: bool) -> None:
        """Save the state of a finished epoch; by the process that writes alone.

        Several processes seed their generators anew for each epoch: theirs are not needed.
        """
        random = [resume.random_state(self.parts.device)]
        self._save(epoch + 1, random, within=None, stopped=stopped)

    def epoch_is_saved(self) -> None:
        """Note, in every process, that the state of an epoch's end was written."""
        self.saved, self.kept = time.monotonic(), True

    def _save(self, epochs_done: int, random: list, *, within: Any, stopped: bool) -> None:
        runner = self.runner
        state = {
            "model": self.parts.model.state_dict(),
            "optimizer": self.parts.optimizer.state_dict(),
            "scaler": runner.precision.scaler.state_dict(),
            "epochs_done": epochs_done,
            "within": within,
            "finished": stopped,
            "step": runner.step,
            "steps_here": runner.steps_here,
            "batches": runner.batches_done,
            "validation_batches": self.validation_batches,
            "files": self.saver.files,
            "topk": self.saver.topk.kept,
            "history": asdict(self.history),
            "random": random,
            "circumstances": self._circumstances(),
        }
        resume.save_resume(self.resume_dir, self.identity, state)

    def take_over(self, state: dict[str, Any], say: Callable[[str], None]) -> tuple[int, Done]:
        """Put everything back to where ``state`` was saved; return the epoch and what is done."""
        parts, runner, world = self.parts, self.runner, self.parts.world
        parts.model.load_state_dict(state["model"])
        parts.optimizer.load_state_dict(state["optimizer"])
        runner.precision.scaler.load_state_dict(state["scaler"])
        runner.step, runner.batches_done = state["step"], state["batches"]
        runner.steps_here = state["steps_here"]
        self.validation_batches, self.kept = state["validation_batches"], True
        self.history = History(**state["history"])
        if world.writes:
            self.saver.restore(state["files"], state["topk"], say)
        within, done = state["within"], state["epochs_done"]
        if within is not None or world.size == 1:
            resume.restore_random(state["random"][world.rank], parts.device)
        epochs = parts.spec.train.num_epochs
        if within is None:
            say(f"resuming after epoch {done}/{epochs}, step {runner.step}")
            self.history.add_status("RUNNING", f"Resuming training after epoch {done - 1}.")
        else:
            say(f"resuming in epoch {done + 1}/{epochs}, step {runner.step}")
            self.history.add_status("RUNNING", f"Resuming training in epoch {done}.")
        now = self._circumstances()
        was = state["circumstances"]
        differs = [f"{k} {was[k]} (now {now[k]})" for k in now if was.get(k) != now[k]]
        if differs:
            say(f"the state was written with {', '.join(differs)}: last digits may differ")
        if within is None:
            return done, Done()
        return done, Done(within["batches"], within["steps"], within["seen"][world.rank])

    def _circumstances(self) -> dict[str, Any]:
        """Return what may change the last digits of a result but makes no other training."""
        device = self.parts.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        threads = torch.get_num_threads()
        return {"threads": threads, "torch": str(torch.__version__), "device": name}
