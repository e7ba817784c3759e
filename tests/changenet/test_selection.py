"""The choice of weights, early stop, and which of the best are kept."""

import json

import numpy as np
import pytest
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.spec import from_dict
from deft.changenet.training import callbacks, resume
from deft.changenet.training.callbacks import Status
from deft.changenet.training.options import Options
from deft.changenet.training.selection import EarlyStop, best_file, far_at_recall
from deft.core.errors import HardStop

pytestmark = pytest.mark.long

# Validation figures by epoch: (loss, FAR at the required recall in percent).
COURSE = [(0.9, 40.0), (0.5, 20.0), (0.6, 10.0), (0.6, 10.0), (0.7, 30.0), (0.4, 50.0)]


@pytest.fixture
def course(monkeypatch):
    """Validations that give the figures above, whatever the network does."""
    calls = []
    monkeypatch.setattr(callbacks, "validate", given_course(COURSE, calls))
    return calls


def given_course(course, calls=None):
    original, calls = callbacks.validate, [] if calls is None else calls

    def given(*args, **named):
        loss, far = course[len(calls)]
        calls.append(loss)
        found = original(*args, **named)
        return found | {"val_loss": loss, "val_far_at_recall_pct": far}

    return given


def epochs(result):
    return [f["epoch"] for f in result["files"]]


def test_weights_by_loss_and_by_far(workspace, tmp_path, course):
    spec = from_dict(spec_data(num_epochs=5))
    result, _ = run(spec, workspace, tmp_path)
    assert result["best_val"] == result["best_by"]["val_loss"] == "model_epoch_001_step_00006.pth"
    # Equal FARs and losses: the later epoch.
    assert result["best_by"]["val_far"] == "model_epoch_003_step_00012.pth"
    assert (result["selected_by"], result["stopped_after_epoch"]) == ("val_loss", None)
    course.clear()
    by_far, _ = run(spec, workspace, tmp_path / "far", select_weights_by="val_far", min_recall=0.9)
    assert by_far["best_val"] == "model_epoch_003_step_00012.pth"
    assert by_far["min_recall_pct"] == 90
    assert by_far["files"][3]["val_far_at_recall_pct"] == 10.0


@pytest.mark.parametrize(
    ("judge", "patience", "last"), [("val_loss", 2, 3), ("val_far", 2, 4), ("val_loss", 4, 5)]
)
def test_early_stop(workspace, tmp_path, course, judge, patience, last):
    spec = from_dict(spec_data(num_epochs=6, checkpoint_interval=6))
    result, lines = run(
        spec, workspace, tmp_path, select_weights_by=judge, early_stop_epochs=patience
    )
    assert epochs(result) == [last]
    stopped = last < 5
    assert result["stopped_after_epoch"] == (last if stopped else None)
    assert any("early stop" in line for line in lines) is stopped
    assert result["files"][0]["val_loss"] == COURSE[last][0]


def test_early_stop_waits_for_a_validation():
    early = EarlyStop(1)
    assert not early.says_stop(0, None) and not early.says_stop(1, None)
    assert not early.says_stop(2, {"val_loss": 0.5})
    assert early.says_stop(3, {"val_loss": 0.5}), "a tie is no improvement"
    assert not EarlyStop(None).says_stop(9, {"val_loss": 1.0})


