"""How fast is the C-RADIOv2-B ChangeNet beside bare ViT-B/16, and what does each measure bring?

    python benchmarks/changenet_speed.py                   # this CPU, or the GPU where there is one
    python benchmarks/changenet_speed.py --compile         # with torch.compile: minutes more

Random weights and pictures. The yardstick is a loop over timm's ``vit_base_patch16_224`` on as many
pictures as the pairs have. All variants run in turn, several rounds in one process, and the medians
count, so that what else the machine does hits all of them alike. Prints Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME / "scripts"))

from deft.changenet.embeddings import join, one  # noqa: E402
from deft.changenet.model import ChangeNet, build_model  # noqa: E402
from deft.changenet.spec import Spec, from_dict  # noqa: E402
from deft.changenet.speed import prepare  # noqa: E402

BACKBONE = "c_radio_v2_vit_base_patch16_224"
SIZE = 224  # side of the pictures in pixels
# Dense TFLOP/s (float32 without TF32, bfloat16) from the makers' data sheets.
PEAKS = {
    "H200": (67, 989),
    "H100": (67, 989),
    "A100": (19.5, 312),
    "L40S": (91.6, 362),
    "L4": (30.3, 121),
}


@dataclass
class Variant:
    """One way to run the pairs; ``seconds`` of each round, ``flop`` of one run."""

    name: str
    run: Callable[[], object]
    bfloat16: bool = False
    seconds: list[float] = field(default_factory=list)
    flop: int = 0

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def changenet_spec(backbone: str) -> Spec:
    """Return the spec of the network that is measured."""
    return from_dict(
        {
            "model": {
                "backbone": {"type": backbone},
                "decode_head": {"feature_strides": [4, 8, 16, 32]},
                "classify": {"difference_module": "learnable"},
            },
            "dataset": {
                "classify": {
                    "num_input": 1,
                    "input_map": {"light": 0},
                    "image_width": SIZE,
                    "image_height": SIZE,
                }
            },
            "train": {"classify": {"loss": "ce"}},
        }
    )


def explicit_attention(model: nn.Module) -> nn.Module:
    """Make timm's attention write out its matrix of weights instead of the fused kernel."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return model


