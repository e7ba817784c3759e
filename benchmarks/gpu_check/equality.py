"""The same network and pictures on the device and on the CPU: outputs, gradients, steps.

Scores that decide are float32 without TF32 (:func:`deft.changenet.precision.float32_scores`), and
so is what is compared here. The small network's reference is float64 on the CPU, which also shows
the CPU's own float32 noise; that of ViT-B is float32 on the CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from deft.changenet.backbones.radio_vit import PatchGenerator
from deft.changenet.model import ChangeNet
from deft.changenet.precision import float32_scores
from deft.changenet.speed import prepare
from gpu_check.bench import SMALL, VIT_B, Bench, relative
from gpu_check.networks import network, pictures, spec_of
from gpu_check.result import Result, judged

OUTPUT_LIMIT = 1e-5  # of logits, norm of the difference by the norm
FEATURE_LIMIT = 1e-4  # random weights let logits follow pictures weakly, the maps do wholly
SCORE_LIMIT = 1e-5  # of a score, 0 to 1
GRADIENT_LIMIT = 2e-3  # float32 on a CPU is some 3e-4 away from float64
WEIGHT_LIMIT = 1e-4  # of weights after the steps
STEPS, RATE = {torch.float64: 3, torch.float32: 1}, 1e-2  # by the reference
NORM_PAIRS = 8  # fewer make no batch norm that can be compared
CPU = torch.device("cpu")


def networks(bench: Bench) -> Iterator[Result]:
    """Compare a small convolutional network and the ViT-B one."""
    torch.set_num_threads(bench.threads)
    small = (SMALL, 64, bench.pick(32, 8), torch.float64)
    large = (VIT_B, bench.pick(224, 64), bench.pick(6, 2), torch.float32)
    for name, (backbone, side, pairs, dtype) in (("small", small), ("ViT-B", large)):
        model = network(spec_of(backbone, side))
        test, golden = pictures(pairs, side, CPU)
        yield _forward(bench, f"forward {name}", model, (test, golden), dtype)
        yield _train_step(bench, f"train step {name}", model, (test, golden), dtype)


def _forward(
    bench: Bench, name: str, model: ChangeNet, pair: tuple[torch.Tensor, ...], dtype: torch.dtype
) -> Result:
    reference = copy.deepcopy(model).eval().to(dtype)
    theirs = prepare(copy.deepcopy(model).eval(), bench.device)
    there = [side.to(bench.device) for side in pair]
    with torch.inference_mode():
        want = reference(*(side.to(dtype) for side in pair))
        want_maps = list(reference.model.embed(pair[0].to(dtype)))
        with float32_scores():
            got = theirs(*there)
            maps = list(theirs.model.embed(there[0]))
        tf32 = _with_tf32(lambda: theirs(*there)) if bench.cuda else None
    scores = (theirs.score(got).cpu() - reference.score(want)).abs().max()
    figures = {
        "relative_error": relative(got, want),
        "features_relative_error": relative(maps, want_maps),
        "largest_score_difference": float(scores),
        "reference": f"CPU {str(dtype).removeprefix('torch.')}",
    }
    if dtype is torch.float64:
        with torch.inference_mode():
            figures["cpu_float32_relative_error"] = relative(model.eval()(*pair), want)
    if tf32 is not None:
        figures["with_tf32_relative_error"] = relative(tf32, want)
    limits = {
        "relative_error": OUTPUT_LIMIT,
        "features_relative_error": FEATURE_LIMIT,
        "largest_score_difference": SCORE_LIMIT,
    }
    return judged(name, figures, limits)


def _with_tf32(run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Run as a program that asks for TF32 would, to show what the scores are kept from."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            return run()
    finally:
        torch.set_float32_matmul_precision(before)


def _train_step(
    bench: Bench, name: str, model: ChangeNet, pair: tuple[torch.Tensor, ...], dtype: torch.dtype
) -> Result:
    """Compare loss, gradients and weights after a few steps of plain SGD in training mode.

    Not Adam: it divides a gradient by its size, so noise around zero would count as a whole step.
    """
    reference = copy.deepcopy(model).to(dtype)
    reference.criterion.float()  # losses are float32 in every mode
    steps = STEPS[dtype]
    want = _steps(reference, pair, CPU, dtype, steps)
    with float32_scores():
        got = _steps(
            prepare(copy.deepcopy(model), bench.device), pair, bench.device, torch.float32, steps
        )
    figures = {
        "loss_relative_error": relative(got[0], want[0]),
        "gradient_relative_error": relative(got[1], want[1]),
        "weights_relative_error": relative(got[2], want[2]),
        "steps": steps,
    }
    if bench.cuda:
        plain = _steps(
            prepare(copy.deepcopy(model), bench.device), pair, bench.device, torch.float32, steps
        )
        figures["as_trained_gradient_relative_error"] = relative(plain[1], want[1])  # TF32 on
    limits = {
        "loss_relative_error": OUTPUT_LIMIT,
        "gradient_relative_error": GRADIENT_LIMIT,
        "weights_relative_error": WEIGHT_LIMIT,
    }
    return judged(name, figures, limits)


def _steps(
    model: ChangeNet,
    pair: tuple[torch.Tensor, ...],
    device: torch.device,
    dtype: torch.dtype,
    steps: int,
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Return the first step's loss and gradients, and the weights after the last."""
    test, golden = (side.to(device, dtype) for side in pair)
    label = (torch.arange(len(test), device=device) % 2).float()[:, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    _settled(model.train(), norms=len(test) < NORM_PAIRS)
    first: tuple = ()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss = model.criterion(model(test, golden), label)
        loss.backward()
        if not first:
            gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
            first = (loss.detach().cpu(), gradients)
        optimizer.step()
    return (*first, [p.detach().cpu() for p in model.parameters()])


def _settled(model: torch.nn.Module, *, norms: bool) -> None:
    """Switch off what draws random numbers: devices draw different ones from one seed.

    ``norms``: batch norms go by their running statistics, since those of a few nearly equal pairs
    blow the last digits up to whole numbers.
    """
    for module in model.modules():
        if isinstance(module, PatchGenerator) or (norms and isinstance(module, _BatchNorm)):
            module.eval()  # the first draws where a picture's patches lie
        for name in ("p", "drop_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
