"""Do test pictures lie on their goldens? A sample of every board and light is measured.

A board that lies off by a few pixels makes most of its false alarms by that alone, and no row that
is mined mends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import SPEC
from deft.core.registered import grown_since, read_record
from deft.preflight.check import Check, Context, Suspect, ok, skipped, stopped, warn
from deft.score_kit.registration import Registration, register
from deft.tables.changenet_table import image_file, rows_of
from deft.tables.pictures import PictureError, open_rgb

ID = "registration"
SAMPLED = ("base", "kpi")
PER_BOARD, PAIRS = 8, 160  # of a board and light, and of all: some 30 ms each
LEAST = 3  # measured pairs without which nothing is said of a board
OFF_PCT = 4.0  # of the picture's longer side: boards of DeepPCB lie off by 1 % in the median
SHOWN = 5
BOARDS_TOLD = 6


class Pair(NamedTuple):
    """A sampled pair: its board, its light, and both pictures, relative to the workspace."""

    board: str
    light: str
    test: str
    golden: str


def checks(ctx: Context) -> Iterator[Check]:
    """Yield what was registered, and the check; a named board's worst pairs go to the page."""
    yield from _registered(ctx)
    tables = [ctx.tables[name] for name in SAMPLED if name in ctx.sound]
    if ctx.spec is None or not tables:
        yield skipped(ID, "the training or the KPI table, and a valid spec")
        return
    pairs = sample(pd.concat(tables, ignore_index=True), ctx)
    measured = _measured(ctx, pairs)
    if not measured:
        yield ok(ID, "no pair could be opened; the checks of the pictures say why")
        return
    sure = [(pair, found, side) for pair, found, side in measured if not found.doubt]
    if not sure:
        yield ok(ID, f"of {len(measured)} pairs none shows a shift that could be measured")
        return
    shifts = np.array([found.shift_px for _, found, _ in sure])
    told = (
        f"{len(sure)} of {len(measured)} pairs measured, the others show tracks or surfaces "
        f"alone: median shift {np.median(shifts):.1f} px, "
        f"95 % below {np.quantile(shifts, 0.95):.1f}"
    )
    off = _off(sure)
    if not off:
        yield ok(ID, told)
        return
    for board, _, worst in off:
        for pair, found in worst[:SHOWN]:
            what = f"board {board or '(none)'}: {_words(found)}"
            ctx.suspects.append(Suspect(ID, pair.test, pair.golden, what))
    names = "; ".join(f"{board or '(no board)'} {words}" for board, words, _ in off[:BOARDS_TOLD])
    more = f" and {len(off) - BOARDS_TOLD} more" if len(off) > BOARDS_TOLD else ""
    yield warn(
        ID,
        f"{told}; off their goldens: {names}{more}",
        "look at the page of pairs; then align them where they are taken, or lay them on their "
        "goldens: "
        + again(
            "register_pictures",
            register="shift",
            register_from=str(ctx.workspace),
            workspace="DIR",
        ),
    )


def _registered(ctx: Context) -> Iterator[Check]:
    """Yield how this workspace's pictures were registered, where they were."""
    id = "registered_pictures"
    try:
        record = read_record(ctx.workspace)
        grown = grown_since(ctx.workspace)
    except HardStop as stop:
        yield stopped(id, stop)
        return
    if not record:
        return
    counts, kind = record["counts"], record["register"]
    told = (
        f"{kind}: of {counts['parts']} parts {counts['moved']} were moved onto their goldens, "
        f"{counts['doubtful']} are doubtful and were left; new boards are treated alike"
    )
    if ctx.spec is not None and ctx.spec.dataset.classify.num_golden > 1:
        several = HardStop(
            "spec_invalid",
            f"num_golden is {ctx.spec.dataset.classify.num_golden}, and the workspace's pictures "
            "are registered on one golden each",
            file=ctx.workspace / SPEC,
            fix="set num_golden: 1, or use the workspace with the pictures as they were taken",
        )
        yield stopped(id, several)
    elif grown:
        source = record["root"]
        yield warn(
            id,
            f"{told}; since then {', '.join(grown)} of {source} changed",
            "to add what is new: "
            + again("register_pictures", register=kind, register_from=source),
        )
    else:
        yield ok(id, told)


