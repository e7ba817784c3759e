"""The machine: cards and batch size, weights at hand, containers, credentials, disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deft.changenet.spec.backbones import needs_file
from deft.core.airgap import offline
from deft.core.credentials import state_of
from deft.core.errors import HardStop
from deft.core.hardware import advised_batch, cpus, gpus
from deft.core.layout import BACKBONE_DIR, SPEC
from deft.core.weight_files import BACKBONE_KEY, refuse_foreign, staged_files
from deft.preflight import (
    checks_disk,
    checks_embedding,
    checks_encoder,
    checks_tao,
    checks_weights,
)
from deft.preflight.check import Check, Context, ok, skipped, stopped, warn
from deft.preflight.checks_run import preseeded_weights

CREDENTIALS = ("HF_TOKEN", "NGC_API_KEY")
VIT_B_MARKS = ("vit_base", "vit-b", "vit_b")


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic."""
    yield from _gpu(ctx)
    yield _backbone(ctx)
    yield from checks_weights.staged(ctx)
    yield from checks_encoder.checks(ctx)
    yield from checks_embedding.checks(ctx)
    yield from _containers(ctx)
    yield _credentials(ctx)
    yield checks_disk.check(ctx)


def _gpu(ctx: Context) -> Iterator[Check]:
    device, found = ctx.config.get("device", "auto"), gpus()
    ctx.facts["gpus"] = [gpu.as_dict() for gpu in found]
    if device == "cpu":
        yield ok("gpu", f"not used (device: cpu); {cpus()} CPU cores")
        return
    if not found:
        text = f"no NVIDIA GPU on this machine ({cpus()} CPU cores)"
        if device == "cuda":
            fix = "right on a login node whose jobs get a GPU; otherwise set device=auto or cpu"
            yield warn("gpu", f"device is cuda, but there is {text}", fix)
        else:
            yield warn("gpu", text, "training on a CPU is for small timm: backbones")
        return
    cards = ", ".join(f"{g.name} {g.memory_gib:g} GiB ({g.free_gib:g} free)" for g in found)
    yield ok("gpu", f"{len(found)} × GPU: {cards}")
    yield _batch(ctx, min(g.memory_gib for g in found))


def _batch(ctx: Context, memory_gib: float) -> Check:
    if ctx.spec is None:
        return skipped("batch_size", "a valid spec")
    name, batch = ctx.spec.model.backbone.type.lower(), ctx.spec.dataset.classify.batch_size
    if not any(mark in name for mark in VIT_B_MARKS):
        return ok("batch_size", f"{batch}; the memory rule is for ViT-B backbones")
    height, width = ctx.spec.tensor_size
    limit = advised_batch(memory_gib, height * width)
    text = f"{batch} for ViT-B at {width} × {height} px on {memory_gib:g} GiB; advised ≤ {limit}"
    if batch > limit:
        fix = f"set dataset.classify.batch_size to {limit} or less in {SPEC}"
        return warn("batch_size", text, fix)
    return ok("batch_size", text)


def _backbone(ctx: Context) -> Check:
    """Return whether the weights to start from are at hand; whether they fit is asked later."""
    id, spec = "backbone_weights", ctx.spec
    if spec is None:
        return skipped(id, "a valid spec")
    staged = staged_files(ctx.workspace / BACKBONE_DIR)
    start, named = spec.train.pretrained_model_path, spec.model.backbone.pretrained_backbone_path
    known = (("train.pretrained_model_path", start), (BACKBONE_KEY, named))
    for key, value in known:
        there = value and (ctx.workspace / Path(value).expanduser()).exists()
        if value and (there or key != BACKBONE_KEY or not staged):
            stop = _weights_stop(ctx, key, value)
            if stop is not None:
                return _unless_seeded(ctx, stop)
    random = bool(ctx.config.get("random_weights"))
    try:
        needed = bool(named) or needs_file(spec, random_weights=random)
    except HardStop as stop:
        return stopped(id, stop)
    if needed and not named and not staged:
        absent = HardStop(
            "missing_input",
            f"{BACKBONE_KEY} is empty, and no weights of {spec.model.backbone.type} are staged",
            file=ctx.workspace / BACKBONE_DIR,
            fix=f"put its weights there, or name their path in {BACKBONE_KEY}, or set "
            "random_weights=true to start from random numbers",
        )
        return _unless_seeded(ctx, stopped(id, absent))
    given = [
        (k, v) for k, v in (("train.pretrained_model_path", start), (BACKBONE_KEY, named)) if v
    ]
    if given or needed:
        told = "; ".join(f"{key}: {value}" for key, value in given)
        return ok(id, told or f"{BACKBONE_KEY} is empty: {len(staged)} staged file(s) are tried")
    hint = f"; staged but not named in the spec: {staged[0].name}" if staged else ""
    asked = " (random_weights)" if random else ""
    return warn(
        id,
        f"{spec.model.backbone.type} starts from random numbers{asked}{hint}",
        f"name pretrained weights in {BACKBONE_KEY}",
    )


def _unless_seeded(ctx: Context, found: Check) -> Check:
    """Return a stop for absent weights as a warning where the baseline is not trained here."""
    if found.stop is None or not preseeded_weights(ctx):
        return found
    return warn(found.id, f"{found.evidence}; the pre-seeded baseline does without", found.fix)


def _weights_stop(ctx: Context, key: str, value: str) -> Check | None:
    """Return a check when the weights are not at hand, None when they are."""
    path = ctx.workspace / Path(value).expanduser()
    if path.exists():
        try:
            refuse_foreign(path, f"{key} {value!r}")
        except HardStop as stop:
            return stopped("backbone_weights", stop)
        return None
    remote = "://" in value
    if remote:
        fix = f"download {value}, and put the file under {BACKBONE_DIR}/"
    else:
        fix = f"put the file there, or under {BACKBONE_DIR}/"
    if key != BACKBONE_KEY:
        fix += f" and name that path in {key}"
    why = "is no local file" if remote else "does not exist"
    if remote and offline():
        why += " and downloads are off (HF_HUB_OFFLINE or AIR_GAPPED)"
    message = f"{key} {value!r} {why}"
    absent = HardStop("missing_input", message, file=value if remote else path, fix=fix)
    return stopped("backbone_weights", absent)


def _containers(ctx: Context) -> Iterator[Check]:
    if ctx.config.get("engine", "native") != "tao":
        yield ok("containers", "none needed (engine: native)")
        return
    yield from checks_tao.checks(ctx)


def _credentials(ctx: Context) -> Check:
    states = {name: state_of(ctx.workspace, name) for name in CREDENTIALS}
    ctx.facts["credentials"] = states
    return ok("credentials", ", ".join(f"{name} {state}" for name, state in states.items()))
