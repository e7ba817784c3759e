"""The stages through a stand-in for the container: what they give, and how they fail."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from stage_calls import evaluate, infer, rca, tao_infer, tao_rca, tao_train, train
from tao_docker import Docker, tao_context

from deft.changenet.model import build_model
from deft.changenet.training.options import Options
from deft.core.errors import HardStop, StageFailed
from deft.core.files import read_json, write_json_atomic
from deft.core.layout import SPEC, Run
from deft.run import leases
from deft.run.state import read_state
from deft.stages.context import Context
from deft.stages.tao_train import (
    IDENTITY,
    foreign_keys,
    forget_training,
    go_on_from,
)
from deft.stages.train import Files, phase_changes
from deft.tao.spec import container_spec
from deft.tao.work import Work

pytestmark = pytest.mark.long

PHASE = "baseline"
TABLES = ("inference/best_val/inference.csv", "inference/latest/inference.csv", "metrics.json")


def edit_spec(context: Context, **values) -> None:
    path = context.workspace / "specs/baseline_spec.yaml"
    spec = yaml.safe_load(path.read_text())
    for dotted, value in values.items():
        *parents, last = dotted.split("__")
        owner = spec
        for part in parents:
            owner = owner.setdefault(part, {})
        owner[last] = value
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    context.__dict__.pop("spec", None)


def stop(context: Context) -> HardStop:
    with pytest.raises(HardStop) as caught:
        tao_train(context, PHASE, epochs=0)
    assert not (context.run.phase(PHASE) / "train/weights.json").exists()
    return caught.value


def test_a_phase_gives_what_the_native_engine_gives(trained, tmp_path):
    context = tao_context(Run(trained, "run_a"))
    twin = Context(Run(tmp_path / "native", "run_a"), random_weights=True)
    ignore = shutil.ignore_patterns("results")
    shutil.copytree(context.workspace, twin.workspace, ignore=ignore)
    twin.run.dir.mkdir(parents=True)
    write_json_atomic(twin.run.dir / "deft_state.json", {"version": 2, "iterations": {}})
    train(twin, PHASE, epochs=0, options=Options())
    infer(twin, PHASE, device="cpu", threads=1)
    evaluate(twin, PHASE, 1.0)
    rca(twin, PHASE, 1.0, 2)

    ours, theirs = context.run.phase(PHASE), twin.run.phase(PHASE)
    for name in TABLES[:2]:
        assert (ours / name).read_text() == (theirs / name).read_text(), name
    figures, expected = read_json(ours / "metrics.json"), read_json(theirs / "metrics.json")
    assert figures["kinds"] == expected["kinds"] and figures["chosen"] == expected["chosen"]

    weights, wanted = (read_json(f / "train/weights.json") for f in (ours, theirs))
    for name in ("best_val", "latest", "steps", "epochs", "rows", "validation_rows"):
        assert weights[name] == wanted[name], name
    for mine, its in zip(weights["files"], wanted["files"], strict=True):
        assert (mine["path"], mine["epoch"], mine["step"]) == (
            its["path"],
            its["epoch"],
            its["step"],
        )
        assert mine["val_loss"] == pytest.approx(its["val_loss"], rel=1e-12)
    assert weights["engine"]["image"].endswith("-pyt")
    states = [
        torch.load(folder / "train" / weights["best_val"], weights_only=True)["state_dict"]
        for folder in (ours, theirs)
    ]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[1])

    gaps, expected = (
        pd.read_parquet(f / "rca_results/a/kpi_gaps.parquet").drop(
            columns=["filepath", "golden_filepath"]
        )
        for f in (ours, theirs)
    )
    pd.testing.assert_frame_equal(gaps, expected)
    written = {p.relative_to(theirs).as_posix() for p in theirs.rglob("*") if p.is_file()}
    found = {p.relative_to(ours).as_posix() for p in ours.rglob("*") if p.is_file()}
    assert {n for n in written - found if "train_resume" not in n} == set()
    more = {n for n in found - written if not n.startswith("tao/")}
    assert more == {"rca_results/a/tao.json"}
    curves = [pd.read_csv(f / "train/validation_curve.csv") for f in (ours, theirs)]
    for name in ("epoch", "step", "val_loss"):
        assert curves[0][name].tolist() == pytest.approx(curves[1][name].tolist()), name
    state = read_state(context.run.dir)["iterations"][PHASE]
    assert state["stage_completed"] == "rca" and state["best_ckpt_path"].startswith("/")
    docker = Docker(trained.parent / "docker")
    assert not docker.containers() and len(docker.calls("run")) == 4


def test_a_lap_starts_from_the_weights_that_the_kpi_chose(docker, done):
    context = done
    dataset = context.run.phase("iter1") / "dataset"
    dataset.mkdir(parents=True)
    table = pd.read_csv(context.workspace / "train/base/training_set.csv", dtype=str).fillna("")
    for column in ("input_path", "golden_path"):
        table[column] = "kpi/images/" + table[column]
    table.to_csv(dataset / "train_combined_iter1.csv", index=False)
    tao_train(context, "iter1", epochs=1)
    spec = yaml.safe_load((context.run.phase("iter1") / "tao/train/spec.yaml").read_text())
    classify, root = spec["dataset"]["classify"], str(context.root)
    assert classify["train_dataset"] == {
        "csv_path": f"{root}/results/run_a/iter1/dataset/train_combined_iter1.csv",
        "images_dir": root,
    }
    for name in ("validation", "test", "infer"):
        assert classify[f"{name}_dataset"]["images_dir"] == f"{root}/kpi/images"
    chosen = read_json(context.run.phase(PHASE) / "metrics.json")["weights"]["path"]
    assert spec["train"]["pretrained_model_path"] == f"{root}/results/run_a/{PHASE}/{chosen}"
    assert spec["model"]["backbone"]["pretrained_backbone_path"] == ""
    assert read_json(context.run.phase("iter1") / "train/weights.json")["initialised_from"]


def test_no_image_no_container(docker, context):
    docker.have({})
    error = stop(context)
    assert error.code == "missing_input" and "docker pull nvcr.io/nvidia/tao" in error.fix
    assert "docker load" in error.fix and not docker.calls("run")


def test_no_runtime(context, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "on PATH" in stop(context).message


@pytest.mark.parametrize(
    ("mistake", "words", "status"),
    [
        ("status 1", "ended with status 1", 2),
        ("memory", "ran out of GPU memory: torch.OutOfMemoryError", 137),
        ("says fail", "Execution status: FAIL", 2),
    ],
)
def test_a_container_that_fails_may_be_tried_again(docker, context, mistake, words, status):
    docker.fail(train=mistake)
    with pytest.raises(StageFailed) as caught:
        tao_train(context, PHASE, epochs=1)
    assert words in str(caught.value) and caught.value.status == status
    assert not (context.run.phase(PHASE) / "train/weights.json").exists()


def test_a_good_end_without_new_weights_is_an_error(docker, context):
    docker.fail(train="no weights")
    error = stop(context)
    assert error.code == "no_new_checkpoint" and "0 model file(s)" in error.message


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("model__backbone__type", "timm:test_convnext", "no backbone of TAO's"),
        ("train__num_epoch", 3, "did you mean train.num_epochs"),
        ("train__checkpoint_interval", 0, "train.checkpoint_interval must be at least 1"),
    ],
)
def test_a_key_that_tao_does_not_take_stops_before_a_container(docker, context, key, value, words):
    edit_spec(context, **{key: value})
    error = stop(context)
    assert error.code == "spec_invalid" and words in error.text()
    assert error.file.endswith("baseline_spec.yaml") and not docker.calls("run")


def test_an_account_is_not_asked_for_in_a_container(context):
    edit_spec(context, wandb__enable=True)
    data, _ = container_spec(context.workspace / SPEC, {}, context.root)
    assert data["wandb"]["enable"] is False
    assert [note.key for note in context.spec.notes] == ["wandb.enable"]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("augmentation/backbone/b.pth", "does not exist here"),
        ("https://huggingface.co/nvidia/C-RADIOv2-B/resolve/main/m.safetensors", "is an address"),
    ],
)
def test_a_file_that_the_spec_names_must_be_there(docker, context, named, words):
    edit_spec(context, model__backbone__pretrained_backbone_path=named)
    error = stop(context)
    assert error.code == "missing_input" and words in error.message
    assert not docker.calls("run")


def test_a_staged_backbone_is_the_one_that_the_container_reads(docker, context):
    """The spec names a path of NVIDIA's container; ours gets the file where it really lies."""
    name = "/data/pretrained_models/fan.pth"
    edit_spec(context, model__backbone__pretrained_backbone_path=name)
    staged = context.workspace / "augmentation/backbone/any.pth"
    staged.parent.mkdir(parents=True)
    torch.save(build_model(context.spec).model.backbone.state_dict(), staged)
    changes = phase_changes(context, Files(context.run.phase(PHASE) / "train/weights.json"), 0)
    data, files = container_spec(context.workspace / SPEC, changes, context.root)
    assert data["model"]["backbone"]["pretrained_backbone_path"] == str(staged)
    assert staged in files


