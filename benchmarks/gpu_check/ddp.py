"""A spawned process and DistributedDataParallel with one process: NCCL on a GPU, gloo on a CPU."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from deft.changenet.precision import float32_scores
from deft.changenet.training.launch import train_in_processes
from deft.changenet.training.options import Options
from deft.changenet.training.sync_norm import synchronise_batch_norm
from deft.changenet.training.train import train
from deft.changenet.weights import read_state
from gpu_check.bench import Bench, relative
from gpu_check.networks import network, pictures, spec_of
from gpu_check.result import Result, judged

WITH_BATCH_NORM = "timm:test_resnet"
# Of weights after two epochs, at least: on a GPU additions have no fixed order, and Adam makes
# whole steps of the noise where a gradient is zero. Two plain trainings show how much that is.
WEIGHT_FLOOR, SPREAD_FACTOR = 1e-4, 10.0
GRADIENT_LIMIT = 1e-4


def one_process(bench: Bench) -> Iterator[Result]:
    """Train in a process of its own; compare gradients through DDP with plain ones."""
    yield _spawned(bench)
    yield _wrapped(bench)


def _spawned(bench: Bench) -> Result:
    spec = bench.spec(num_epochs=2)
    options = Options(device=bench.name, seed=1, threads=bench.threads)
    weights = []
    for name in ("plain", "plain_again", "spawned"):
        out, resume = bench.own / name, bench.own / f"{name}_resume"
        if name != "spawned":
            folders = {"out_dir": out, "resume_dir": resume}
            result = train(spec, workspace=bench.workspace(), **folders, options=options, log=print)
        else:
            devices = [torch.device("cuda", 0) if bench.cuda else bench.device]
            given = (spec, bench.workspace(), (out, resume), options, devices)
            result = train_in_processes(devices, given, log=print)
        state = read_state(out / result["latest"])["state_dict"]
        weights.append([v for _, v in sorted(state.items()) if v.is_floating_point()])
    spread = relative(weights[1], weights[0])
    figures = {
        "weights_relative_difference": relative(weights[2], weights[0]),
        "two_plain_differ_by": spread,
        "backend": "nccl" if bench.cuda else "gloo",
    }
    limit = max(SPREAD_FACTOR * spread, WEIGHT_FLOOR)
    return judged("a process of its own", figures, {"weights_relative_difference": limit})


def _wrapped(bench: Bench) -> Result:
    """Compare one backward pass: plain, and wrapped, with batch norms synchronised.

    The group has one process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if bench.cuda:
        torch.cuda.set_device(0)
    device = torch.device("cuda", 0) if bench.cuda else bench.device
    backend = "nccl" if bench.cuda else "gloo"
    dist.init_process_group(backend, rank=0, world_size=1)
    try:
        plain = network(spec_of(WITH_BATCH_NORM, 64)).to(device).train()
        model = copy.deepcopy(plain)
        synchronise_batch_norm(model, device)
        wrapped = DistributedDataParallel(
            model, device_ids=[0] if bench.cuda else None, find_unused_parameters=True
        )
        test, golden = pictures(8, 64, device)
        label = (torch.arange(8, device=device) % 2).float()[:, None]
        found = []
        for run, own in ((plain, plain), (wrapped, model)):
            with float32_scores():  # TF32 would blow the last digits up
                own.criterion(run(test, golden), label).backward()
            found.append([p.grad.cpu() for p in own.parameters() if p.grad is not None])
        whole = torch.ones(4, device=device)
        dist.all_reduce(whole)
        gathered: list = [None]
        dist.all_gather_object(gathered, {"step": 3}, group=dist.new_group(backend="gloo"))
    finally:
        dist.destroy_process_group()
    figures = {
        "gradient_relative_difference": relative(found[1], found[0]),
        "backend": backend,
        "kind": type(wrapped).__name__,
    }
    right = gathered == [{"step": 3}] and whole.sum().item() == 4
    broken = "" if right else "a collective gave something else"
    limits = {"gradient_relative_difference": GRADIENT_LIMIT}
    return judged("DDP of one", figures, limits, broken=broken)
