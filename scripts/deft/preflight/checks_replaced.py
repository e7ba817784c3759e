"""Are the pictures those that this run began with?

A picture that is replaced under its name changes no table. Its scores, and what was trained with
it, are then another picture's: the run notes what its first pre-flight saw, later ones compare, and
the rules that read the table's pictures take what is found as a parameter.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core.files import replace_atomically, write_json_atomic
from deft.core.layout import TABLES
from deft.pool.digest import GATE_FILE
from deft.pool.replaced import REPLACED_FILE
from deft.preflight.check import Check, Context, ok, skipped, warn
from deft.preflight.checks_pictures import KINDS, named
from deft.score_kit.errors import rows_text
from deft.tables.changenet_table import image_name

ID = "replaced_pictures"
SEEN_FILE = "preflight/pictures.npz"  # name and content of every picture, 8 bytes each
SCHEMA_VERSION = 1
AGAIN = {
    "base": "the training runs again",
    "validation": "the training runs again",
    "kpi": "the inference runs again",
}


def checks(ctx: Context) -> Iterator[Check]:
    """Yield what was replaced, table by table."""
    if ctx.spec is None or not ctx.prints:
        yield skipped(ID, "pictures that decode")
        return
    known = _seen(ctx.run_dir, ctx.config.get("picture_levels"))
    if known is None:
        yield ok(ID, f"{len(ctx.prints)} pictures noted; later commands are told of replaced ones")
        return
    names, prints = _hashed(ctx)
    at = np.searchsorted(known["names"], names).clip(max=len(known["names"]) - 1)
    changed = (known["names"][at] == names) & (known["prints"][at] != prints)
    if not changed.any():
        yield ok(ID, f"{len(names)} pictures, none replaced since this run first looked at them")
        return
    pictures = np.array(list(ctx.prints), dtype=object)[changed].tolist()
    for name in TABLES:
        yield from _of_table(ctx, name, set(pictures))


def _of_table(ctx: Context, name: str, changed: set[str]) -> Iterator[Check]:
    if name not in ctx.sound:
        return
    assert ctx.spec is not None
    lights, ext = ctx.spec.lights, ctx.spec.dataset.classify.image_ext
    found: dict[str, int] = {}
    for column in KINDS:
        for lines, folder, part in named(ctx, ctx.tables[name], column):
            for light in lights:
                picture = f"{folder}/{image_name(part, light, ext)}"
                if picture in changed:
                    found.setdefault(picture, lines[0])
    if not found:
        return
    told = "\n".join(f"{picture}\t{ctx.prints[picture].digest}" for picture in sorted(found))
    sha256 = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
    first = min(found, key=lambda picture: found[picture])
    ctx.replaced[name] = {"pictures": len(found), "first": first, "sha256": sha256}
    rows = rows_text(sorted(set(found.values())))
    yield warn(
        f"{ID}:{name}",
        f"{len(found)} picture(s) of {TABLES[name]} are not those that this run began with: "
        f"{rows}, first {first}",
        f"as meant: {AGAIN[name]} after the approval; else put the earlier pictures back"
        if name in AGAIN
        else "what is embedded and mined stays of the earlier ones: begin a new run for these, or "
        "put the earlier ones back",
    )


def write_seen(ctx: Context) -> None:
    """Write what was replaced, and on a run's first look what there is.

    To be called after checks without a stop: of broken pictures nothing is known.
    """
    if ctx.spec is None or not ctx.prints:
        return
    levels = ctx.config.get("picture_levels")
    if _seen(ctx.run_dir, levels) is None:
        names, prints = _hashed(ctx)
        order = np.argsort(names, kind="stable")
        arrays: dict[str, Any] = {"names": names[order], "prints": prints[order]}
        arrays["levels"] = np.array(-1 if levels is None else levels)

        def save(path: Path) -> None:
            with path.open("wb") as handle:
                np.savez(handle, **arrays)

        replace_atomically(ctx.run_dir / SEEN_FILE, save)
    record = {"schema_version": SCHEMA_VERSION, "replaced": ctx.replaced}
    write_json_atomic(ctx.run_dir / REPLACED_FILE, record)


def _hashed(ctx: Context) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each picture's name, and one for its content (uint64)."""
    texts = list(ctx.prints), [found.digest for found in ctx.prints.values()]
    names, prints = (
        pd.util.hash_array(np.array(each, dtype=object), categorize=False) for each in texts
    )
    return names, prints


def _seen(run_dir: Path, levels: float | None) -> dict[str, np.ndarray] | None:
    """Return what the run's first look noted.

    None before the gate was passed, without a record that can be read, and where pictures are read
    by other levels than then.
    """
    if not (run_dir / GATE_FILE).is_file():
        return None
    try:
        with np.load(run_dir / SEEN_FILE, allow_pickle=False) as stored:
            found = {name: stored[name] for name in ("names", "prints", "levels")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    sound = all(
        found[name].dtype == np.uint64 and found[name].ndim == 1 for name in ("names", "prints")
    )
    same = sound and len(found["names"]) == len(found["prints"]) > 0
    return found if same and found["levels"] == (-1 if levels is None else levels) else None