@pytest.mark.slow
def test_an_interrupted_training_goes_on_from_its_last_whole_file(docker, context):
    docker.fail(train="killed after an epoch")
    with pytest.raises(StageFailed, match="137|ended with status"):
        tao_train(context, PHASE, epochs=2)
    docker.fail()
    tao_train(context, PHASE, epochs=2)
    spec = yaml.safe_load((context.run.phase(PHASE) / "tao/train/spec.yaml").read_text())
    going_on = spec["train"]["resume_training_checkpoint_path"]
    assert going_on.endswith("out/model_epoch_000_step_00002.pth")
    weights = read_json(context.run.phase(PHASE) / "train/weights.json")
    assert [f["epoch"] for f in weights["files"]] == [0, 1]


def test_a_training_whose_end_nobody_saw_is_not_repeated(docker, context):
    """Snakemake deletes what the job declared and starts it again."""
    tao_train(context, PHASE, epochs=1)
    out, scratch = context.run.phase(PHASE) / "train", context.run.phase(PHASE) / "tao/train"
    facts = read_json(out / "weights.json")
    for file in out.iterdir():
        file.unlink()
    tao_train(context, PHASE, epochs=1)
    assert len(docker.calls("run")) == 1 and read_json(out / "weights.json") == facts
    edit_spec(context, train__optim__lr=0.01)
    docker.fail(train="status 1")
    with pytest.raises(StageFailed):
        tao_train(context, PHASE, epochs=1)
    assert len(docker.calls("run")) == 2, "another training"
    forget_training(context, PHASE)
    assert not scratch.exists() and (out / facts["best_val"]).is_file()


