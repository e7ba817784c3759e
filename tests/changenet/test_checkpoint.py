"""Model files: TAO's dictionary in full, and trainings that go on from one."""

import pytest
import torch
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.data.pairs import PairData
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict, render
from deft.changenet.training.schedule import learning_rate
from deft.changenet.weights import load_weights, read_state, save_weights
from deft.core.errors import HardStop

TOP_KEYS = [
    *("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks"),
    *("optimizer_states", "lr_schedulers", "tao_model"),
]


def steady(**train):
    """A spec whose numbers depend on nothing but weights and order."""
    data = spec_data(**train)
    data["dataset"]["classify"]["augmentation_config"] = {"augment": False}
    return data


@pytest.fixture(scope="module")
def whole(workspace, tmp_path_factory):
    """Four epochs, every file with its optimizer state."""
    folder = tmp_path_factory.mktemp("whole")
    result, _ = run(from_dict(steady(num_epochs=4)), workspace, folder, optimizer_state="all")
    return result, folder / "out"


def test_every_entry_of_tao(whole):
    _, out = whole
    data = read_state(out / "model_epoch_001_step_00006.pth")
    assert list(data) == TOP_KEYS
    assert (data["epoch"], data["global_step"]) == (1, 6)
    fit = data["loops"]["fit_loop"]
    assert fit["epoch_loop.batch_progress"]["total"]["completed"] == 6
    assert fit["epoch_loop.batch_progress"]["current"]["completed"] == 3
    assert fit["epoch_progress"]["current"] == {
        "ready": 2,
        "completed": 1,
        "started": 2,
        "processed": 2,
    }
    (saver,) = data["callbacks"].values()
    assert saver["best_model_path"] == "model_epoch_001_step_00006.pth"
    (state,) = data["optimizer_states"]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert float(state["state"][0]["step"]) == 6
    (group,) = state["param_groups"]
    assert (group["lr"], group["initial_lr"]) == (pytest.approx(1e-3 * 0.6), 1e-3)
    assert data["lr_schedulers"][0]["_last_lr"] == [group["lr"]]


@pytest.mark.parametrize(
    ("policy", "kept"), [("none", [0, 0, 0]), ("last", [0, 0, 1]), ("all", [1, 1, 1])]
)
def test_which_files_hold_the_optimizer(workspace, tmp_path, policy, kept):
    result, _ = run(from_dict(steady()), workspace, tmp_path, optimizer_state=policy)
    files = [read_state(tmp_path / "out" / f["path"]) for f in result["files"]]
    assert [len(data["optimizer_states"]) for data in files] == kept
    assert all(data["lr_schedulers"] and data["loops"] for data in files)


def test_weights_survive_reading_and_writing(whole, tmp_path):
    _, out = whole
    first = out / "model_epoch_003_step_00012.pth"
    model = build_model(from_dict(steady()))
    rest = load_weights(model, first)
    assert rest["global_step"] == 12
    save_weights(tmp_path / "again.pth", model, epoch=3, step=12)
    before, after = (read_state(p)["state_dict"] for p in (first, tmp_path / "again.pth"))
    assert list(before) == list(after)
    for key, value in before.items():
        assert value.dtype == after[key].dtype and value.shape == after[key].shape
        assert value.numpy().tobytes() == after[key].numpy().tobytes(), key


@pytest.mark.parametrize("optim", [{"optim": "adamw"}, {"optim": "sgd", "policy": "step"}])
def test_going_on_from_a_file_ends_in_the_same_bytes(workspace, tmp_path, optim):
    data = steady(num_epochs=4, optim={"lr": 1e-3, **optim})
    result, _ = run(from_dict(data), workspace, tmp_path / "a", optimizer_state="all")
    file = tmp_path / "a/out/model_epoch_001_step_00006.pth"
    data["train"]["resume_training_checkpoint_path"] = str(file)
    resumed, _ = run(from_dict(data), workspace, tmp_path / "b", optimizer_state="all")
    assert [f["epoch"] for f in resumed["files"]] == [2, 3]
    assert [f["sha256"] for f in resumed["files"]] == [f["sha256"] for f in result["files"][2:]]
    assert resumed["initialised_from"]["path"] == file.as_posix()


