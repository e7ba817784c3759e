"""A training that is told to stop ends, started again, in the bytes of one that never was.

The real command line (`scripts/train.py`) trains the tiny workspace; signals hit it at known places
and at any. Compared are the digests of all model files, curves included.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import stage_calls
import torch
import yaml
from forked_cli import forked
from tiny_workspace import make_tiny_workspace
from waiting import WAIT_S, until
from workflow_tools import (
    REPOSITORY,
    RUN,
    clean_environment,
    log_entries,
    snakemake,
    snakemake_command,
    succeed,
    working_folder,
)

import deft.changenet.training.train  # noqa: F401  imported once, for all forks
from deft.changenet.training import resume
from deft.changenet.training import state as training_state
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.saving import ModelFiles
from deft.core.layout import Run

pytestmark = pytest.mark.long

EPOCHS, STEPS_EACH = 4, 6
STEPS = EPOCHS * STEPS_EACH
SEED = 20
# The first and the last step, and eight between them.
ANY_STEPS = [1, STEPS, *sorted(random.Random(SEED).sample(range(2, STEPS), 8))]
DECLARED = (
    "weights.json",
    "status.json",
    "experiment.yaml",
    "train_curve.csv",
    "validation_curve.csv",
)


# The tiny network draws nothing while it trains; large ones do (drop path). So this one shall too.
RANDOM_LAYER = """
import torch
def draw(layer, _, out):
    if type(layer).__name__ == "Decoder":
        return torch.nn.functional.dropout(out, 0.2, layer.training)
torch.nn.modules.module.register_module_forward_hook(draw)
"""


def random_layer_everywhere(workspace: Path) -> Path:
    """Return a folder for PYTHONPATH: processes that a training starts are no forks of this one."""
    folder = workspace.with_name(f"{workspace.name}.site")
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(RANDOM_LAYER)
    return folder


def arguments(*more: str) -> list[str]:
    given = ["--workspace", ".", "--run", RUN, "--phase", "baseline", "--device", "cpu"]
    named = stage_calls.arguments("train", Run(Path(), RUN), "baseline")
    return [*given, *named, "--seed", "3", "--epochs", str(EPOCHS), *more]


def make(path: Path, **train) -> Path:
    """Draw a workspace whose training augments, writes files by step and keeps the best ones."""
    workspace = make_tiny_workspace(path, base=24, validation=9, kpi=4, pool=4, pregen=2)
    spec_path = workspace / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(spec_path.read_text())
    spec["dataset"]["classify"]["augmentation_config"]["augment"] = True
    spec["train"] |= {"validation_interval": 1, "checkpoint_interval": 4}
    spec["train"] |= {"checkpoint_interval_unit": "step"}
    spec["train"]["checkpointer"] = {"enable_topk": True, "save_top_k": 2, "monitor": "val_loss"}
    spec["train"] |= train
    spec_path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return workspace


def phase(workspace: Path) -> Path:
    return workspace / "results" / RUN / "baseline"


def outcome(workspace: Path) -> dict[str, object]:
    """Return what two equal trainings share: every file's facts, both curves, and the choice."""
    out = phase(workspace) / "train"
    facts = json.loads((out / "weights.json").read_text())
    for entry in facts["files"]:
        assert (
            resume.hashlib.sha256((out / entry["path"]).read_bytes()).hexdigest()
            == (entry["sha256"])
        )
    curves = {name: (out / name).read_text() for name in DECLARED if name.endswith(".csv")}
    names = sorted(path.name for path in out.glob("*.pth"))
    return {**facts, **curves, "names": names}


def wipe_outputs(workspace: Path) -> None:
    """Do as Snakemake does with a failed job: its declared outputs are deleted."""
    for name in DECLARED:
        (phase(workspace) / "train" / name).unlink(missing_ok=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # a process with threads must not be forked
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("drawn") / "workspace")


