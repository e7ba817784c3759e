"""Whether the spec's network can be built: the dearest check, made when no other stops."""

from __future__ import annotations

from collections.abc import Iterator

from deft.errors import HardStop
from deft.preflight.check import Check, Context, ok, skipped, stopped, warn


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of the network; another engine builds its own."""
    if ctx.spec is None:
        yield skipped("network", "a valid spec")
        return
    if ctx.config.get("engine", "native") != "native":
        return
    import torch

    from deft.changenet.model import build_model

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