def test_going_on_in_the_middle_of_an_epoch(workspace, tmp_path):
    data = steady(num_epochs=2, checkpoint_interval=2, checkpoint_interval_unit="step")
    result, _ = run(from_dict(data), workspace, tmp_path / "a", optimizer_state="all")
    names = [f["path"] for f in result["files"]]
    assert names == [
        "model_epoch_000_step_00002.pth",
        "model_epoch_001_step_00004.pth",
        "model_epoch_001_step_00006.pth",
    ]
    assert [f["val_loss"] is None for f in result["files"]] == [True, True, False]
    data["train"]["resume_training_checkpoint_path"] = str(tmp_path / "a/out" / names[1])
    resumed, _ = run(from_dict(data), workspace, tmp_path / "b", optimizer_state="all")
    assert resumed["files"] == result["files"][2:]


def test_first_resumed_epoch_keeps_its_rate(whole, workspace, tmp_path):
    _, out = whole
    data = steady(
        num_epochs=9,
        resume_training_checkpoint_path=str(out / "model_epoch_001_step_00006.pth"),
        optim={"lr": 5e-3},
    )
    spec = from_dict(data)
    run(spec, workspace, tmp_path)
    rows = (tmp_path / "out/train_curve.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[3]) for row in rows]
    # Saved for epoch 2 of 4; then the formula of 9 epochs on the file's own base rate.
    assert rates[0] == pytest.approx(1e-3 * (1 - 2 / 5))
    assert rates[1:] == pytest.approx([learning_rate(spec, e, 1e-3) for e in range(3, 9)])


def refused(spec, workspace, folder, words):
    with pytest.raises(HardStop, match=words) as caught:
        run(spec, workspace, folder)
    assert caught.value.code == "spec_invalid"
    assert "\n" not in caught.value.message


def test_files_that_no_training_can_go_on_from(whole, workspace, tmp_path):
    _, out = whole
    spec = from_dict(steady(num_epochs=6))
    key = "train.resume_training_checkpoint_path"
    save_weights(tmp_path / "bare.pth", build_model(spec), epoch=0, step=3)
    refused(render(spec, {key: str(tmp_path / "bare.pth")}), workspace, tmp_path, "no optimizer")
    last = str(out / "model_epoch_003_step_00012.pth")
    done = render(spec, {key: last, "train.num_epochs": 4})
    refused(done, workspace, tmp_path, "nothing is left")
    other = render(spec, {key: last, "train.optim.optim": "sgd"})
    refused(other, workspace, tmp_path, "does not fit train.optim")
    narrow = render(spec, {key: last, "model.classify.embed_dec": 7})
    refused(narrow, workspace, tmp_path, "does not fit the spec's architecture")


def first(name, value):
    """Return a change that puts ``value`` at ``name`` of the file's optimizer state."""

    def change(data):
        data["optimizer_states"][0][name] = value

    return change


def loops(data):
    data["loops"] = [1, 2]


def counter(data):
    data["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] = "six"


def beyond(data):
    state = data["optimizer_states"][0]["state"]
    state[10_000] = state.pop(0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first("state", None), "not torch's"),
        (first("state", {0: None}), "not torch's"),
        (first("param_groups", [{"params": 3}]), "not torch's"),
        (lambda data: data.update(optimizer_states={"a": 1}), "not torch's"),
        (lambda data: data.update(lr_schedulers={"a": 1}), "lr_schedulers are not torch's"),
        (beyond, "an entry for parameter 10000"),
        (loops, "loops is a list"),
        (counter, "'six', no count"),
        (lambda data: data.update(epoch=-1), "names no epoch"),
    ],
)
def test_malformed_entries_are_refused(whole, workspace, tmp_path, change, words):
    _, out = whole
    data = read_state(out / "model_epoch_001_step_00006.pth")
    change(data)
    torch.save(data, tmp_path / "bad.pth")
    path = str(tmp_path / "bad.pth")
    spec = from_dict(steady(num_epochs=4, resume_training_checkpoint_path=path))
    refused(spec, workspace, tmp_path, words)


