import json

import pandas as pd
import pytest
import torch
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.model import build_model
from deft.changenet.spec import from_dict, load_spec, render
from deft.changenet.training import resume
from deft.changenet.training.module import TrainingModule
from deft.changenet.training.schedule import learning_rate
from deft.changenet.weights import read_state, save_weights
from deft.core.errors import HardStop
from deft.core.files import sha256_file


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return run(from_dict(spec_data()), workspace, folder, phase="baseline"), folder


def test_files_and_result(trained, workspace):
    (result, lines), folder = trained
    out = folder / "out"
    names = [f["path"] for f in result["files"]]
    assert names == [f"model_epoch_00{e}_step_0000{3 * e + 3}.pth" for e in range(3)]
    assert all((out / name).is_file() for name in names)
    assert result == json.loads((out / "weights.json").read_text())
    assert (result["steps"], result["rows"], result["validation_rows"]) == (9, 18, 8)
    assert result["phase"] == "baseline" and result["cpu_threads"] == 1
    losses = {f["path"]: f["val_loss"] for f in result["files"]}
    assert losses[result["best_val"]] == min(losses.values())
    assert result["latest"] == names[-1]
    assert len(lines) == 3
    assert not (folder / "resume").exists()
    assert load_spec(out / "experiment.yaml").digest == result["spec_sha256"]


def test_a_backbone_file_is_found_in_the_workspace_and_recorded(workspace, tmp_path):
    source = build_model(from_dict(spec_data())).model.backbone.net.state_dict()
    path = workspace / "augmentation/backbone/b.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(source, path)
    data = spec_data()
    shown = "augmentation/backbone/b.pth"
    data["model"]["backbone"] |= {"pretrained_backbone_path": shown, "freeze_backbone": True}
    result, _ = run(from_dict(data), workspace, tmp_path)
    assert result["initialised_from"] is None
    assert result["backbone_from"] == {"path": shown, "sha256": sha256_file(path)}
    trained = read_state(tmp_path / "out" / result["latest"])["state_dict"]
    assert all(torch.equal(trained[f"model.backbone.net.{k}"], v) for k, v in source.items())


def test_curves_and_status(trained):
    (result, _), folder = trained
    curve = pd.read_csv(folder / "out/train_curve.csv")
    assert list(curve.columns) == ["epoch", "step", "train_loss", "lr"]
    assert curve["lr"].tolist() == pytest.approx([1e-3, 7.5e-4, 5e-4])
    validation = pd.read_csv(folder / "out/validation_curve.csv")
    assert validation["val_loss"].tolist() == [f["val_loss"] for f in result["files"]]
    status = [json.loads(x) for x in (folder / "out/status.json").read_text().splitlines()]
    assert status[0]["status"] == "STARTED"
    assert status[-1]["status"] == "SUCCESS"
    assert sum("epoch" in line for line in status) == 3


def test_same_seed_same_bytes_other_seed_other(trained, workspace, tmp_path):
    (result, _), _ = trained
    again, _ = run(from_dict(spec_data()), workspace, tmp_path / "a")
    assert [f["sha256"] for f in again["files"]] == [f["sha256"] for f in result["files"]]
    other, _ = run(from_dict(spec_data()), workspace, tmp_path / "b", seed=2)
    assert other["files"][0]["sha256"] != result["files"][0]["sha256"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2])
def test_interrupted_training_ends_in_the_same_bytes(
    trained, workspace, tmp_path, monkeypatch, after
):
    (result, _), _ = trained
    spec = from_dict(spec_data())
    original = TrainingModule.begin

    def dies(self, epoch, *given, **named):
        if epoch == after:
            raise Killed
        return original(self, epoch, *given, **named)

    monkeypatch.setattr(TrainingModule, "begin", dies)
    with pytest.raises(Killed):
        run(spec, workspace, tmp_path)
    monkeypatch.setattr(TrainingModule, "begin", original)
    for file in (tmp_path / "out").iterdir():  # as the workflow does with a failed job's outputs
        file.unlink()
    torch.manual_seed(99)
    resumed, lines = run(spec, workspace, tmp_path)
    assert lines[0].startswith(f"resuming after epoch {after}/3")
    assert [f["sha256"] for f in resumed["files"]] == [f["sha256"] for f in result["files"]]
    assert all((tmp_path / "out" / f["path"]).is_file() for f in resumed["files"])
    assert not (tmp_path / "resume").exists()


def test_resume_state_of_another_training_is_not_used(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "clear_resume", lambda folder: None)
    run(from_dict(spec_data()), workspace, tmp_path)
    monkeypatch.undo()
    shorter = from_dict(spec_data(num_epochs=1))
    _, lines = run(shorter, workspace, tmp_path)
    assert "another training (spec)" in lines[0]


@pytest.mark.parametrize("state", [[1, 2], {"identity": "mine"}, {"step": 3}])
def test_a_state_that_is_none_of_a_training_is_not_used(workspace, tmp_path, state):
    (tmp_path / "resume").mkdir()
    torch.save(state, tmp_path / "resume" / resume.STATE_FILE)
    _, lines = run(from_dict(spec_data(num_epochs=1)), workspace, tmp_path)
    assert lines[0].endswith("training starts anew")


def test_home_is_found_in_the_paths_of_weights(trained, workspace, tmp_path, monkeypatch):
    (result, _), folder = trained
    monkeypatch.setenv("HOME", str(folder))
    spec = from_dict(spec_data(num_epochs=1, pretrained_model_path=f"~/out/{result['latest']}"))
    started, _ = run(spec, workspace, tmp_path)
    assert started["initialised_from"]["sha256"] == result["files"][-1]["sha256"]
    data = spec_data(num_epochs=1)
    torch.save(build_model(spec).model.backbone.net.state_dict(), folder / "b.pth")
    data["model"]["backbone"]["pretrained_backbone_path"] = "~/b.pth"
    filled, _ = run(from_dict(data), workspace, tmp_path / "b")
    assert filled["backbone_from"]["sha256"] == sha256_file(folder / "b.pth")


