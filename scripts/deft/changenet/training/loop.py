"""The training loop: epochs, steps, validation; what is written lies in ``saving``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deft.changenet.data.sampling import draw_epoch, epoch_generator
from deft.changenet.training import resume
from deft.changenet.training.checkpoint import Progress
from deft.changenet.training.epoch import Done, EpochRunner
from deft.changenet.training.event_log import EventLog
from deft.changenet.training.parts import Parts
from deft.changenet.training.progress import History, Reporter, Seconds
from deft.changenet.training.saving import Saver
from deft.changenet.training.schedule import Schedule
from deft.changenet.training.selection import EarlyStop
from deft.changenet.training.state import Keeper
from deft.changenet.training.validate import validate
from deft.core.errors import HardStop
from deft.core.interrupt import Requests

Log = Callable[[str], None]
PROCESS_SEED = 1_000_003  # keeps the processes' random streams apart


class TrainLoop:
    """One training's moving parts; :meth:`run` is the training.

    Parameters
    ----------
    folders: of the outputs, and of the state of an unfinished training.
    start: progress of the file that is resumed, None when starting anew.
    identity: which training this is, for the state of an interruption.
    requests: signals that ask this process to stop.
    sources: files that the training starts from; they are never deleted.
    """

    def __init__(
        self,
        parts: Parts,
        schedule: Schedule,
        folders: tuple[Path, Path],
        identity: dict[str, Any],
        requests: Requests,
        *,
        start: Progress | None = None,
        sources: Sequence[Path] = (),
    ) -> None:
        self.parts, self.schedule, self.start, self.sources = parts, schedule, start, sources
        self.spec, self.options, self.world = parts.spec, parts.options, parts.world
        self.model, self.data, self.validation = parts.model, parts.data, parts.validation
        self.out_dir, self.resume_dir = folders
        self.identity = identity
        self.runner = EpochRunner(parts)
        self.saver = Saver(parts, schedule, *folders)
        self.keeper = Keeper(parts, self.runner, self.saver, self.resume_dir, identity, requests)
        self.early = EarlyStop(parts.options.early_stop_epochs, parts.options.select_weights_by)
        self.draws = parts.draws
        if start is not None:
            self.runner.step, self.runner.batches_done = start.step, start.batches
        self.stopped_after: int | None = None
        self.continued = False  # from the state of an interruption

    @property
    def history(self) -> History:
        """Curves and status lines so far."""
        return self.keeper.history

    def run(self, chances: torch.Tensor, log: Log | None) -> None:
        """Train from the first unfinished epoch to the last, or to the early stop.

        Raises
        ------
        Interrupted after saving the state, when this process or another was asked to stop.
        """
        epochs = self.spec.train.num_epochs
        say = log or (lambda text: print(text, flush=True))
        first, done = self._first_epoch(say)
        steps = math.ceil(self._batches_each() / self.options.accumulate_steps)
        reporter = Reporter(
            epochs, first, log if self.world.writes else lambda text: None, steps, done.steps
        )
        events = (
            EventLog(self.spec, self.out_dir, fresh=not self.continued)
            if self.world.writes
            else None
        )
        try:
            self.keeper.look(first)
            for epoch in range(first, epochs):
                last = self._epoch(epoch, chances, done, reporter, events, say)
                done = Done()
                if last:
                    break
                self.keeper.look(epoch + 1)
        finally:
            reporter.close()
            if events is not None:
                events.close()
        if self.runner.steps_here == 0 and not self.saver.files:
            raise HardStop("no_new_checkpoint", "the training made no step", file=self.out_dir)
        if self.world.writes:
            self.history.finished()
            self.history.write(self.out_dir)

    def _epoch(
        self,
        epoch: int,
        chances: torch.Tensor,
        done: Done,
        reporter: Reporter,
        events: EventLog | None,
        say: Log,
    ) -> bool:
        """Train, validate and save one epoch; return whether it is the last."""
        began = time.monotonic()
        if done.seen is None:  # else the generators go on from where they were
            self._seed_process(epoch)
        order = draw_epoch(chances, epoch_generator(self.options.seed, epoch), self.draws)
        if done.batches and done.seen is None:
            self._compare_order(order)

        def after_step(at: dict[str, int]) -> None:
            reporter.step(epoch, at["steps"])
            if self.world.writes and at["batches"] < at["of"]:
                self.saver.mid_epoch(self._progress(epoch, at, done=False), order)
            self.keeper.look(epoch, at)

        trained = self.runner.run(epoch, order, self.schedule.rate(epoch), done, after_step)
        steps_took = time.monotonic() - began
        validated = self._validated(epoch, trained)
        last = self._is_last(epoch, validated, say)
        if self.world.writes:
            at = self._progress(epoch, trained)
            dropped = self.saver.end_of_epoch(at, validated, last=last)
            took = time.monotonic() - began
            self._note(epoch, trained, validated, Seconds(took, steps_took / trained["steps"]))
            self.keeper.after_epoch(epoch, stopped=self.stopped_after is not None)
            # Only now: until then the state of the epoch before counts on these files.
            self.saver.remove(dropped)
            self._show(reporter, events, epoch, trained, validated)
        self.keeper.epoch_is_saved()
        return last

    def _seed_process(self, epoch: int) -> None:
        """Give each of several processes its own random stream, anew for every epoch."""
        if self.world.size > 1:
            place = epoch * self.world.size + self.world.rank
            torch.manual_seed(self.options.seed + PROCESS_SEED * place)

    def _first_epoch(self, say: Log) -> tuple[int, Done]:
        """Return the epoch to begin with and what is done of it."""
        if self.world.writes:
            resume.sweep_folders(self.out_dir, self.resume_dir)
        state = resume.load_resume(self.resume_dir, self.identity, say)
        self.world.wait()  # nobody writes a new state before all have read the old one
        if state is not None:
            self.continued = True
            first, done = self.keeper.take_over(state, say)
            for row in self.history.validation:
                self.early.says_stop(row["epoch"], row)
            if state["finished"]:
                self.stopped_after = first - 1
                return self.spec.train.num_epochs, Done()
            return first, done
        self.history.add_status("STARTED", "Starting Training Loop.")
        if self.start is None:
            if self.world.writes:
                self.saver.remove_older(self.sources)
            return 0, Done()
        path = self.spec.train.resume_training_checkpoint_path
        self.history.add_status("RUNNING", f"Resuming training from checkpoint: {path}")
        if self.start.epoch_done:
            return self.start.epoch + 1, Done()
        self._compare_epochs(self.start, say)
        return self.start.epoch, Done(self.start.epoch_batches, self.start.epoch_steps)

    def _batches_each(self) -> int:
        """Return the batches of each process in an epoch."""
        return self.draws // (self.parts.batch_size * self.world.size)

    def _compare_epochs(self, start: Progress, say: Log) -> None:
        """Tell when a file from the middle of an epoch counts on other batches than these.

        TAO's does not hold the batch size; its finished epochs give the batches of one.
        """
        here, finished = self._batches_each(), start.batches - start.epoch_batches
        if start.shape is None and finished != start.epoch * here:
            say(
                f"resuming in the middle of epoch {start.epoch}: its {start.epoch} finished epochs "
                f"had {finished} batches, with the present batch size they have "
                f"{start.epoch * here}: the rows skipped as done may not be those that were seen"
            )

    def _compare_order(self, order: np.ndarray) -> None:
        """Refuse a file of ours from the middle of an epoch that saw other batches than these."""
        assert self.start is not None
        found, now = self.start.shape, self.saver.epoch_shape(order)
        if found is None or found == now:
            return
        changed = [name for name in now if found.get(name) != now[name]]
        differs = [f"{name} {found.get(name)} (now {now[name]})" for name in changed]
        raise HardStop(
            "spec_invalid",
            "train.resume_training_checkpoint_path: the file was saved in the middle of an epoch "
            f"with other batches: {', '.join(differs)}",
            file=self.spec.train.resume_training_checkpoint_path,
            fix="use the seed, the training table, dataset.classify.batch_size and train.num_gpus "
            "that it was saved with, or a file from an epoch's end",
        )

    def _validated(self, epoch: int, at: dict[str, Any]) -> dict[str, Any] | None:
        """Validate when it is due. The last epoch always is: else it could not be compared."""
        train = self.spec.train
        if (epoch + 1) % train.validation_interval and epoch + 1 != train.num_epochs:
            return None
        self.world.share_buffers(self.model)
        found = validate(
            self.model,
            self.validation,
            self.parts.device,
            precision=self.runner.precision,
            upstream_compat=self.options.upstream_compat,
            min_recall=self.options.min_recall,
            world=self.world,
            after_batch=lambda: self.keeper.look(epoch, {**at, "of": at["batches"]}),
        )
        if not math.isfinite(found["val_loss"]):
            raise HardStop(
                "no_new_checkpoint",
                f"the validation loss of epoch {epoch} is {found['val_loss']}",
                file=self.spec.source,
                fix="lower train.optim.lr",
            )
        batches = math.ceil(len(self.validation) / self.parts.batch_size)
        self.keeper.validation_batches = batches
        return found

    def _is_last(self, epoch: int, validated: dict[str, Any] | None, say: Log) -> bool:
        if epoch + 1 == self.spec.train.num_epochs:
            return True
        # Decided on validated epochs alone, so that the last file always has a figure.
        if validated is None or not self.early.says_stop(epoch, validated):
            return False
        self.stopped_after = epoch
        if self.world.writes:
            say(
                f"early stop after epoch {epoch + 1}: {self.options.select_weights_by} has not "
                f"improved since epoch {self.early.best_epoch + 1}"
            )
        return True

    def _progress(self, epoch: int, at: dict[str, Any], *, done: bool = True) -> Progress:
        return Progress(
            epoch=epoch,
            step=self.runner.step,
            batches=self.runner.batches_done,
            epoch_steps=at["steps"],
            epoch_batches=at["batches"],
            epoch_done=done,
            validation_batches=self.keeper.validation_batches,
        )

    def _note(self, epoch: int, trained: dict, validated: dict | None, seconds: Seconds) -> None:
        """Write curves and status: the epoch is finished."""
        train = self.spec.train
        at = {"epoch": epoch, "step": self.runner.step}
        rate = self.schedule.rate(epoch)
        self.history.train.append({**at, "train_loss": trained["train_loss"], "lr": rate})
        if validated:
            names = ("val_loss", "val_far_pct", "val_recall_pct", "val_far_at_recall_pct")
            self.history.validation.append(at | {k: validated[k] for k in names})
        steps_each = math.ceil(self._batches_each() / self.options.accumulate_steps)
        total = steps_each * train.num_epochs
        kpi = {**trained, **(validated or {})}
        self.history.epoch_done(epoch, train.num_epochs, self.runner.step, total, seconds, kpi)
        self.history.write(self.out_dir)

    def _show(
        self,
        reporter: Reporter,
        events: EventLog | None,
        epoch: int,
        trained: dict[str, Any],
        validated: dict[str, Any] | None,
    ) -> None:
        reporter.epoch(epoch, trained["train_loss"], validated)
        if events is not None:
            names = ("train_loss", "val_loss", "val_far_pct", "val_far_at_recall_pct")
            found = {**trained, **(validated or {}), "lr": self.schedule.rate(epoch)}
            events.epoch(epoch, {n: found.get(n) for n in (*names, "lr")}, self.model)
