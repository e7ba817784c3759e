"""What a training, and the stages after it, would refuse of the tables: said before the gate.

The rule: once approved, only the machine may fail. What a later stage stops at and the inputs
already show is asked here with that stage's own function.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.preflight.check import TABLES, Check, Context, ok, skipped, stopped, warn
from deft.preflight.checks_run import preseeded_weights
from deft.rca.routing import route_by_label
from deft.tables.changenet_table import (
    PASS,
    SCORE_COLUMN,
    clean_label,
    image_name,
    line_of,
    read_table,
    rows_of,
)

# Columns that TAO uses, and whether it has them read as text.
TAO_READS = {"input_path": False, "golden_path": False, "label": False, "object_name": True}


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic."""
    yield _score_column(ctx)
    yield _trainable(ctx)
    yield _validation(ctx)
    yield _goldens(ctx)
    yield _routing(ctx)
    if ctx.config.get("engine", "native") == "tao":
        yield from _tao(ctx)


def _made(id: str, evidence: str, *questions: Callable[[], object]) -> Check:
    """Return the check that asks a stage's own questions, in order."""
    try:
        for question in questions:
            question()
    except HardStop as stop:
        return stopped(id, stop)
    return ok(id, evidence)


def _score_column(ctx: Context) -> Check:
    """Inference adds the column; evaluation would not know which one is meant."""
    if "kpi" not in ctx.tables:
        return skipped("score_column", TABLES["kpi"])
    taken = [name for name in ctx.tables["kpi"].columns if name.strip().lower() == SCORE_COLUMN]
    if not taken:
        return ok("score_column", f"{TABLES['kpi']} has no {SCORE_COLUMN} of its own")
    stop = HardStop(
        "csv_invalid",
        f"the KPI table already has a column {taken[0]!r}, which the inference writes",
        file=ctx.workspace / TABLES["kpi"],
        row=1,
        fix="remove the column: an inference table is no KPI table",
    )
    return stopped("score_column", stop)


def _labels(ctx: Context, table: str) -> np.ndarray:
    """Return (n,) float32, 1 = defective, as the loader reads a table."""
    bad: np.ndarray = ctx.tables[table]["label"].to_numpy() != PASS
    return bad.astype(np.float32)


def _trainable(ctx: Context) -> Check:
    id = "trainable"
    if ctx.spec is None or "base" not in ctx.tables:
        return skipped(id, f"{TABLES['base']} and a valid spec")
    from deft.changenet.data.sampling import check_trainable  # torch: seconds of import

    labels, count = _labels(ctx, "base"), ctx.spec.train.num_gpus
    path = ctx.workspace / TABLES["base"]
    found = _made(
        id,
        f"{len(labels)} training rows, both kinds, batches of "
        f"{ctx.spec.dataset.classify.batch_size}{f' on {count} processes' if count > 1 else ''}",
        partial(check_trainable, labels, ctx.spec, path, count),
    )
    if found.stop is not None and preseeded_weights(ctx):
        # The baseline is not trained here, and a lap's table has the mined rows too.
        return warn(
            id, f"{found.stop.message}: a lap may fail if mining adds too little", found.fix
        )
    return found


def _validation(ctx: Context) -> Check:
    id = "validation_rows"
    if "validation" not in ctx.tables:
        return skipped(id, TABLES["validation"])
    from deft.changenet.training.selection import need_both_classes

    labels, judge = _labels(ctx, "validation"), ctx.config.get("select_weights_by", "val_loss")
    path = ctx.workspace / TABLES["validation"]
    return _made(
        id,
        f"{len(labels)} validation rows, {int(labels.sum())} defective; best weights by {judge}",
        partial(need_both_classes, labels, judge, path),
    )


def _goldens(ctx: Context) -> Check:
    """With several goldens a pair, each row's folder must hold as many."""
    id, spec = "goldens", ctx.spec
    if spec is None or not ctx.sound:
        return skipped(id, "sound tables and a valid spec")
    count = spec.dataset.classify.num_golden
    if count == 1:
        looks = [partial(_all_there, ctx, name) for name in TABLES if name in ctx.sound]
        return _made(id, "one golden a pair, of the test picture's name", *looks)
    from deft.tables.goldens import GoldenFolders

    ext = spec.dataset.classify.image_ext

    def look(name: str) -> None:
        folders = ctx.tables[name]["golden_path"].tolist()
        path = ctx.workspace / TABLES[name]
        GoldenFolders(ctx.workspace, folders, spec.lights, ext, count, path)

    def pairs() -> None:
        if ctx.parts is not None and len(ctx.parts) < count:
            raise HardStop(
                "csv_invalid",
                f"dataset.classify.num_golden is {count}, but there are {len(ctx.parts)} "
                "pre-generated pairs, whose good pictures share one folder",
                file=ctx.workspace / "augmentation/anomalygen/original_image",
                fix="generate more pairs, or lower num_golden",
            )

    looks = [partial(look, name) for name in TABLES if name in ctx.sound]
    return _made(id, f"{count} goldens a pair: every folder holds as many", *looks, pairs)


