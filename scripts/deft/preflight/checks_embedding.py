"""How pictures are embedded and where the vectors are kept: settings that only fail hours later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.hardware import has_card
from deft.embedding.cache import cache_folder
from deft.preflight.check import Check, Context, ok, stopped


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic."""
    yield _cache(ctx)
    yield _runtime(ctx)


def _cache(ctx: Context) -> Check:
    folder = cache_folder(ctx.workspace, ctx.config.get("embedding_cache"))
    if folder is None:
        return ok("embedding_cache", "off: every run embeds every picture again")
    there: Path = next(p for p in (folder, *folder.parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is no folder"
        stop = HardStop(
            "config_invalid",
            f"embedding_cache is to be {folder}, but {there} {why}",
            file=there,
            fix='name another folder in embedding_cache, or set it to "off"',
        )
        return stopped("embedding_cache", stop)
    return ok("embedding_cache", ctx.relative(folder))


def _runtime(ctx: Context) -> Check:
    config = ctx.config
    runtime, precision = config.get("embed_runtime"), config.get("embed_precision")
    compiled = bool(config.get("embed_compile"))
    wrong = {
        "device: cuda": config.get("device") == "cuda",
        "device: auto beside a GPU": config.get("device") == "auto" and has_card(),
        f"embed_precision: {precision}": precision != "float32",
        "embed_compile: true": compiled,
    }
    named = [name for name, on in wrong.items() if on]
    if runtime == "onnx" and named:
        stop = HardStop(
            "config_invalid",
            f"embed_runtime: onnx computes in float32 on a CPU, not with {', '.join(named)}",
            fix="set embed_runtime: torch, or device: cpu",
        )
        return stopped("embedding", stop)
    text = f"{precision}, {'torch.compile' if compiled else runtime}"
    return ok("embedding", f"{text}, {config.get('embed_batch_size')} pictures a pass")
