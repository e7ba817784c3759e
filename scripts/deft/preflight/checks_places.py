"""Everything that the loop will write: is there room for it under its name?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from deft.core import places
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.preflight.check import Check, Context, ok, stopped, warn

ID = "places"


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of this topic: one row for each place that is taken."""
    run = Run(ctx.workspace, ctx.run_dir.name)
    folders, files = places.all_needed(run, int(ctx.config.get("max_iterations", 3)))
    found = [*_no_utf8(ctx), *places.stops(ctx.workspace, folders, files), *_not_text(ctx)]
    yield from (stopped(ID, stop) for stop in found)
    if found:
        return
    away = places.outside(ctx.workspace)
    if away:
        text = ", ".join(f"{name}/ is a link to {path}" for name, path in away.items())
        yield warn(ID, f"{text}, outside the workspace", "right where another disk holds the runs")
        return
    yield ok(ID, f"{len(folders)} folders and {len(files)} files to write: nothing in the way")


def _no_utf8(ctx: Context) -> Iterator[HardStop]:
    """Parquet tables hold the workspace's path, and their texts are UTF-8."""
    root = os.path.abspath(ctx.workspace)
    try:
        root.encode("utf-8")
    except UnicodeEncodeError:
        yield HardStop(
            "config_invalid",
            f"the workspace's path {root!r} is not UTF-8: no table could hold it",
            file=root,
            fix="rename the folder (convmv does that for whole trees), or move the workspace",
        )


def _not_text(ctx: Context) -> Iterator[HardStop]:
    """Pages of the knowledge base are added to, so what is there must be readable as text."""
    for name in places.KNOWLEDGE_PAGES:
        path = ctx.workspace / places.KNOWLEDGE / name
        if not path.is_file():
            continue
        try:
            path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield HardStop(
                "config_invalid",
                f"the loop adds to this page, and it cannot be read as UTF-8 text ({error})",
                file=path,
                fix=places.FIX,
            )