@pytest.fixture
def two_cards(tmp_path, monkeypatch) -> Path:
    """A stage's process on a machine with two GPUs; returns the folder of their locks."""
    for name in (leases.VISIBLE, leases.LEASED):
        monkeypatch.setenv(name, "")  # so that what the stage sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv(leases.FOLDER, str(tmp_path / "locks"))
    monkeypatch.setattr(leases, "gpu_ids", lambda: [("GPU-a-1", "H200"), ("GPU-b-2", "H200")])
    monkeypatch.setattr(leases.LEASES, "holder", "this stage")
    yield tmp_path / "locks"
    leases.LEASES.release()


def test_containers_beside_each_other_have_a_gpu_each(docker, context, two_cards):
    docker.fail(train="status 1")
    other = leases.Leases(holder="another stage")
    other.take()
    for name in (leases.LEASED, leases.VISIBLE):
        assert os.environ.pop(name) == "GPU-a-1", "it is another process in truth"
    try:
        with pytest.raises(StageFailed):
            tao_train(context, PHASE, epochs=1)
    finally:
        other.release()
    (call,) = docker.calls("run")
    assert call[call.index("--gpus") + 1] == "device=GPU-b-2"
    spec = yaml.safe_load((context.run.phase(PHASE) / "tao/train/spec.yaml").read_text())
    assert spec["train"]["gpu_ids"] == [0], "what the container calls it"


def test_only_the_very_same_training_is_gone_on_from(done):
    work = Work(done, PHASE, "train")
    kept = done.run.phase(PHASE) / "train" / "model_epoch_000_step_00002.pth"
    identity = {"spec": {"train": {"num_epochs": 3}}, "image": "sha256:1"}

    def left(identity: dict) -> Path:
        shutil.rmtree(work.scratch, ignore_errors=True)
        work.out.mkdir(parents=True)
        write_json_atomic(work.scratch / IDENTITY, identity)
        return Path(shutil.copy(kept, work.out))

    file = left(identity)
    assert go_on_from(work, identity, epochs=3) == file
    file = left(identity)
    assert go_on_from(work, identity, epochs=1) is None and not file.exists(), "it was finished"
    file = left(identity)
    assert go_on_from(work, {**identity, "image": "sha256:2"}, epochs=3) is None
    assert not file.exists(), "another training's file is in nobody's way"


def test_keys_of_another_release_are_told(done, tmp_path):
    path = done.run.phase(PHASE) / "train" / "model_epoch_000_step_00002.pth"
    assert foreign_keys(done.spec, path) == ""
    data = torch.load(path, weights_only=True)
    state = data["state_dict"]
    first = next(iter(state))
    state[f"backbone_v2.{first}"] = state.pop(first)
    torch.save(data, tmp_path / "other.pth")
    differs = foreign_keys(done.spec, tmp_path / "other.pth")
    assert f"1 missing ({first})" in differs and "1 extra (backbone_v2." in differs


def test_every_kpi_row_must_have_a_score(docker, done):
    docker.fail(inference="a row less")
    with pytest.raises(HardStop) as caught:
        tao_infer(done, PHASE)
    assert caught.value.code == "score_invalid" and caught.value.rows == [9]


@pytest.mark.parametrize(
    ("mistake", "words"),
    [("unreachable", "the best recall is 0.5"), ("another threshold", "reject different parts")],
)
def test_a_gap_analysis_that_disagrees_stops(docker, done, mistake, words):
    docker.fail(rca=mistake)
    with pytest.raises(HardStop) as caught:
        tao_rca(done, PHASE, 1.0, 2)
    assert caught.value.code == "kpi_invalid" and words in caught.value.message


def test_preseeded_weights_need_no_container(docker, done):
    name = read_json(done.run.phase(PHASE) / "train/weights.json")["best_val"]
    kept = shutil.copy(done.run.phase(PHASE) / "train" / name, done.workspace / "handed_over.pth")
    shutil.rmtree(done.run.phase(PHASE))
    entry = {"stage_completed": "train", "best_ckpt_path": str(kept)}
    state = {"version": 2, "iterations": {PHASE: entry}}
    write_json_atomic(done.run.dir / "deft_state.json", state)
    assert "pre-seeded" in tao_train(done, PHASE, epochs=1)
    assert not docker.calls()
    assert read_json(done.run.phase(PHASE) / "train/weights.json")["preseeded"]
