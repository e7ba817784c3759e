"""The training loop: epochs, steps, validation; what is written lies in ``saving``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from deft.changenet.data.pairs import PairData
from deft.changenet.data.sampling import draw_epoch, epoch_generator
from deft.changenet.model import ChangeNet
from deft.changenet.spec import Spec
from deft.changenet.training import resume
from deft.changenet.training.checkpoint import Progress
from deft.changenet.training.distributed import World
from deft.changenet.training.epoch import Done, EpochRunner
from deft.changenet.training.event_log import EventLog
from deft.changenet.training.options import Options
from deft.changenet.training.progress import History, Reporter, Seconds
from deft.changenet.training.saving import Saver
from deft.changenet.training.schedule import Schedule
from deft.changenet.training.selection import EarlyStop
from deft.changenet.training.validate import validate
from deft.errors import HardStop

Log = Callable[[str], None]
PROCESS_SEED = 1_000_003  # keeps the processes' random streams apart


class TrainLoop:
    """One training's moving parts; :meth:`run` is the training.

    Parameters
    ----------
    model: on ``device``; its parameters are the optimizer's.
    start: progress of the file that is resumed, None when starting anew.
    identity: which training this is, for the state of an interruption.
    sources: files that the training starts from; they are never deleted.
    """

    def __init__(
        self,
        spec: Spec,
        options: Options,
        world: World,
        device: torch.device,
        model: ChangeNet,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        start: Progress | None,
        tables: tuple[PairData, PairData],
        folders: tuple[Path, Path],
        identity: dict[str, Any],
        sources: Sequence[Path] = (),
    ) -> None:
        self.spec, self.options, self.world, self.device = spec, options, world, device
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.data, self.validation = tables
        self.out_dir, self.resume_dir = folders
        self.identity, self.start, self.sources = identity, start, sources
        self.runner = EpochRunner(spec, options, world, device, model, optimizer, self.data)
        self.saver = Saver(
            spec, model, optimizer, schedule, *folders, optimizer_state=options.optimizer_state
        )
        self.early = EarlyStop(options.early_stop_epochs, options.select_weights_by)
        self.history = History()
        self.draws = options.draws_per_epoch or len(self.data)
        if options.upstream_compat and not spec.train.use_distributed_sampler:
            self.draws *= world.size  # there every process draws a whole epoch of its own
        if start is not None:
            self.runner.step, self.runner.batches_done = start.step, start.batches
        self.validation_batches = 0
        self.stopped_after: int | None = None
        self.continued = False  # from the state of an interruption

    def run(self, chances: torch.Tensor, log: Log | None) -> None:
        """Train from the first unfinished epoch to the last, or to the early stop."""
        epochs, seed = self.spec.train.num_epochs, self.options.seed
        say = log or (lambda text: print(text, flush=True))
        first, done = self._first_epoch(say)
        reporter = Reporter(epochs, first, log if self.world.writes else lambda text: None)
        events = (
            EventLog(self.spec, self.out_dir, fresh=not self.continued)
            if self.world.writes
            else None
        )
        try:
            for epoch in range(first, epochs):
                began = time.monotonic()
                self._seed_process(epoch)
                order = draw_epoch(chances, epoch_generator(seed, epoch), self.draws)
                trained = self.runner.run(
                    epoch,
                    order,
                    self.schedule.rate(epoch),
                    done,
                    after_step=lambda at, epoch=epoch: self._after_step(epoch, at),
                )
                steps_took = time.monotonic() - began
                validated = self._validated(epoch)
                last = self._is_last(epoch, validated, say)
                if self.world.writes:
                    at = self._progress(epoch, trained)
                    dropped = self.saver.end_of_epoch(at, validated, last=last)
                    took = time.monotonic() - began
                    seconds = Seconds(took, steps_took / trained["steps"])
                    self._note(epoch, trained, validated, seconds)
                    # Only now: until then the state of the epoch before counts on these files.
                    self.saver.remove(dropped)
                    self._show(reporter, events, epoch, trained, validated)
                done = Done()
                if last:
                    break
        finally:
            reporter.close()
            if events is not None:
                events.close()
        if self.runner.steps_here == 0 and not self.saver.files:
            raise HardStop("no_new_checkpoint", "the training made no step", file=self.out_dir)
        if self.world.writes:
            self.history.finished()
            self.history.write(self.out_dir)

    def _seed_process(self, epoch: int) -> None:
        """Give each of several processes its own random stream, anew for every epoch."""
        if self.world.size > 1:
            place = epoch * self.world.size + self.world.rank
            torch.manual_seed(self.options.seed + PROCESS_SEED * place)

    def _after_step(self, epoch: int, at: dict[str, int]) -> None:
        if self.world.writes:
            self.saver.mid_epoch(self._progress(epoch, at, done=False))

    def _first_epoch(self, say: Log) -> tuple[int, Done]:
        """Return the epoch to begin with and what is done of it."""
        state = resume.load_resume(self.resume_dir, self.identity, say)
        self.world.wait()  # nobody writes a new state before all have read the old one
        if state is not None:
            return self._continue(state, say), Done()
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

    def _compare_epochs(self, start: Progress, say: Log) -> None:
        """Tell when a file from the middle of an epoch counts on other batches than these.

        It does not hold the batch size; its finished epochs give the batches of one.
        """
        here = self.draws // (self.runner.batch_size * self.world.size)
        finished = start.batches - start.epoch_batches
        if finished != start.epoch * here:
            say(
                f"resuming in the middle of epoch {start.epoch}: its {start.epoch} finished epochs "
                f"had {finished} batches, with the present batch size they have "
                f"{start.epoch * here}: the rows skipped as done may not be those that were seen"
            )

    def _continue(self, state: dict[str, Any], say: Log) -> int:
        """Take over an interrupted training's state; return the first unfinished epoch."""
        self.continued = True
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.runner.precision.scaler.load_state_dict(state["scaler"])
        self.runner.step, self.runner.batches_done = state["step"], state["batches"]
        self.runner.steps_here = state["steps_here"]
        self.history = History(**state["history"])
        for row in self.history.validation:
            self.early.says_stop(row["epoch"], row)
        if self.world.writes:
            self.saver.restore(state["files"], state["topk"], say)
        if self.world.size == 1:
            resume.restore_rng(state)
        done, epochs = state["epochs_done"], self.spec.train.num_epochs
        say(f"resuming after epoch {done}/{epochs}, step {self.runner.step}")
        self.history.add_status("RUNNING", f"Resuming training after epoch {done - 1}.")
        if state["finished"]:
            self.stopped_after = done - 1
            return epochs
        return done

    def _validated(self, epoch: int) -> dict[str, Any] | None:
        """Validate when it is due. The last epoch always is: else it could not be compared."""
        train = self.spec.train
        if (epoch + 1) % train.validation_interval and epoch + 1 != train.num_epochs:
            return None
        self.world.share_buffers(self.model)
        found = validate(
            self.model,
            self.validation,
            self.device,
            precision=self.runner.precision,
            upstream_compat=self.options.upstream_compat,
            min_recall=self.options.min_recall,
            world=self.world,
        )
        if not math.isfinite(found["val_loss"]):
            raise HardStop(
                "no_new_checkpoint",
                f"the validation loss of epoch {epoch} is {found['val_loss']}",
                file=self.spec.source,
                fix="lower train.optim.lr",
            )
        self.validation_batches = math.ceil(len(self.validation) / self.runner.batch_size)
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
            validation_batches=self.validation_batches,
        )

    def _note(self, epoch: int, trained: dict, validated: dict | None, seconds: Seconds) -> None:
        """Write curves and status, then the resume state: the epoch is finished."""
        train = self.spec.train
        at = {"epoch": epoch, "step": self.runner.step}
        rate = self.schedule.rate(epoch)
        self.history.train.append({**at, "train_loss": trained["train_loss"], "lr": rate})
        if validated:
            names = ("val_loss", "val_far_pct", "val_recall_pct", "val_far_at_recall_pct")
            self.history.validation.append(at | {k: validated[k] for k in names})
        batches_each = self.draws // (self.runner.batch_size * self.world.size)
        total = math.ceil(batches_each / self.options.accumulate_steps) * train.num_epochs
        kpi = {**trained, **(validated or {})}
        self.history.epoch_done(epoch, train.num_epochs, self.runner.step, total, seconds, kpi)
        self.history.write(self.out_dir)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.runner.precision.scaler.state_dict(),
            "epochs_done": epoch + 1,
            "finished": self.stopped_after is not None,
            "step": self.runner.step,
            "steps_here": self.runner.steps_here,
            "batches": self.runner.batches_done,
            "files": self.saver.files,
            "topk": self.saver.topk.kept,
            "history": asdict(self.history),
        }
        resume.save_resume(self.resume_dir, self.identity, state)

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
