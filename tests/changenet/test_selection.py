"""The choice of weights, early stop, and which of the best are kept."""

import json

import numpy as np
import pytest
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.spec import from_dict
from deft.changenet.training import loop as train_loop
from deft.changenet.training.options import Options
from deft.changenet.training.selection import EarlyStop, best_file, far_at_recall
from deft.errors import HardStop

# Validation figures by epoch: (loss, FAR at the required recall in percent).
COURSE = [(0.9, 40.0), (0.5, 20.0), (0.6, 10.0), (0.6, 10.0), (0.7, 30.0), (0.4, 50.0)]


@pytest.fixture
def course(monkeypatch):
    """Validations that give the figures above, whatever the network does."""
    original, calls = train_loop.validate, []

    def given(*args, **named):
        loss, far = COURSE[len(calls)]
        calls.append(loss)
        found = original(*args, **named)
        return found | {"val_loss": loss, "val_far_at_recall_pct": far}

    monkeypatch.setattr(train_loop, "validate", given)
    return calls


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