def sample(rows: pd.DataFrame, ctx: Context) -> list[Pair]:
    """Return a seeded sample of distinct pairs, of every board and light alike."""
    assert ctx.spec is not None
    ext = ctx.spec.dataset.classify.image_ext
    boards = rows["boardname"] if "boardname" in rows else pd.Series("", index=rows.index)
    places = ["input_path", "object_name", "golden_path"]
    rows = rows[places].assign(board=boards.fillna("").astype(str))
    order = np.random.default_rng(0).permutation(len(rows))
    rows = rows.iloc[order].drop_duplicates(places)
    lights = ctx.spec.lights
    each = max(1, min(PER_BOARD, PAIRS // max(1, rows["board"].nunique() * len(lights))))
    rows = rows[rows.groupby("board").cumcount() < each].sort_values("board", kind="stable")
    found = []
    for folder, name, golden, board in rows_of(rows, *places, "board"):
        for light in lights:
            pair = (folder, name), (golden, ctx.goldens.beside(golden, name))
            files = (image_file("", at, shown, light, ext) for at, shown in pair)
            found.append(Pair(board, light, *(path.as_posix() for path in files)))
    chosen = np.random.default_rng(0).permutation(len(found))[:PAIRS]
    return [found[i] for i in sorted(chosen.tolist())]


def _measured(ctx: Context, pairs: list[Pair]) -> list[tuple[Pair, Registration, int]]:
    """Return pair, registration and the golden's longer side in px, of the pairs that open."""
    levels = ctx.config.get("picture_levels")

    def one(pair: Pair) -> tuple[Pair, Registration, int] | None:
        try:
            test, golden = (
                np.asarray(open_rgb(ctx.workspace / name, levels))
                for name in (pair.test, pair.golden)
            )
        except (HardStop, PictureError, OSError, ValueError):
            return None  # the checks of the pictures have named it
        return pair, register(test, golden, turn=True), max(golden.shape[:2])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as workers:
        return [found for found in workers.map(one, pairs) if found is not None]


Worst = list[tuple[Pair, Registration]]


def _off(sure: list[tuple[Pair, Registration, int]]) -> list[tuple[str, str, Worst]]:
    """Return (board, figures, its pairs from the worst) of boards that lie off, worst first."""
    groups: dict[tuple[str, str], list[tuple[Pair, Registration, int]]] = {}
    for one in sure:
        groups.setdefault((one[0].board, one[0].light), []).append(one)
    found = []
    for (board, light), members in groups.items():
        shares = [100 * each.shift_px / side for _, each, side in members]
        middle = float(np.median(shares))
        if len(members) < LEAST or middle < OFF_PCT:
            continue
        shift = np.median([[e.dx_px, e.dy_px] for _, e, _ in members], axis=0)
        turn = float(np.median([e.rotation_deg for _, e, _ in members]))
        length = np.median([e.shift_px for _, e, _ in members])
        words = (
            f"under {light or 'its light'}: median {length:.1f} px (x {shift[0]:+.1f}, "
            f"y {shift[1]:+.1f}, {turn:+.1f} deg; {len(members)} pairs)"
        )
        worst = sorted(((p, e) for p, e, _ in members), key=lambda one: -one[1].shift_px)
        found.append((middle, board, words, worst))
    found.sort(key=lambda one: (-one[0], one[1]))
    return [(board, words, worst) for _, board, words, worst in found]


def _words(found: Registration) -> str:
    return (
        f"shift x {found.dx_px:+.1f} px, y {found.dy_px:+.1f} px, "
        f"turn {found.rotation_deg:+.1f} deg, "
        f"match {found.match_before:.2f}, {found.match:.2f} once aligned"
    )