def _all_there(ctx: Context, name: str) -> None:
    """Raise ``missing_input`` for goldens that are not there; of many rows few were decoded."""
    assert ctx.spec is not None
    rows, ext = ctx.tables[name], ctx.spec.dataset.classify.image_ext
    lights = ctx.spec.lights
    if len(rows) <= int(ctx.config.get("preflight_sample_rows") or 0):
        return  # all were decoded
    known: dict[str, bool] = {}
    absent: dict[str, list[int]] = {}
    for index, folder, part in rows_of(rows, "index", "golden_path", "object_name"):
        for light in lights:
            file = f"{folder}/{image_name(part, light, ext)}"
            if file not in known:
                known[file] = os.path.isfile(ctx.workspace / file)
            if not known[file]:
                absent.setdefault(file, []).append(line_of(index))
    if absent:
        first, rows_of_first = next(iter(absent.items()))
        raise HardStop(
            "missing_input",
            f"golden picture {first}: the picture does not exist; {len(absent)} such pictures",
            file=ctx.workspace / TABLES[name],
            row=[*rows_of_first, *(n for lines in list(absent.values())[1:] for n in lines)],
            fix="restore the picture(s), or remove the row(s)",
        )


def _routing(ctx: Context) -> Check:
    """Every label of the KPI set has weak samples in each analysis, so each must go somewhere."""
    id, mode = "routing", ctx.config.get("routing", "pregen")
    if mode != "by_label" or not ctx.config.get("max_iterations", 3):
        return ok(id, "every weak sample goes to mining")
    if not {"kpi", "pool"} <= set(ctx.tables):
        return skipped(id, "the KPI table and the mining pool")
    drawn = {part.label for part in ctx.parts or []}
    pool = drawn | {clean_label(label) for label in ctx.tables["pool"]["label"]}
    found = _made(
        id,
        "each label of the KPI set goes to mining or to AnomalyGen",
        lambda: route_by_label(
            ctx.tables["kpi"][["label"]].drop_duplicates(),
            pool,
            list(ctx.config.get("anomalygen_labels") or []),
            list(ctx.config.get("allow_unrouted") or []),
        ),
    )
    if found.stop and ctx.config.get("engine", "native") != "native":
        return warn(id, found.stop.message, found.stop.fix or "")  # TAO chooses the weak samples
    return found


def _tao(ctx: Context) -> Iterator[Check]:
    """What TAO's container refuses of a table, or reads otherwise than it stands there."""
    if ctx.spec is None:
        return
    train, (epochs, _) = ctx.spec.train, ctx.facts.get("num_epochs", (1, ""))
    both = math.lcm(train.checkpoint_interval, train.validation_interval)
    if train.checkpoint_interval_unit == "epoch" and both > epochs:
        yield warn(
            "tao_intervals",
            f"of {epochs} epochs none has both a model file (every {train.checkpoint_interval}) "
            f"and a validation (every {train.validation_interval}): no file could be chosen",
            "make train.checkpoint_interval a multiple of train.validation_interval",
        )
    size, kpi = ctx.spec.dataset.classify.batch_size, ctx.tables.get("kpi")
    if kpi is not None and len(kpi) < size:
        stop = HardStop(
            "spec_invalid",
            f"dataset.classify.batch_size {size} is more than the {len(kpi)} rows of the KPI "
            "table: TAO's inference ends with an error",
            file=ctx.workspace / TABLES["kpi"],
            fix=f"set dataset.classify.batch_size to {len(kpi)} or less in the spec",
        )
        yield stopped("tao_rows", stop)
    for name in ("base", "validation", "kpi"):
        if name not in ctx.sound:
            continue
        table = read_table(ctx.workspace / TABLES[name])  # as TAO sees it
        for column, as_text in TAO_READS.items():
            if column in table:
                yield from _read_otherwise(ctx, name, table[column], as_text)


def _read_otherwise(ctx: Context, name: str, cells: pd.Series, as_text: bool) -> Iterator[Check]:
    """TAO reads its tables with pandas' defaults: `NA` is no value, a column of digits no text."""
    distinct = pd.Series(cells.unique(), name=cells.name)
    read = pd.read_csv(
        io.StringIO(distinct.to_csv(index=False)),
        dtype=str if as_text else None,
        skip_blank_lines=False,
    )[cells.name]
    lost = set(distinct[read.isna().to_numpy()]) - {""}
    if lost:
        text = f"{cells.name} {sorted(lost)[0]!r} is read as an empty cell by TAO"
    elif not as_text and pd.api.types.is_numeric_dtype(read) and len(read):
        lost, text = set(distinct), f"{cells.name} has digits alone, which TAO reads as numbers"
    else:
        return
    rows = [line_of(i) for i, cell in zip(cells.index, cells, strict=True) if cell in lost]
    fix = "give the folder or label another name"
    yield stopped(
        "tao_cells",
        HardStop("csv_invalid", text, file=ctx.workspace / TABLES[name], row=rows, fix=fix),
    )
