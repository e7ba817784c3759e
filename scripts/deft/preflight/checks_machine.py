"""The machine: cards and batch size, weights at hand, containers, credentials, disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deft.airgap import offline
from deft.credentials import state_of
from deft.errors import HardStop
from deft.hardware import advised_batch, cpus, free_disk_gib, gpus
from deft.layout import BACKBONE_DIR, SPEC
from deft.preflight import checks_embedding, checks_encoder, checks_tao, checks_weights
from deft.preflight.check import Check, Context, ok, skipped, stopped, warn
from deft.weight_files import refuse_foreign

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".ckpt")
CREDENTIALS = ("HF_TOKEN", "NGC_API_KEY")
VIT_B_MARKS = ("vit_base", "vit-b", "vit_b")
SPARE_GIB = 2.0  # logs, plots, the staged pool
VECTOR_BYTES = 3 * 4 * 768  # of a pool picture: in the cache, its shard and the joined table
GIB = 2**30
ADAM_STATE = 2  # numbers that the optimizer keeps of each weight


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic."""
    yield from _gpu(ctx)
    yield _backbone(ctx)
    yield from checks_weights.staged(ctx)
    yield from checks_encoder.checks(ctx)
    yield from checks_embedding.checks(ctx)
    yield from _containers(ctx)
    yield _credentials(ctx)
    yield _disk(ctx)


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
    if ctx.spec is None:
        return skipped("backbone_weights", "a valid spec")
    folder = ctx.workspace / BACKBONE_DIR
    staged = [p for p in sorted(folder.glob("*")) if p.suffix.lower() in WEIGHT_SUFFIXES]
    backbone = ctx.spec.model.backbone
    known = [
        ("train.pretrained_model_path", ctx.spec.train.pretrained_model_path),
        ("model.backbone.pretrained_backbone_path", backbone.pretrained_backbone_path),
    ]
    given = [(key, value) for key, value in known if value]
    for key, value in given:
        stop = _weights_stop(ctx, key, value, staged)
        if stop is not None:
            return stop
    if given:
        return ok("backbone_weights", "; ".join(f"{key}: {value}" for key, value in given))
    hint = f"; staged but not named in the spec: {staged[0].name}" if staged else ""
    return warn(
        "backbone_weights",
        f"{ctx.spec.model.backbone.type} starts from random numbers{hint}",
        "name pretrained weights in model.backbone.pretrained_backbone_path",
    )


def _weights_stop(ctx: Context, key: str, value: str, staged: list[Path]) -> Check | None:
    """Return a check when the weights are not at hand, None when they are."""
    path = ctx.workspace / Path(value).expanduser()
    if path.exists():
        try:
            refuse_foreign(path, f"{key} {value!r}")
        except HardStop as stop:
            return stopped("backbone_weights", stop)
        return None
    remote = "://" in value
    near = [p for p in staged if p.name == Path(value).name]
    if near:
        fix = f"set {key}: {ctx.relative(near[0])}"
    elif remote:
        fix = f"download {value}, put the file under {BACKBONE_DIR}/ and name that path in {key}"
    else:
        fix = f"put the file there, or under {BACKBONE_DIR}/ and name that path in {key}"
    why = "is no local file" if remote else "does not exist"
    if remote and offline():
        why += " and downloads are off (HF_HUB_OFFLINE or AIR_GAPPED)"
    message = f"{key} {value!r} {why}"
    stop = HardStop("missing_input", message, file=value if remote else path, fix=fix)
    return stopped("backbone_weights", stop)


def _containers(ctx: Context) -> Iterator[Check]:
    if ctx.config.get("engine", "native") != "tao":
        yield ok("containers", "none needed (engine: native)")
        return
    yield from checks_tao.checks(ctx)


def _credentials(ctx: Context) -> Check:
    states = {name: state_of(ctx.workspace, name) for name in CREDENTIALS}
    ctx.facts["credentials"] = states
    return ok("credentials", ", ".join(f"{name} {state}" for name, state in states.items()))


def _disk(ctx: Context) -> Check:
    free = free_disk_gib(ctx.run_dir)
    if ctx.spec is None:
        return ok("disk", f"{free:.1f} GiB free")
    from deft.changenet.model import state_bytes  # seconds of import, wanted only here

    train = ctx.spec.train
    count, _ = ctx.facts.get("num_epochs", (train.num_epochs, ""))
    each = state_bytes(ctx.spec) / GIB
    phases = int(ctx.config.get("max_iterations", 3)) + 1
    files = -(-count // max(1, train.checkpoint_interval))
    # TAO keeps the optimizer's state in every file.
    tao = ctx.config.get("engine") == "tao"
    wanted = "all" if tao else ctx.config.get("optimizer_state", "last")
    kept = {"none": 0, "last": 1, "all": files}[wanted]
    # A training under way also has its resume state; the last export is one more network.
    pool = len(ctx.tables.get("pool", ())) * len(ctx.spec.lights) * VECTOR_BYTES / GIB
    need = SPARE_GIB + pool + each * (phases * (files + kept * ADAM_STATE) + 1 + ADAM_STATE + 1)
    ctx.facts["disk"] = {"free_gib": round(free, 1), "need_gib": round(need, 1)}
    text = f"{free:.1f} GiB free; about {need:.1f} GiB for {phases} phases of {files} weights files"
    if free < need:
        fix = "free some space, or raise train.checkpoint_interval to keep fewer files"
        return warn("disk", text, fix)
    return ok("disk", text)
