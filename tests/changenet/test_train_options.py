"""Precision, accumulation, TensorBoard, and what cannot train."""

import sys

import pandas as pd
import pytest
import torch
from changenet_pairs import spec_data
from training_runs import run

from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, loss_shares
from deft.changenet.precision import Precision, float32_scores
from deft.changenet.spec import from_dict, render
from deft.changenet.training import module
from deft.changenet.weights import read_state
from deft.core.errors import HardStop
from deft.run import stage

CPU = torch.device("cpu")


def weights(folder, result):
    return read_state(folder / "out" / result["latest"])["state_dict"]


# --- precision


def test_precisions(workspace, tmp_path):
    spec = from_dict(spec_data(num_epochs=1))
    plain, _ = run(spec, workspace, tmp_path / "a")
    half, _ = run(render(spec, {"train.precision": "bf16-mixed"}), workspace, tmp_path / "b")
    one, two = weights(tmp_path / "a", plain), weights(tmp_path / "b", half)
    assert {v.dtype for v in two.values()} == {v.dtype for v in one.values()}
    assert any(not torch.equal(one[k], two[k]) for k in one)
    losses = [r["files"][0]["val_loss"] for r in (plain, half)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize("name", ["16-mixed", "16", "fp16"])
def test_float16_is_refused_on_a_cpu(workspace, tmp_path, name):
    spec = from_dict(spec_data(precision=name))
    with pytest.raises(HardStop, match="needs a CUDA device") as caught:
        run(spec, workspace, tmp_path)
    assert caught.value.code == "spec_invalid" and "bf16-mixed" in caught.value.fix


def test_only_float16_scales_the_loss():
    spec = from_dict(spec_data())
    assert not Precision(spec, CPU).scaler.is_enabled()
    bf16 = Precision(render(spec, {"train.precision": "bf16-mixed"}), CPU)
    assert not bf16.scaler.is_enabled()
    with bf16.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: float16 has no CPU form")
@pytest.mark.parametrize("name", ["16-mixed", "bf16-mixed", "32-true"])
def test_precisions_on_cuda(workspace, tmp_path, name):
    spec = from_dict(spec_data(num_epochs=1, precision=name))
    result, _ = run(spec, workspace, tmp_path, device="cuda")
    assert result["steps"] == 3
    if name == "16-mixed":
        assert Precision(spec, torch.device("cuda")).scaler.is_enabled()


@pytest.mark.parametrize("asked", ["high", "highest"])
def test_scores_are_float32_whatever_the_program_asks_for(asked):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(asked)
    try:
        with pytest.raises(ZeroDivisionError), float32_scores():
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
            raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision(before)


# --- accumulation


def test_shares_make_the_loss_of_the_whole():
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 2), torch.tensor([[0.0], [1], [0], [0], [1], [1], [0]])
    criterion = WeightedCrossEntropy(weight=torch.tensor([1.0, 10.0]))
    parts = [slice(0, 3), slice(3, 7)]
    shares = loss_shares(criterion, [labels[p] for p in parts], equal=False)
    assert sum(shares) == pytest.approx(1)
    summed = sum(s * criterion(logits[p], labels[p]) for s, p in zip(shares, parts, strict=True))
    assert float(summed) == pytest.approx(float(criterion(logits, labels)), rel=1e-6)
    assert loss_shares(criterion, [labels] * 4, equal=True) == [0.25] * 4
    pairs = ContrastiveLoss(2.0)
    assert loss_shares(pairs, [labels[p] for p in parts], equal=False) == [3 / 7, 4 / 7]


def test_a_step_never_reads_class_weights_from_the_device():
    """Reading them stops a GPU; the meta device cannot be read at all."""
    labels = [torch.tensor([[0.0], [1]]), torch.tensor([[0.0], [0]])]
    on_device = WeightedCrossEntropy(weight=torch.tensor([1.0, 3.0], device="meta"))
    assert loss_shares(on_device, labels[:1], equal=False) == [1.0]
    with pytest.raises((NotImplementedError, RuntimeError)):
        loss_shares(on_device, labels, equal=False)


def test_accumulated_steps_take_class_weights_from_a_copy_on_the_cpu(
    workspace, tmp_path, monkeypatch
):
    asked, owned, begin = [], [], module.TrainingModule.begin

    def noted(criterion, groups, *, equal):
        asked.append(criterion)
        return loss_shares(criterion, groups, equal=equal)

    def noting(training, *given):
        owned.append(training.network.criterion)
        return begin(training, *given)

    monkeypatch.setattr(module, "loss_shares", noted)
    monkeypatch.setattr(module.TrainingModule, "begin", noting)
    run(from_dict(spec_data(num_epochs=1)), workspace, tmp_path, accumulate_steps=3)
    for criterion, own in zip(asked, owned, strict=True):  # one step an epoch
        assert criterion is not own and criterion.weight.device == CPU
        assert torch.equal(criterion.weight, own.weight)