def test_best_files_are_kept(workspace, tmp_path, course):
    data = spec_data(num_epochs=6, checkpoint_interval=6)
    data["train"]["checkpointer"] = {
        "enable_topk": True,
        "save_top_k": 2,
        "monitor": "val_far",
        "filename": "best_{epoch:02d}_{val_loss:.1f}",
    }
    result, _ = run(from_dict(data), workspace, tmp_path)
    names = [f["path"] for f in result["files"]]
    assert names == ["model_epoch_005_step_00018.pth", "best_02_0.6.pth", "best_03_0.6.pth"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.pth")) == sorted(names)
    assert [f.get("monitored") for f in result["files"]] == [None, 10.0, 10.0]
    assert result["latest"] == names[0]
    assert result["best_by"] == {"val_loss": names[0], "val_far": names[2]}


class Killed(Exception):
    pass


def best_two(**options):
    data = spec_data(num_epochs=5, checkpoint_interval=5)
    named = {"enable_topk": True, "save_top_k": 2, "monitor": "val_far", **options}
    data["train"]["checkpointer"] = named
    return from_dict(data)


@pytest.fixture
def undisturbed(workspace, tmp_path, course):
    result, _ = run(best_two(), workspace, tmp_path / "whole")
    course.clear()
    return result


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_a_best_file_drops_out(
    undisturbed, workspace, tmp_path, course, monkeypatch, when
):
    """Epoch 2 drops epoch 0's file: the kill hits just before or after the state is written."""
    original = resume.save_resume

    def dies(folder, identity, state):
        third = state["epochs_done"] == 3
        if when == "after" or not third:
            original(folder, identity, state)
        if third:
            raise Killed

    monkeypatch.setattr(resume, "save_resume", dies)
    with pytest.raises(Killed):
        run(best_two(), workspace, tmp_path)
    monkeypatch.setattr(resume, "save_resume", original)
    if when == "before":
        course.pop()  # the epoch is validated again
    for file in (tmp_path / "out").iterdir():  # as the workflow does with a failed job's outputs
        file.unlink()
    resumed, lines = run(best_two(), workspace, tmp_path)
    assert lines[0].startswith(f"resuming after epoch {2 if when == 'before' else 3}/5")
    assert resumed["files"] == undisturbed["files"]
    names = sorted(f["path"] for f in resumed["files"])
    assert sorted(p.name for p in (tmp_path / "out").glob("*.pth")) == names


@pytest.mark.parametrize(("gone", "goes_on"), [(0, True), (1, False)])
def test_a_best_file_that_is_gone(
    undisturbed, workspace, tmp_path, course, monkeypatch, gone, goes_on
):
    """Only the worst one may be: an epoch that is trained again may have dropped it."""
    original = Status.on_train_epoch_end

    def dies(self, trainer, module):
        if module.loader.epoch == 2:
            raise Killed
        original(self, trainer, module)

    monkeypatch.setattr(Status, "on_train_epoch_end", dies)
    with pytest.raises(Killed):
        run(best_two(), workspace, tmp_path)
    monkeypatch.undo()
    for folder in ("out", "resume"):
        (tmp_path / folder / f"model_best_00{gone}.pth").unlink()
    monkeypatch.setattr(callbacks, "validate", given_course(COURSE[2:]))
    if not goes_on:
        with pytest.raises(HardStop, match="counts on model_best_001.pth"):
            run(best_two(), workspace, tmp_path)
        return
    resumed, lines = run(best_two(), workspace, tmp_path)
    assert any("model_best_000.pth is gone" in line for line in lines)
    assert resumed["files"] == undisturbed["files"]


def test_files_of_another_training_are_removed(workspace, tmp_path, course):
    """But for the one that the training starts from, and files that no training names so."""
    out = tmp_path / "out"
    run(best_two(), workspace, tmp_path)
    (out / "model_epoch_001_step_99999.pth").write_bytes(b"old")
    (out / "model_best_of_all.pth").write_bytes(b"the user's")
    start = out / "model_epoch_004_step_00015.pth"
    course.clear()
    changed = best_two(save_top_k=1)
    result, _ = run(changed, workspace, tmp_path, seed=2, initial_weights=str(start))
    wanted = {f["path"] for f in result["files"]} | {start.name, "model_best_of_all.pth"}
    assert {p.name for p in out.glob("*.pth")} == wanted
    assert result["initialised_from"]["path"] == start.as_posix()


def test_best_files_instead_of_periodic_ones(workspace, tmp_path, course):
    data = spec_data(num_epochs=4)
    data["train"]["checkpointer"] = {"enable_topk": True, "replace_periodic": True}
    result, _ = run(from_dict(data), workspace, tmp_path)
    names = [f["path"] for f in result["files"]]
    assert names == ["model_epoch_003_step_00012.pth", "model_best_001.pth"]
    assert result["best_val"] == "model_best_001.pth"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dirpath": "/elsewhere"}, "checkpointer.dirpath"),
        ({"auto_insert_metric_name": True}, "checkpointer.auto_insert_metric_name"),
        ({"monitor": "val_miou"}, "checkpointer.monitor"),
        ({"filename": "best"}, "must name each epoch's file"),
        ({"filename": "best_{accuracy}"}, "no pattern"),
        ({"filename": "../{epoch}"}, "without a folder"),
        ({"filename": "model_epoch_{epoch:03d}_step_{step:05d}"}, "names of the periodic files"),
        ({"filename": "model_epoch_{epoch}_step_{val_loss:.0f}"}, "names of the periodic files"),
        ({"filename": "best\n{epoch}"}, "control characters"),
        ({"filename": "a{epoch:999999999999}"}, "no format of 30 characters at most"),
        ({"filename": "a{epoch:{step}}"}, "no format of 30 characters at most"),
        ({"filename": "a" * 250 + "{epoch}"}, "200 bytes at most"),
        ({"filename": "a{epoch[0]}"}, "no pattern"),
    ],
)
def test_checkpointer_keys_that_are_refused(options, words):
    data = spec_data()
    data["train"]["checkpointer"] = {"enable_topk": True, **options}
    with pytest.raises(HardStop, match=words) as caught:
        from_dict(data)
    assert caught.value.code == "spec_invalid"
    data["train"]["checkpointer"]["enable_topk"] = False
    assert from_dict(data).train.checkpointer