@pytest.fixture(scope="module")
def undisturbed(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return train_whole(drawn, tmp_path_factory.mktemp("whole"))


def train_whole(drawn: Path, folder: Path) -> dict[str, object]:
    workspace = shutil.copytree(drawn, folder / "workspace")
    status, text = train(workspace)
    assert status == 0, text
    assert "resuming" not in text
    found = outcome(workspace)
    assert found["steps"] == STEPS
    return found


@pytest.fixture
def workspace(drawn: Path, tmp_path: Path) -> Path:
    return shutil.copytree(drawn, tmp_path / "workspace")


def train(workspace: Path, before: Callable[[], None] | None = None) -> tuple[int, str]:
    """Run the command line to its end in the workspace; return its status and output."""
    job = start(workspace, before)
    return job.wait(), job.text()


def start(workspace: Path, before: Callable[[], None] | None = None):
    def prepare() -> None:
        os.chdir(workspace)
        exec(RANDOM_LAYER, {})
        os.environ["PYTHONPATH"] = str(random_layer_everywhere(workspace))
        if before is not None:
            before()

    return forked("train", *arguments(), output=workspace.with_suffix(".txt"), before=prepare)


def goes_on_to(undisturbed: dict[str, object], workspace: Path, *, words: str = "resuming ") -> str:
    """Train again as the workflow does; the result must be that of the undisturbed training."""
    wipe_outputs(workspace)
    status, text = train(workspace)
    assert status == 0, text
    assert words in text, text
    assert "last digits" not in text
    assert outcome(workspace) == undisturbed
    return text


def in_step(number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a process ``act`` in the middle of its training's step ``number``."""

    def plant() -> None:
        original, made = TrainingModule.training_step, [0]

        def step(self, *given):
            made[0] += 1
            if made[0] == number:
                act()
            return original(self, *given)

        TrainingModule.training_step = step

    return plant


def told(*numbers: int) -> Callable[[], None]:
    """Return what sends this process signals."""

    def send() -> None:
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


# --- at a step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ANY_STEPS)
def test_sigterm_at_a_random_step(undisturbed, workspace: Path, step: int) -> None:
    status, text = train(workspace, in_step(step, told(TERM)))
    assert status == 128 + TERM
    epoch, batch = (step - 1) // STEPS_EACH + 1, (step - 1) % STEPS_EACH + 1
    assert f"stopped by SIGTERM: in epoch {epoch} of 4, after batch {batch} of 6" in text
    assert f"step {step}; the state is kept in " in text
    assert "Traceback" not in text and "HARD STOP" not in text
    assert not (phase(workspace) / "train/weights.json").exists()
    goes_on_to(undisturbed, workspace, words=f"resuming in epoch {epoch}/4, step {step}")


def test_stopped_again_and_again(undisturbed, workspace: Path) -> None:
    """Every start makes a few steps more; the state of a state is a state."""
    for made in (1, 2, 3, 7, 1):
        assert train(workspace, in_step(made, told(TERM)))[0] == 128 + TERM
        wipe_outputs(workspace)
    goes_on_to(undisturbed, workspace, words="step 14")


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        pytest.param((TERM, TERM), 143, id="twice"),
        pytest.param((USR1,), 138, id="slurm --signal", marks=pytest.mark.slow),
        pytest.param((INT,), 130, id="control-c", marks=pytest.mark.slow),
        pytest.param((USR1, INT, TERM, TERM), 138, id="all", marks=pytest.mark.slow),
    ],
)
def test_other_signals_and_several(undisturbed, workspace: Path, numbers, status) -> None:
    found, text = train(workspace, in_step(8, told(*numbers)))
    assert found == status, text
    goes_on_to(undisturbed, workspace, words="resuming in epoch 2/4, step 8")


# --- at other places ------------------------------------------------------------------------------


def call_in(owner: object, name: str, number: int, act: Callable[[], None]) -> Callable[[], None]:
    """Return what makes a process ``act`` when ``owner.name`` is called the ``number``-th time."""

    def plant() -> None:
        original, calls = getattr(owner, name), [0]

        def called(*given, **named):
            calls[0] += 1
            if calls[0] == number:
                act()
            return original(*given, **named)

        setattr(owner, name, called)

    return plant


def test_during_a_validation(undisturbed, workspace: Path) -> None:
    """Its outputs are thrown away: the state says that all steps of the epoch are made."""
    from deft.changenet import scoring

    plant = call_in(scoring, "load", 5, told(TERM))  # three batches a validation
    status, text = train(workspace, plant)
    assert status == 143 and "in epoch 2 of 4, after batch 6 of 6, step 12" in text
    goes_on_to(undisturbed, workspace, words="resuming in epoch 2/4, step 12")


def test_while_an_epoch_is_saved(undisturbed, workspace: Path) -> None:
    status, text = train(workspace, call_in(ModelFiles, "on_train_epoch_end", 3, told(TERM)))
    assert status == 143 and "stopped by SIGTERM: after epoch 3 of 4, step 18" in text
    goes_on_to(undisturbed, workspace, words="resuming after epoch 3/4, step 18")


def test_while_the_last_epoch_is_saved(undisturbed, workspace: Path) -> None:
    """Nothing is left to do, so it is done."""
    status, text = train(workspace, call_in(ModelFiles, "on_train_epoch_end", EPOCHS, told(TERM)))
    assert status == 0, text
    assert outcome(workspace) == undisturbed