def test_accumulated_batches_are_the_big_batch(workspace, tmp_path):
    """Exact where no batch norm looks at the batch: here the norms keep their statistics."""
    data = spec_data(num_epochs=1, optim={"lr": 1e-3, "optim": "sgd"})
    data["dataset"]["classify"]["augmentation_config"] = {"augment": False}
    found = []
    for size, steps in ((6, 1), (3, 2)):
        data["dataset"]["classify"]["batch_size"] = size
        folder = tmp_path / str(size)
        with frozen_norms():
            result, _ = run(from_dict(data), workspace, folder, accumulate_steps=steps)
        assert result["steps"] == 3
        found.append((weights(folder, result), folder))
    for key, value in found[0][0].items():
        assert torch.allclose(value.double(), found[1][0][key].double(), atol=1e-6), key
    curves = [pd.read_csv(folder / "out/train_curve.csv") for _, folder in found]
    assert curves[0]["train_loss"][0] == pytest.approx(curves[1]["train_loss"][0], rel=1e-5)


class frozen_norms:
    """Batch norms that use their running statistics in training too."""

    def __enter__(self):
        self.forward = torch.nn.modules.batchnorm._BatchNorm.forward

        def evaluated(norm, x):
            training, norm.training = norm.training, False
            try:
                return self.forward(norm, x)
            finally:
                norm.training = training

        torch.nn.modules.batchnorm._BatchNorm.forward = evaluated

    def __exit__(self, *_):
        torch.nn.modules.batchnorm._BatchNorm.forward = self.forward


def test_the_last_incomplete_group_steps_too(workspace, tmp_path):
    spec = from_dict(spec_data(num_epochs=2))
    result, _ = run(spec, workspace, tmp_path, accumulate_steps=2)
    assert [f["path"] for f in result["files"]] == [
        "model_epoch_000_step_00002.pth",
        "model_epoch_001_step_00004.pth",
    ]
    loops = read_state(tmp_path / "out" / result["latest"])["loops"]["fit_loop"]
    assert loops["epoch_loop.batch_progress"]["total"]["completed"] == 6
    assert loops["epoch_loop.state_dict"]["_batches_that_stepped"] == 4


# --- TensorBoard


def test_event_files(workspace, tmp_path):
    pytest.importorskip("tensorboard", reason="the package that writes event files is absent")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = from_dict(spec_data(num_epochs=2, tensorboard={"enabled": True}))
    run(spec, workspace, tmp_path)
    events = EventAccumulator(str(tmp_path / "out/tensorboard"))
    events.Reload()
    wanted = ["train_loss", "val_loss", "val_far_pct", "val_far_at_recall_pct", "lr"]
    assert set(events.Tags()["scalars"]) == {*wanted, "parameter_norm"}
    curve = pd.read_csv(tmp_path / "out/train_curve.csv")
    shown = [e.value for e in events.Scalars("train_loss")]
    assert shown == pytest.approx(curve["train_loss"].tolist(), rel=1e-6)
    assert [e.step for e in events.Scalars("parameter_norm")] == [1]


def test_tensorboard_that_is_not_installed(workspace, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    spec = from_dict(spec_data(tensorboard={"enabled": True}))
    with pytest.raises(HardStop, match="train.tensorboard.enabled") as caught:
        run(spec, workspace, tmp_path)
    assert "pip install tensorboard" in caught.value.fix


# --- what cannot train


@pytest.mark.parametrize("label", ["PASS", "bridge"])
def test_one_class_cannot_train(workspace, tmp_path, label):
    table = pd.read_csv(workspace / "train.csv", dtype=str).assign(label=label)
    table.to_csv(workspace / f"only_{label}.csv", index=False)
    data = spec_data()
    data["dataset"]["classify"]["train_dataset"]["csv_path"] = f"only_{label}.csv"
    with pytest.raises(HardStop, match="the training table has only") as caught:
        run(from_dict(data), workspace, tmp_path)
    assert caught.value.code == "csv_invalid"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        RuntimeError("training process 1 of 2 died: torch.OutOfMemoryError: CUDA out of memory."),
    ],
)
def test_gpu_memory_is_advice_and_may_be_tried_again(capsys, error):
    def body():
        raise error

    with pytest.raises(SystemExit) as caught:
        stage.main(body)
    told = capsys.readouterr().err
    assert caught.value.code == 137, "as when the machine's memory runs out"
    assert "lower dataset.classify.batch_size, or raise accumulate_steps" in told
    assert "CUDA out of memory" in told and "Traceback" not in told


def test_fewer_rows_than_a_batch_cannot_train(workspace, tmp_path, spec):
    big = render(spec, {"dataset.classify.batch_size": 19})
    with pytest.raises(HardStop, match="batch_size 19 is more than the 18") as caught:
        run(big, workspace, tmp_path)
    assert caught.value.code == "spec_invalid"