def separately(model: ChangeNet, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
    """Return logits with one backbone run for each side."""
    network = model.model
    return network.compare(network.embed(test), network.embed(golden))


def together(model: ChangeNet, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
    """Return logits with both sides in one backbone batch."""
    both = model.model.embed(torch.cat([test, golden]))
    count = len(test)
    return model.model.compare([p[:count] for p in both], [p[count:] for p in both])


def forward_variants(
    spec: Spec, test: torch.Tensor, golden: torch.Tensor, given: argparse.Namespace
) -> list[Variant]:
    """Return the measures, each added to those before it; the yardstick comes first."""
    device = test.device
    torch.manual_seed(0)
    model = build_model(spec).eval().to(device)
    plain = explicit_attention(copy.deepcopy(model))
    fused = copy.deepcopy(model)
    model = prepare(model, device)
    vit = timm.create_model("vit_base_patch16_224").eval().to(device)
    rows = [test.contiguous(), golden.contiguous()]
    last = [side.contiguous(memory_format=torch.channels_last) for side in (test, golden)]

    def cached() -> torch.Tensor:
        """Score pairs whose golden is embedded already."""
        return model.model.compare(model.model.embed(last[0]), join([kept] * len(test)))

    with torch.inference_mode():
        kept = [part.clone() for part in one(model.model.embed(last[1][:1]), 0)]

    def in_bfloat16(run: Callable[[], object]) -> Callable[[], object]:
        def cast() -> object:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                return run()

        return cast

    both = lambda: together(model, *last)  # noqa: E731
    found = [
        Variant("bare ViT-B/16", lambda: [vit(side) for side in rows]),
        Variant("ChangeNet, no measure", lambda: separately(plain, *rows)),
        Variant("+ fused attention (SDPA)", lambda: separately(fused, *rows)),
        Variant("+ channels-last", lambda: separately(model, *last)),
        Variant("+ both sides in one batch", both),
        Variant("+ golden from the cache", cached),
        Variant("bfloat16, without cache", in_bfloat16(both), bfloat16=True),
        Variant("bfloat16, with cache", in_bfloat16(cached), bfloat16=True),
    ]
    if given.compile:
        compiled = prepare(copy.deepcopy(model), device, compile=True)
        found.append(Variant("torch.compile, without cache", lambda: together(compiled, *last)))
    return found


def training_variants(spec: Spec, test: torch.Tensor, golden: torch.Tensor) -> list[Variant]:
    """Return forward and backward runs; the yardstick comes first."""
    device = test.device
    torch.manual_seed(0)
    model = prepare(build_model(spec), device).train()
    frozen = copy.deepcopy(model)
    frozen.freeze_backbone = True
    for parameter in frozen.frozen_part().parameters():
        parameter.requires_grad_(False)
    frozen.train()
    vit = timm.create_model("vit_base_patch16_224").to(device).train()
    label = (torch.arange(len(test), device=device) % 2).float()[:, None]
    last = [side.contiguous(memory_format=torch.channels_last) for side in (test, golden)]

    def vit_step() -> None:
        for side in (test, golden):
            vit(side).square().mean().backward()
        vit.zero_grad(set_to_none=True)

    def step(network: ChangeNet) -> None:
        network.criterion(network(*last), label).backward()
        network.zero_grad(set_to_none=True)

    return [
        Variant("bare ViT-B/16", vit_step),
        Variant("ChangeNet", lambda: step(model)),
        Variant("ChangeNet, transformer frozen", lambda: step(frozen)),
    ]


def measure(
    variants: list[Variant], rounds: int, device: torch.device, clock: Callable[[], float]
) -> None:
    """Fill in the times of all variants, one round after the other, and their FLOPs."""
    for variant in variants:  # the first run warms up: kernels, buffers, compiling
        with FlopCounterMode(display=False) as counter:
            variant.run()
        variant.flop = counter.get_total_flops()
    for _ in range(rounds):
        for variant in variants:
            _wait(device)
            began = clock()
            variant.run()
            _wait(device)
            variant.seconds.append(clock() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(title: str, variants: list[Variant], pairs: int, peaks: tuple | None) -> str:
    """Return Markdown: rates, and ratios to the yardstick and to the row before."""
    base = variants[0]
    head = ["variant", "pairs/s", "speed beside ViT-B", "gain on the row before", "GFLOP a pair"]
    head += ["GFLOP/s beside ViT-B"] + (["share of peak"] if peaks else [])
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    before: Variant | None = None
    for v in variants:
        rate = v.flop / v.median_s
        cells = [
            v.name,
            f"{pairs / v.median_s:.3g}",
            f"{base.median_s / v.median_s:.2f}",
            f"{before.median_s / v.median_s:.2f}" if before and v.name.startswith("+") else "",
            f"{v.flop / pairs / 1e9:.0f}",
            f"{rate / (base.flop / base.median_s):.2f}",
        ]
        if peaks:
            cells.append(f"{rate / (peaks[1 if v.bfloat16 else 0] * 1e12):.1%}")
        lines.append(f"| {' | '.join(cells)} |")
        before = v
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs", type=int, default=None, help="in a batch (CPU 2, GPU 64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="measure torch.compile as well")
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: this process's own CPU seconds, for a machine that others use (--threads 1)",
    )
    parser.add_argument("--peak-tflops", type=float, nargs=2, metavar=("FLOAT32", "BFLOAT16"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    clock = time.process_time if given.clock == "cpu" else time.perf_counter
    pairs = given.pairs or (64 if device.type == "cuda" else 2)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peaks = given.peak_tflops or next((p for part, p in PEAKS.items() if part in name), None)
    spec = changenet_spec(given.backbone)
    torch.manual_seed(1)
    test, golden = torch.randn(2, pairs, 3, SIZE, SIZE, device=device)
    threads = f", {given.threads} threads" if device.type == "cpu" else ""
    print(f"{given.backbone}, {pairs} pairs of {SIZE} px a batch, {name}{threads}, ", end="")
    print(f"torch {torch.__version__}, medians of {given.rounds} rounds, {given.clock} time\n")
    for title, make, context in (
        ("Scoring", lambda: forward_variants(spec, test, golden, given), torch.inference_mode()),
        (
            "Training (forward and backward)",
            lambda: training_variants(spec, test, golden),
            contextlib.nullcontext(),
        ),
    ):
        variants = make()
        with context:
            measure(variants, given.rounds, device, clock)
        print(table(title, variants, pairs, peaks if device.type == "cuda" else None), flush=True)


if __name__ == "__main__":
    main()