def test_after_the_training_before_the_job_is_done(undisturbed, workspace: Path) -> None:
    """The job fails and loses its outputs, so the state must still be there."""
    from deft.stages import train as step

    status, _ = train(workspace, call_in(step, "update_phase", 1, told(TERM)))
    assert status == 143
    text = goes_on_to(undisturbed, workspace, words="resuming after epoch 4/4")
    assert "epoch 4/4 ·" not in text, "no epoch is trained again"


def test_after_the_job_is_done_as_far_as_it_can_tell(undisturbed, workspace: Path) -> None:
    """Snakemake was killed, or its plugin lost the job: it deletes the outputs and starts again."""
    assert train(workspace)[0] == 0
    text = goes_on_to(undisturbed, workspace, words="resuming after epoch 4/4")
    assert "epoch 4/4 ·" not in text, "no epoch is trained again"
    output = workspace.with_name("infer.txt")
    where = ["--workspace", ".", "--run", RUN, "--phase", "baseline", "--device", "cpu"]
    where += stage_calls.arguments("infer", Run(Path(), RUN), "baseline")
    job = forked("infer", *where, output=output, before=lambda: os.chdir(workspace))
    assert job.wait() == 0, job.text()
    assert not (phase(workspace) / "train_resume").exists(), "now it is known to be done"
    assert outcome(workspace) == undisturbed


def test_before_the_first_step(undisturbed, workspace: Path) -> None:
    from deft.changenet.training import own_process as training

    status, text = train(workspace, call_in(training, "build_model", 1, told(TERM)))
    assert status == 143 and "the training had not begun" in text
    wipe_outputs(workspace)
    assert train(workspace)[0] == 0
    assert outcome(workspace) == undisturbed


@pytest.mark.parametrize("when", [0, 1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))])
def test_sigkill_soon_after_sigterm(undisturbed, workspace: Path, when: int) -> None:
    """However far the saving has come, the file is the state of before or of now, and whole."""
    job = start(workspace, in_step(11, told(TERM)))
    resumed = phase(workspace) / "train_resume"
    until(lambda: resumed.is_dir(), "the first epoch")
    until(lambda: job.text().count("epoch 1/4"), "its end")
    time.sleep((0, 0.02, 0.05, 0.2)[when])
    os.kill(job.pid, signal.SIGKILL)
    assert job.wait() in (-signal.SIGKILL, 143)
    goes_on_to(undisturbed, workspace)


def test_killed_in_the_middle_of_writing_the_state(undisturbed, workspace: Path) -> None:
    """Half a file has another name; the state of the last epoch's end counts."""

    def plant() -> None:
        in_step(9, told(TERM))()
        original = torch.save

        def half(data, handle, *given, **named):
            if isinstance(data, dict) and data.get("within") is not None:
                handle.write(b"PK half a state")
                handle.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return original(data, handle, *given, **named)

        torch.save = half

    assert train(workspace, plant)[0] == -signal.SIGKILL
    goes_on_to(undisturbed, workspace, words="resuming after epoch 1/4, step 6")


def test_a_long_epoch_is_saved_on_the_way(undisturbed, workspace: Path) -> None:
    """A lost node gives no signal: it must not cost an epoch of hours."""

    def plant() -> None:
        training_state.SAVE_EVERY_S = 0.0
        in_step(10, told(signal.SIGKILL))()

    assert train(workspace, plant)[0] == -signal.SIGKILL
    goes_on_to(undisturbed, workspace, words="resuming in epoch 2/4, step 9")


# --- whose state ----------------------------------------------------------------------------------


def change_spec(workspace: Path, change: Callable[[dict], None]) -> None:
    path = workspace / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    change(spec)
    path.write_text(yaml.safe_dump(spec, sort_keys=False))


def other_batch_size(workspace: Path) -> None:
    change_spec(workspace, lambda spec: spec["dataset"]["classify"].update(batch_size=3))


def other_rate(workspace: Path) -> None:
    change_spec(workspace, lambda spec: spec["train"]["optim"].update(lr=3e-4))


def other_table(workspace: Path) -> None:
    path = workspace / "train/base/training_set.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def other_picture(workspace: Path) -> None:
    path = sorted((workspace / "kpi/images/base").rglob("*.png"))[3]
    shutil.copyfile(sorted((workspace / "kpi/images/base").rglob("*.png"))[4], path)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_batch_size, "spec"),
        pytest.param(other_rate, "spec", marks=pytest.mark.slow),
        (other_table, "pictures, tables"),
        (other_picture, "pictures"),
    ],
)
def test_the_state_of_another_training_is_not_taken(
    drawn: Path, tmp_path: Path, change: Callable[[Path], None], what: str
) -> None:
    """Not even in the first epoch, where no finished one could tell the difference."""
    stopped, fresh = (shutil.copytree(drawn, tmp_path / name) for name in ("stopped", "fresh"))
    assert train(stopped, in_step(2, told(TERM)))[0] == 143
    for workspace in (stopped, fresh):
        change(workspace)
    status, text = train(stopped)
    assert status == 0, text
    assert f"resume state is of another training ({what}): training starts anew" in text
    assert train(fresh)[0] == 0
    assert outcome(stopped) == outcome(fresh)


