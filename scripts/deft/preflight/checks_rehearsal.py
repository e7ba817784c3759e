"""One training step on shapes alone, and a few pictures through the loader: made last, for cheap.

The network's numbers are never made, so a ViT costs a moment; what cannot be tried so is tried for
real where the network is small.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deft.core.errors import HardStop
from deft.preflight.check import TABLES, Check, Context, ok, skipped, stopped, warn
from deft.tables.changenet_table import PASS, read_table
from deft.tables.coordinates import image_prefix

SMALL_BYTES = 200e6  # of a network that is tried for real
PLACES = 8  # draws of the augmentation that are tried for each kind of part
PAIRS = 2


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic; ``engine: tao`` trains in its container."""
    if ctx.config.get("engine", "native") != "native":
        return
    if ctx.spec is None or "base" not in ctx.sound:
        yield skipped("rehearsal", "a valid spec and a sound training table")
        return
    try:
        _pictures(ctx)
    except HardStop as stop:
        yield stopped("loader", stop)
    else:
        yield ok("loader", f"{2 * PLACES} training pairs load, and their numbers are finite")
    yield _step(ctx)
    if ctx.config.get("compile"):
        yield _compiler(ctx)


def _pictures(ctx: Context) -> None:
    """Load the first good and the first bad pair as a training does, augmented several times."""
    from deft.changenet.data.pairs import PairData, as_batch

    assert ctx.spec is not None
    path = ctx.workspace / TABLES["base"]
    table = read_table(path)
    good = (table["label"] == PASS).to_numpy()
    first = [int(np.flatnonzero(kind)[0]) for kind in (good, ~good) if kind.any()]
    root = ctx.workspace / image_prefix(ctx.workspace)
    data = PairData(
        ctx.spec,
        table,
        root,
        csv_path=path,
        training=True,
        levels=ctx.config.get("picture_levels"),
        workspace=ctx.workspace,
    )
    try:
        pixels = data.pixels([row for row in first for _ in range(PLACES)])
        finite = bool(np.isfinite(as_batch(ctx.spec, pixels).test.numpy()).all())
    except (ValueError, ArithmeticError, MemoryError, OSError) as error:
        raise HardStop(
            "spec_invalid",
            f"training pairs cannot be loaded as the spec says ({type(error).__name__}: {error})",
            file=ctx.spec.source,
            fix="check dataset.classify: sizes, lights, augmentation_config",
        ) from None
    if not finite:
        raise HardStop(
            "spec_invalid",
            "normalised training pictures are not finite numbers",
            file=ctx.spec.source,
            fix="check augmentation_config.rgb_input_mean and rgb_input_std",
        )


def _compiler(ctx: Context) -> Check:
    """Whether ``compile: true`` can be had here; another machine's compiler is not asked."""
    import torch

    from deft.changenet.speed import check_compiler

    device = ctx.config.get("device", "auto")
    if device != "cpu" and not torch.cuda.is_available():
        return warn("compiler", "compile: true cannot be tried without a GPU here")
    try:
        check_compiler(torch.device("cpu" if device == "cpu" else "cuda"))
    except HardStop as stop:
        return stopped("compiler", stop)
    return ok("compiler", "torch.compile works")


def _step(ctx: Context) -> Check:
    id = "training_step"
    problem = _tried(ctx, "meta")
    if problem is None:
        return ok(id, f"{PAIRS} pairs go through the network and back (shapes alone)")
    from deft.changenet.model import state_bytes

    assert ctx.spec is not None
    if state_bytes(ctx.spec) > SMALL_BYTES:
        return warn(id, f"could not be tried on shapes alone ({problem})")
    problem = _tried(ctx, "cpu")
    if problem is None:
        return ok(id, f"{PAIRS} pairs go through the network and back")
    height, width = ctx.spec.tensor_size
    stop = HardStop(
        "spec_invalid",
        f"{ctx.spec.model.backbone.type} cannot train on pictures of {width} x {height} pixels: "
        f"{problem}",
        file=ctx.spec.source,
        fix="enlarge dataset.classify.image_width and image_height, or choose another backbone",
    )
    return stopped(id, stop)


def _tried(ctx: Context, device: str) -> str | None:
    """Return why a step with random pictures fails on a device, None when it does not."""
    import torch

    from deft.changenet.model import build_model

    assert ctx.spec is not None
    spec, compat = ctx.spec, bool(ctx.config.get("upstream_compat"))
    shape, goldens = (3, *spec.tensor_size), spec.dataset.classify.num_golden
    many = (PAIRS, goldens, *shape) if goldens > 1 else (PAIRS, *shape)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        try:
            model = build_model(spec, upstream_compat=compat).train()
            output = model(torch.rand((PAIRS, *shape)), torch.rand(many))
            label = torch.zeros((PAIRS, 1))
            model.criterion(output.float(), label).backward()
        except (RuntimeError, ValueError, NotImplementedError, IndexError, TypeError) as error:
            return " ".join(str(error).split())[:200]
    return None
