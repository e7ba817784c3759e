"""Cases that are laid into the folder are compared: right ones pass, wrong ones fail, others skip.

The numbers of these cases are this project's own: what is tested is the test.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tao_reference import FOLDER, has
from train_steps import precise_step
from whole_models import built

CASE = "euclid_fan_small_128"
WAIT_S = 600
HERE = Path(__file__).resolve().parent


def step_of(case: str) -> dict:
    """Record a training step as the folder's files do; TAO's loss of a euclidean network."""
    network = built(case, upstream_compat=True)
    network.train()
    labels = [0, 1, 0]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    output, loss, after = precise_step(network, optimizer, case, labels)
    buffers = {
        name: {
            "first4": value.flatten()[:4].double().tolist(),
            "mean": value.double().mean().item(),
        }
        for name, value in after.items()
        if "running" in name or "num_batches" in name
    }
    grads = {k: v.grad for k, v in network.named_parameters()}
    return {
        "case": case,
        "labels": labels,
        "mode": "module.train() everywhere",
        "optimizer": {
            "type": "AdamW", "lr": 1e-3, "weight_decay": 0.01, "betas": [0.9, 0.999], "eps": 1e-8,
        },
        "loss": loss,
        "score_train_mode": network.score(output).tolist(),
        "params_without_grad": [k for k, v in grads.items() if v is None],
        "grad": {
            k: {"l2": v.double().norm().item(), "first4": v.flatten()[:4].tolist(),
                "absmax": v.abs().max().item()}
            for k, v in grads.items()
            if v is not None
        },
        "buffers_after_forward": buffers,
        "params_after_one_adamw_step": {
            k: {"first4_after": v.detach().flatten()[:4].tolist()}
            for k, v in network.named_parameters()
            if grads[k] is not None
        },
    }  # fmt: skip


def outcomes(folder: Path, *tests: str) -> dict[str, str]:
    """Run tests on another folder; return test id -> outcome, and all reasons of skips."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-rA", "-p", "no:cacheprovider", *tests],
        cwd=HERE.parents[1],
        env={**os.environ, "TAO_VECTORS": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    found = dict(reversed(m) for m in re.findall(r"^(PASSED|FAILED) \S+::(\S+)", done.stdout, re.M))
    found["reasons"] = "\n".join(re.findall(r"^SKIPPED .*$", done.stdout, re.M))
    assert found, done.stdout[-3000:]
    return found


@pytest.mark.slow
@pytest.mark.skipif(not has(f"model/{CASE}.json"), reason=f"the folder has no {CASE}")
def test_training_steps_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for path in (FOLDER / "model").glob(f"{CASE}.*"):
        shutil.copyfile(path, tmp_path / "model" / path.name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the tests below run: batch norm over three pairs magnifies noise
    right = step_of(CASE)
    torch.set_num_threads(threads)
    some = next(iter(right["grad"]))
    wrong_slopes = {**right["grad"], some: {**right["grad"][some], "l2": 1e3}}
    cases = {
        "a_right": right,
        "b_loss": {**right, "loss": right["loss"] + 1e-3},
        "c_slopes": {**right, "grad": wrong_slopes},
        "d_bare": {k: v for k, v in right.items() if k not in ("buffers_after_forward",)},
        "e_other": {**right, "optimizer": {"type": "LAMB", "lr": 1}},
    }
    (tmp_path / "train").mkdir()
    for name, facts in cases.items():
        (tmp_path / f"train/train_step_{name}.json").write_text(json.dumps(facts))
    found = outcomes(tmp_path, str(HERE / "test_train_step.py"))
    tests = ("loss_and_scores", "gradients", "batch_norms", "optimizer_step")
    result = {
        name: [found.get(f"test_{test}[train_step_{name}]", "-")[:1] for test in tests]
        for name in cases
    }
    assert result == {
        "a_right": ["P", "P", "P", "P"],
        "b_loss": ["F", "P", "P", "P"],
        "c_slopes": ["P", "F", "P", "P"],
        "d_bare": ["P", "P", "-", "P"],
        "e_other": ["-", "-", "-", "-"],
    }
    assert "does not record buffers_after_forward" in found["reasons"]
    assert "optimizer LAMB is not known" in found["reasons"]


def test_files_of_unknown_kinds_are_counted(tmp_path: Path) -> None:
    for name in ("units/rotary.npz", "train/other_step.json", "model/half.npz", "new/thing.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = outcomes(tmp_path, str(HERE / "test_what_is_read.py"))
    for reason in (
        "units/rotary.npz: units.json does not describe it",
        "train/other_step.json: a file of a kind that no test knows",
        "model/half.npz: the case lacks .json, .keys.csv",
        "new/thing.json: a file of a kind",
    ):
        assert reason in found["reasons"], found["reasons"]
