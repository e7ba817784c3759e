"""What Lightning would do by itself and must not: leave files, ask the network, take signals."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from changenet_pairs import spec_data
from pytorch_lightning import Trainer
from training_runs import run

from deft.changenet.spec import from_dict
from deft.changenet.training import resume
from deft.changenet.training.module import TrainingModule
from deft.core.interrupt import Requests


class Killed(Exception):
    pass


def test_nothing_lies_beside_the_files(workspace, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="the package that writes event files is absent")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    spec = from_dict(spec_data(num_epochs=2, tensorboard={"enabled": True}))
    run(spec, workspace, tmp_path)
    assert list(here.iterdir()) == []
    assert not (tmp_path / "resume").exists()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("model_epoch_000_step_00003.pth", "model_epoch_001_step_00006.pth"),
        *("experiment.yaml", "weights.json", "status.json"),
        *("train_curve.csv", "validation_curve.csv", "tensorboard"),
    }
    events = [path.name for path in (tmp_path / "out/tensorboard").iterdir()]
    assert len(events) == 1 and events[0].startswith("events.out.tfevents.")


def test_no_connection_is_made(workspace, tmp_path, monkeypatch):
    def refused(*_):
        raise AssertionError("a training opens a connection")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    result, lines = run(from_dict(spec_data(num_epochs=1)), workspace, tmp_path)
    assert result["steps"] == 3 and len(lines) == 1


def test_slurm_and_signals_are_not_lightnings(workspace, tmp_path, monkeypatch):
    """It would count SLURM's tasks, requeue the job on SIGUSR1, and answer SIGTERM by itself."""
    for name, value in (
        *(("SLURM_NTASKS", "4"), ("SLURM_JOB_NAME", "train"), ("SLURM_JOB_ID", "7")),
        *(("SLURM_PROCID", "2"), ("SLURM_LOCALID", "2"), ("SLURM_NODEID", "1")),
    ):
        monkeypatch.setenv(name, value)
    found, begin = [], TrainingModule.begin

    def noted(module, *given):
        found.extend(signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
        return begin(module, *given)

    monkeypatch.setattr(TrainingModule, "begin", noted)
    before = signal.getsignal(signal.SIGTERM)
    result, _ = run(from_dict(spec_data(num_epochs=1)), workspace, tmp_path)
    assert result["steps"] == 3
    assert {handler.__func__ for handler in found} == {Requests._note}
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.filterwarnings("ignore:The `srun` command")
def test_what_is_switched_off_is_still_there():
    """Both are private: another release of Lightning may name them otherwise."""
    trainer = Trainer(logger=False, enable_checkpointing=False)
    assert callable(trainer._signal_connector.register_signal_handlers)
    assert callable(trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor)


def test_a_state_of_before_lightning_is_told_and_left(workspace, tmp_path, monkeypatch):
    """Its training starts anew; nothing of it is misread."""
    save = resume.save_resume

    def older(folder, identity, state):
        entries = {"model": {}, "optimizer": {}, "scaler": {}, "epochs_done": 1, "within": None}
        save(folder, identity | {"layout": 2}, entries)
        raise Killed

    monkeypatch.setattr(resume, "save_resume", older)
    spec = from_dict(spec_data(num_epochs=2))
    with pytest.raises(Killed):
        run(spec, workspace, tmp_path)
    monkeypatch.undo()
    result, lines = run(spec, workspace, tmp_path)
    assert "another training (layout): training starts anew" in lines[0]
    assert result["steps"] == 6


def test_big_states_are_let_go_of(workspace, tmp_path, monkeypatch):
    """A state is as large as network and optimizer together: it must not stay for the training."""
    spec, begin = from_dict(spec_data(num_epochs=3)), TrainingModule.begin

    def dies(module, epoch, *given):
        if epoch == 1:
            raise MemoryError
        return begin(module, epoch, *given)

    monkeypatch.setattr(TrainingModule, "begin", dies)
    with pytest.raises(MemoryError):
        run(spec, workspace, tmp_path)
    monkeypatch.undo()
    given = []

    def seen(module, *rest):
        given.append([c.going_on for c in module.trainer.callbacks if hasattr(c, "going_on")])
        assert module.trainer.strategy.checkpoint_io.given is None
        return begin(module, *rest)

    monkeypatch.setattr(TrainingModule, "begin", seen)
    run(spec, workspace, tmp_path)
    assert given[0] == [None]


def in_a_fresh_process(code: str) -> int:
    """Return the exit status of Python code that sees what this process could import."""
    paths = os.pathsep.join(path for path in sys.path if path)
    env = os.environ | {"PYTHONPATH": paths}
    return subprocess.run([sys.executable, "-c", code], env=env).returncode


def test_lightning_is_loaded_by_trainings_alone():
    code = "import sys, deft.stages.train\nsys.exit('pytorch_lightning' in sys.modules)"
    assert in_a_fresh_process(code) == 0


def test_what_metrics_draw_with_is_left_out_of_a_training_alone():
    code = (
        "import sys; from deft.changenet.training import bare_metrics\n"
        "import deft.changenet.training.trainer\n"
        "assert not {'scipy.signal', 'matplotlib'} & set(sys.modules)\n"
        "from lightning_utilities.core.imports import RequirementCache, package_available\n"
        "assert RequirementCache('matplotlib') and package_available('scipy')"
    )
    assert in_a_fresh_process(code) == 0