def test_far_at_recall_is_the_kpis():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.9], np.float32)
    bad = np.array([False, False, True, False, True, True])
    assert far_at_recall(scores, bad, 1.0) == pytest.approx(100 / 3)
    # At a lower recall the KPI takes the best F1: two of three defects, no good part rejected.
    bad = np.array([True, False, False, False, True, True])
    assert far_at_recall(scores, bad, 1.0) == 100.0
    assert far_at_recall(scores, bad, 0.6) == 0.0
    assert far_at_recall(scores, np.zeros(6, bool), 1.0) is None


def test_best_of_none():
    assert best_file([{"val_loss": None, "epoch": 0}], "val_loss") is None


def test_val_far_needs_both_classes(workspace, tmp_path):
    table = (workspace / "val.csv").read_text().splitlines()
    one_class = [table[0], *(line for line in table if "PASS" in line)]
    (workspace / "val_good.csv").write_text("\n".join(one_class) + "\n")
    data = spec_data(num_epochs=1)
    data["dataset"]["classify"]["validation_dataset"]["csv_path"] = "val_good.csv"
    with pytest.raises(HardStop, match="only good parts") as caught:
        run(from_dict(data), workspace, tmp_path, select_weights_by="val_far")
    assert caught.value.code == "csv_invalid"
    result, _ = run(from_dict(data), workspace, tmp_path)
    assert result["best_by"]["val_far"] is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"accumulate_steps": 0},
        {"early_stop_epochs": 0},
        {"min_recall": 0.0},
        {"select_weights_by": "f1"},
        {"optimizer_state": "some"},
    ],
)
def test_options_out_of_range(wrong):
    with pytest.raises(HardStop, match=next(iter(wrong))) as caught:
        Options(**wrong)
    assert caught.value.code == "config_invalid"


def test_weights_json_is_plain(workspace, tmp_path, course):
    result, _ = run(from_dict(spec_data(num_epochs=2)), workspace, tmp_path)
    assert json.loads((tmp_path / "out/weights.json").read_text()) == result
