"""Whether the spec's network can be built: the dearest check, made when no other stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deft.core.errors import HardStop
from deft.preflight import checks_weights
from deft.preflight.check import Check, Context, ok, skipped, stopped, warn


def _onnx(ctx: Context) -> Check:
    """Return whether the hand-off (and, with ``runtime: onnx``, inference) can work here."""
    from deft.changenet.onnx.export import check_export, done_otherwise
    from deft.changenet.onnx.runtime import require
    from deft.changenet.onnx.scorer import require_cuda_build

    assert ctx.spec is not None
    uses_it = ctx.config.get("runtime", "torch") == "onnx"
    try:
        opset = check_export(ctx.spec)
        require("onnx")
        version = require("onnxruntime").__version__
        if uses_it and _cuda(ctx.config.get("device", "auto")):
            require_cuda_build(ctx.config["device"])
    except HardStop as stop:
        return stopped("onnx", stop)
    what = "inference and hand-off" if uses_it else "hand-off"
    text = f"onnxruntime {version}: {what}, opset {opset}"
    otherwise = done_otherwise(ctx.spec)
    return warn("onnx", text, "; ".join(otherwise)) if otherwise else ok("onnx", text)


def _cuda(device: str) -> bool:
    """Return whether jobs will run on CUDA; the card itself may be another machine's."""
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def _training(ctx: Context) -> Check:
    """Return whether a training can do what the spec asks for on this machine's devices."""
    import torch

    from deft.changenet.device import training_devices
    from deft.changenet.precision import Precision
    from deft.changenet.training.options import require_tensorboard

    assert ctx.spec is not None
    train, device = ctx.spec.train, ctx.config.get("device", "auto")
    text = f"{train.num_gpus} process(es), precision {train.precision}"
    try:
        if train.tensorboard.enabled:
            require_tensorboard(ctx.spec)
        going_on = train.resume_training_checkpoint_path
        resumed = ctx.workspace / Path(going_on).expanduser()
        if going_on and not resumed.exists():  # what it is, its own check says
            raise HardStop(
                "missing_input",
                "train.resume_training_checkpoint_path: no such file",
                file=resumed,
                fix="name a model file of a training, relative to the workspace or absolute",
            )
        if device != "cpu" and not torch.cuda.is_available():
            # The jobs may run on another machine, which has the GPUs.
            if train.num_gpus > 1 or train.precision in ("16-mixed", "16", "fp16"):
                return warn("training", f"{text}: cannot be tried without a GPU here")
            return ok("training", text)
        Precision(ctx.spec, training_devices(ctx.spec, device)[0])
    except HardStop as stop:
        return stopped("training", stop)
    return ok("training", text)


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of the network; with ``engine: tao`` too, since the hand-off is made here."""
    if ctx.spec is None:
        yield skipped("network", "a valid spec")
        return
    import torch

    from deft.changenet.model import build_model

    yield _onnx(ctx)
    if ctx.config.get("engine", "native") == "native":
        yield _training(ctx)
    name = ctx.spec.model.backbone.type
    try:
        # Shapes without numbers: a ViT costs a moment here, not seconds and gigabytes.
        with torch.device("meta"):
            model = build_model(ctx.spec)
    except HardStop as stop:
        yield stopped("network", stop)
    except (RuntimeError, NotImplementedError) as error:
        yield warn("network", f"{name} could not be tried without memory for it ({error})")
    else:
        count = sum(p.numel() for p in model.parameters())
        yield ok("network", f"{name} fits the spec: {count / 1e6:.1f} million parameters")
        yield from checks_weights.checks(ctx, model)
