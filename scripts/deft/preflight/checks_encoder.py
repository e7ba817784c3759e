"""The encoder of the mining stage: are its files here, complete and understood?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deft.core.airgap import offline
from deft.core.credentials import state_of
from deft.core.errors import HardStop
from deft.embedding.encoders.files import files_of, hub_files_missing
from deft.embedding.encoders.table import PUBLISHED, Published
from deft.preflight import checks_tao
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.settings.tao import embeds_in_container

ID = "encoder_weights"


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of this topic."""
    name = str(ctx.config.get("encoder"))
    if ctx.config.get("mining") in {"random", "none"}:
        yield ok(ID, f"not needed by mining: {ctx.config['mining']}")
    elif name not in PUBLISHED:
        yield ok(ID, f"{name}: the baseline's own weights, none to stage")
    elif embeds_in_container(ctx.config):
        yield checks_tao.encoder(ctx, name, ctx.config.get("encoder_weights"))
    else:
        yield _published(ctx, PUBLISHED[name], ctx.config.get("encoder_weights"))


def _published(ctx: Context, encoder: Published, weights: str | None) -> Check:
    """Return whether the files are in the folder, in the cache, or can be fetched."""
    folder = ctx.workspace / Path(str(weights)).expanduser() if weights else None
    lacking = [] if folder else hub_files_missing(encoder.name)
    if lacking and not offline():
        token = state_of(ctx.workspace, "HF_TOKEN")
        about = f"about {encoder.megabytes} MB of {encoder.repository} will be fetched"
        text = f"{encoder.name} = {encoder.model} lacks {', '.join(lacking)} in the cache; {about}"
        if encoder.gated and token == "unset":
            return stopped(
                ID,
                HardStop(
                    "missing_input",
                    f"{text}, but the repository is gated and HF_TOKEN is unset",
                    file=lacking[0],
                    fix=f"set HF_TOKEN, or {encoder.advice()}",
                ),
            )
        gated = f"; gated, HF_TOKEN {token}" if encoder.gated else ""
        return warn(ID, text + gated, f"without a connection, {encoder.advice()}")
    try:
        files = files_of(encoder.name, folder)
        from deft.embedding.encoders.opening import check, size_px  # imports torch

        height, width = size_px(files)
        check(files)
    except HardStop as stop:
        return stopped(ID, stop)
    where = ctx.relative(files.weights) if folder else "in the local cache"
    pinned = "; its reference embeddings will be compared" if files.reference else ""
    return ok(ID, f"{encoder.name}, {width} × {height} px: {where}{pinned}")
