"""Scoring new boards with a run's best model: what its hand-off's ``score.py`` does."""

from __future__ import annotations

import os
from pathlib import Path

from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.core.places import found
from deft.score_kit.errors import Stop
from deft.score_kit.score import Request, run


def score_boards(
    of: Run, table: str, images: str, *, typed_in: Path, device: str, threads: int
) -> Path:
    """Score ``table`` and return the written one, below ``results/<run>/scored/``.

    Other scores that lie there already are kept in a folder beside.

    ``images``: root of its pictures, by default that of the KPI's; both may be relative to
    ``typed_in``, else to the workspace. Raises HardStop with the codes of the hand-off's stops.
    """
    if not table:
        raise HardStop(
            "config_invalid",
            "table is not set: which parts are to be scored?",
            fix=f"{again('score', table='FILE', images='DIR')} (images: default kpi/images)",
        )
    workspace = Path(os.path.abspath(of.workspace))
    source = found(table, typed_in, workspace)
    root = found(images, typed_in, workspace) if images else layout.image_root(workspace)
    folder = Run(workspace, of.name).best_model
    if not (folder / "export.json").is_file():
        raise HardStop(
            "missing_input",
            f"{of.name} has no best model yet",
            file=folder / "export.json",
            fix=f"finish the run: {again(run=of.name)}",
        )
    out = folder.parent / "scored" / source.stem / "scores.csv"
    request = Request(
        folder,
        out,
        table=source,
        images=root,
        device=device,
        threads=threads,
        workers=max(2, threads),
        keep_earlier=True,
    )
    try:
        run(request, print)
    except Stop as stop:
        raise _hard(stop, folder, of.name) from None
    return out


def _hard(stop: Stop, folder: Path, name: str) -> HardStop:
    """Return a hard stop that says the same; a damaged hand-off is made again."""
    fix = stop.fix
    if stop.file is not None and Path(stop.file).is_relative_to(folder):
        fix = f"make the hand-off again: {again('best_model', '-R', 'export_best', run=name)}"
    return HardStop(stop.code, stop.message, file=stop.file, row=stop.rows, fix=fix)