def test_the_state_of_another_logic_is_not_taken(drawn: Path, tmp_path: Path) -> None:
    from deft.changenet.training import own_process as training

    def newer() -> None:
        training.logic_version = lambda stage: 10_000

    workspace = shutil.copytree(drawn, tmp_path / "workspace")
    assert train(workspace, in_step(2, told(TERM)))[0] == 143
    status, text = train(workspace, newer)
    assert status == 0 and "another training (logic): training starts anew" in text, text


# --- several processes ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A workspace whose training takes two processes, and its undisturbed outcome."""
    workspace = make(tmp_path_factory.mktemp("two") / "workspace", num_gpus=2)
    change_spec(workspace, lambda spec: spec["dataset"]["classify"].update(batch_size=2))
    return workspace, train_whole(workspace, tmp_path_factory.mktemp("two_whole"))


def the_group(job: subprocess.Popen) -> None:
    os.killpg(job.pid, TERM)


def the_launcher(job: subprocess.Popen) -> None:
    os.kill(job.pid, TERM)


def one_worker(job: subprocess.Popen) -> None:
    """The second of the two: the other one must stop at the same step."""
    workers = [p for p in psutil.Process(job.pid).children() if "spawn_main" in str(p.cmdline())]
    os.kill(max(w.pid for w in workers), USR1)


@pytest.mark.parametrize(
    ("whom", "status"),
    [
        pytest.param(one_worker, 138, marks=pytest.mark.slow),
        pytest.param(the_group, 143, marks=pytest.mark.slow),
        pytest.param(the_launcher, 143, marks=pytest.mark.slow),
    ],
)
def test_two_processes_stop_at_one_step(two, tmp_path: Path, whom, status: int) -> None:
    drawn, undisturbed = two
    workspace = shutil.copytree(drawn, tmp_path / "workspace")
    output = tmp_path / "output.txt"
    with output.open("w") as handle:
        job = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "scripts/train.py"), *arguments()],
            cwd=workspace,
            env=clean_environment() | {"PYTHONPATH": str(random_layer_everywhere(workspace))},
            stdout=handle,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    family = []
    try:
        until(lambda: "epoch 1/4" in output.read_text(), "the first epoch")
        family = psutil.Process(job.pid).children(recursive=True)
        whom(job)
        found = job.wait(WAIT_S)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    text = output.read_text()
    assert found == status, text
    assert "the state is kept in " in text and "Traceback" not in text
    assert len(family) >= 3
    until(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), "their end")
    goes_on_to(undisturbed, workspace)


# --- through the workflow -------------------------------------------------------------------------


@pytest.mark.workflow
@pytest.mark.slow
def test_the_rule_run_again_goes_on(tmp_path: Path) -> None:
    """Snakemake deletes the failed job's outputs and reports the failure; a second run mends it."""
    settings = {"training_epochs": 40}
    target = f"results/{RUN}/baseline/train/weights.json"
    stopped, whole = (make(tmp_path / name) for name in ("stopped", "whole"))
    succeed(snakemake(whole, target, config=settings))
    output = tmp_path / "output.txt"
    with output.open("w") as handle:
        main = subprocess.Popen(
            snakemake_command(stopped, target, config=settings),
            cwd=working_folder(stopped),
            env=clean_environment(),
            stdout=handle,
            stderr=subprocess.STDOUT,
        )
    log, notes = phase(stopped) / "train/train.log", stopped / "results" / RUN / ".jobs"
    try:
        until(lambda: log.is_file() and "epoch 3/40" in log.read_text(), "the third epoch")
        (note,) = notes.glob("*.json")
        os.kill(json.loads(note.read_text())["pid"], TERM)
        assert main.wait(WAIT_S) == 1
    finally:
        if main.poll() is None:
            main.kill()
            main.wait()
    assert "stopped by SIGTERM: " in output.read_text()
    assert "HARD STOP" not in output.read_text()
    assert not (stopped / target).exists()
    succeed(snakemake(stopped, target, config=settings))
    assert "resuming " in log.read_text()
    assert outcome(stopped) == outcome(whole)
    trained = [e["status"] for e in log_entries(stopped) if e["stage"] == "train"]
    assert trained == ["ok"], "an interruption is no error of the stage"