def test_other_settings_of_the_optimizer_are_told(whole, workspace, tmp_path):
    _, out = whole
    path = str(out / "model_epoch_002_step_00009.pth")
    data = steady(num_epochs=4, resume_training_checkpoint_path=path)
    _, lines = run(from_dict(data), workspace, tmp_path / "same")
    assert not [line for line in lines if line.startswith("optimizer:")]
    data["train"]["optim"] = {"lr": 1e-3, "optim": "adam", "weight_decay": 0.5}
    result, lines = run(from_dict(data), workspace, tmp_path / "other")
    (line,) = [line for line in lines if line.startswith("optimizer:")]
    assert "(the spec: 0.5)" in line and line.endswith("the file's are used")


@pytest.fixture(scope="module")
def by_step(workspace, tmp_path_factory):
    """A file after every step of two epochs with batches of 3, six steps each."""
    folder = tmp_path_factory.mktemp("by_step")
    run(from_dict(in_steps()), workspace, folder, optimizer_state="all")
    return folder / "out"


def in_steps(batch_size=3, **train):
    data = steady(num_epochs=2, checkpoint_interval=1, checkpoint_interval_unit="step", **train)
    data["dataset"]["classify"]["batch_size"] = batch_size
    return data


RESUME = "train.resume_training_checkpoint_path"


@pytest.mark.parametrize(
    "name", ["model_epoch_000_step_00002.pth", "model_epoch_001_step_00010.pth"]
)
def test_middle_of_an_epoch_with_other_batches(by_step, workspace, tmp_path, name):
    late = render(from_dict(in_steps(6)), {RESUME: str(by_step / name)})
    refused(late, workspace, tmp_path, r"with other batches: batch_size 3 \(now 6\)")


def test_middle_of_an_epoch_in_another_order(by_step, workspace, tmp_path):
    path = str(by_step / "model_epoch_000_step_00002.pth")
    spec = render(from_dict(in_steps()), {RESUME: path})
    with pytest.raises(HardStop, match="with other batches: order [0-9a-f]{16} ") as caught:
        run(spec, workspace, tmp_path, optimizer_state="all", seed=5)
    assert "use the seed" in caught.value.fix


def test_files_of_tao_tell_batches_by_their_number_alone(by_step, workspace, tmp_path):
    """They hold no batch size: told by the count of batches, or by that of finished epochs."""
    data = from_dict(in_steps(6))
    for name in ("model_epoch_001_step_00010.pth", "model_epoch_001_step_00007.pth"):
        plain = read_state(by_step / name)
        assert plain.pop("deft_epoch")["batch_size"] == 3
        torch.save(plain, tmp_path / name)
    late = render(data, {RESUME: str(tmp_path / "model_epoch_001_step_00010.pth")})
    refused(late, workspace, tmp_path / "b", "in the middle of an epoch with other batches: 4")
    early = render(data, {RESUME: str(tmp_path / "model_epoch_001_step_00007.pth")})
    _, lines = run(early, workspace, tmp_path / "c")
    assert any("1 finished epochs had 6 batches, with the present" in line for line in lines)


def test_done_batches_are_not_loaded_again(workspace, tmp_path, monkeypatch):
    data = steady(num_epochs=1, checkpoint_interval=2, checkpoint_interval_unit="step")
    result, _ = run(from_dict(data), workspace, tmp_path / "a", optimizer_state="all")
    loaded, original = [], PairData.pixels

    def counted(self, rows, *, epoch=0, start=0):
        loaded.extend([start] if self.training else [])
        return original(self, rows, epoch=epoch, start=start)

    monkeypatch.setattr(PairData, "pixels", counted)
    data["train"]["resume_training_checkpoint_path"] = str(
        tmp_path / "a/out" / result["files"][0]["path"]
    )
    resumed, _ = run(from_dict(data), workspace, tmp_path / "b", optimizer_state="all")
    assert loaded == [12]
    assert resumed["files"] == result["files"][1:]


def test_torch_loads_the_optimizer_and_scheduler(whole):
    """What TAO does with the file: torch's own loaders, strictly."""
    _, out = whole
    data = read_state(out / "model_epoch_001_step_00006.pth")
    model = build_model(from_dict(steady()))
    model.load_state_dict(data["state_dict"], strict=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    optimizer.load_state_dict(data["optimizer_states"][0])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 1 - e / 5)
    schedule.load_state_dict(data["lr_schedulers"][0])
    optimizer.step()
    schedule.step()
    assert schedule.last_epoch == 3
    assert schedule.get_last_lr() == [pytest.approx(1e-3 * (1 - 3 / 5))]