def test_lap_starts_from_weights_with_fresh_epochs(trained, workspace, tmp_path):
    (_, _), folder = trained
    spec = from_dict(spec_data(num_epochs=1, optim={"lr": 0.0, "weight_decay": 0.0}))
    start = folder / "out/model_epoch_002_step_00009.pth"
    result, _ = run(spec, workspace, tmp_path, initial_weights=str(start))
    assert result["initialised_from"]["path"] == start.as_posix()
    assert result["files"][0]["path"] == "model_epoch_000_step_00003.pth"
    before, after = (
        read_state(p)["state_dict"] for p in (start, tmp_path / "out" / result["latest"])
    )
    assert torch.equal(
        before["model.decoder.classifier.6.weight"], after["model.decoder.classifier.6.weight"]
    )


def test_intervals(workspace, tmp_path):
    spec = from_dict(spec_data(num_epochs=5, checkpoint_interval=2, validation_interval=3))
    result, _ = run(spec, workspace, tmp_path)
    assert [f["epoch"] for f in result["files"]] == [1, 3, 4]
    assert [f["val_loss"] is None for f in result["files"]] == [True, True, False]
    assert result["best_val"] == result["latest"]


def test_divergence_is_no_new_weights(workspace, tmp_path, spec):
    model = build_model(spec)
    with torch.no_grad():
        model.model.decoder.classifier[6].bias.fill_(float("nan"))
    save_weights(tmp_path / "nan.pth", model, epoch=0, step=0)
    with pytest.raises(HardStop) as caught:
        run(spec, workspace, tmp_path, initial_weights=str(tmp_path / "nan.pth"))
    assert caught.value.code == "no_new_checkpoint"
    assert not list(tmp_path.glob("out/*.pth"))


def test_no_step_is_no_new_weights(spec, workspace, tmp_path):
    with pytest.raises(HardStop, match="5 draws do not fill a batch of 6") as caught:
        run(spec, workspace, tmp_path, draws_per_epoch=5)
    assert caught.value.code == "no_new_checkpoint"


@pytest.mark.parametrize("compat", [False, True])
def test_euclidean_trains(euclidean, workspace, tmp_path, compat):
    result, _ = run(euclidean, workspace, tmp_path, upstream_compat=compat)
    assert result["steps"] == 9


@pytest.mark.parametrize("optim", ["sgd", "adam"])
def test_other_optimizers(workspace, tmp_path, optim):
    spec = from_dict(spec_data(num_epochs=1, optim={"optim": optim, "policy": "step"}))
    assert run(spec, workspace, tmp_path)[0]["steps"] == 3


def test_learns_an_obvious_defect(workspace, tmp_path):
    data = spec_data(num_epochs=12, optim={"lr": 3e-3})
    data["dataset"]["classify"]["augmentation_config"] = {"augment": False}
    result, _ = run(from_dict(data), workspace, tmp_path)
    losses = pd.read_csv(tmp_path / "out/train_curve.csv")["train_loss"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]


def test_learning_rates(spec):
    ten = render(spec, {"train.num_epochs": 10, "train.optim.lr": 1e-4})
    assert learning_rate(ten, 1) == pytest.approx(9.090909090909092e-05)
    step = render(ten, {"train.optim.policy": "step"})
    assert [learning_rate(step, e) for e in (0, 2, 3, 9)] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-7])


def weights(folder, result):
    return read_state(folder / "out" / result["latest"])["state_dict"]


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """A model file whose class weights are [1, 10]; the specs here say [1, 3]."""
    path = tmp_path_factory.mktemp("weighted") / "ten.pth"
    ten = spec_data(classify={"loss": "ce", "cls_weight": [1, 10]})
    torch.manual_seed(0)
    save_weights(path, build_model(from_dict(ten)), epoch=0, step=0)
    return path


@pytest.mark.parametrize(("compat", "kept"), [(False, [1.0, 3.0]), (True, [1.0, 10.0])])
def test_whose_class_weights_count(weighted, workspace, tmp_path, compat, kept):
    spec = from_dict(spec_data(num_epochs=1, pretrained_model_path=str(weighted)))
    result, lines = run(spec, workspace, tmp_path, upstream_compat=compat)
    assert weights(tmp_path, result)["criterion.weight"].tolist() == kept
    (line,) = [line for line in lines if line.startswith("class weights:")]
    assert "[1.0, 10.0]" in line and "[1.0, 3.0]" in line
    assert ("the file's are used" in line) is compat


def test_equal_class_weights_are_no_news(weighted, workspace, tmp_path):
    data = spec_data(num_epochs=1, pretrained_model_path=str(weighted))
    data["train"]["classify"]["cls_weight"] = [1, 10]
    _, lines = run(from_dict(data), workspace, tmp_path)
    assert not [line for line in lines if "class weights" in line]


def test_going_on_keeps_the_files_class_weights(workspace, tmp_path):
    data = spec_data(num_epochs=1)
    result, _ = run(from_dict(data), workspace, tmp_path / "a")
    data["train"] |= {"num_epochs": 2, "classify": {"loss": "ce", "cls_weight": [1, 7]}}
    data["train"]["resume_training_checkpoint_path"] = str(tmp_path / "a/out" / result["latest"])
    resumed, _ = run(from_dict(data), workspace, tmp_path / "b")
    assert weights(tmp_path / "b", resumed)["criterion.weight"].tolist() == [1.0, 3.0]
