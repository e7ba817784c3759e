"""Workspace, spec, KPI sentence and tables: found, readable, and every cell inside."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from deft.changenet.spec import check_intervals, examine
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import FALLBACK_IMAGES, PREGEN_DIR, SPEC, image_root
from deft.kpi.measuring import refuse_program
from deft.kpi.operating_point import parse_kpi
from deft.preflight.check import TABLES, Check, Context, counted, ok, skipped, stopped, warn
from deft.preflight.checks_tables import labels_fix, with_hint
from deft.settings.config import epochs
from deft.settings.metric_contract import contract_of
from deft.tables.changenet_table import (
    PASS,
    is_ng,
    line_of,
    read_table,
    split_pool_cell,
)
from deft.tables.coordinates import base_rows, inside_cell, pool_rows, read_pool
from deft.tables.label_words import good_word
from deft.tables.picture_roots import doubtful, other_root, roots_of

WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of this topic, filling ``ctx`` with what later topics need."""
    if not ctx.workspace.is_dir():
        stop = HardStop(
            "missing_input",
            "the workspace does not exist",
            file=ctx.workspace,
            fix=f"set workspace=PATH, or draw one: {again('demo_workspace')}",
        )
        yield stopped("workspace", stop)
        return
    yield ok("workspace", f"{ctx.workspace.resolve()}")
    yield _image_root(ctx)
    yield from _spec(ctx)
    yield _kpi_target(ctx)
    if ctx.config.get("metric_contract") is not None:
        yield _metric_contract(ctx)
    for name in TABLES:
        yield from _table(ctx, name)
    yield from _roots(ctx)
    _spell(ctx)
    yield _kpi_classes(ctx)
    yield _training_classes(ctx)


def _image_root(ctx: Context) -> Check:
    root = image_root(ctx.workspace)
    if not root.is_dir():
        stop = HardStop(
            "missing_input",
            "the folder of the KPI pictures does not exist",
            file=root,
            fix="put the pictures under kpi/images/ (images/ is accepted too)",
        )
        return stopped("image_root", stop)
    ctx.image_root = root
    target = root.resolve()
    is_link = target != ctx.workspace.resolve() / ctx.relative(root)
    linked = f", a link to {target}" if is_link else ""
    ctx.facts["image_root"] = {"path": ctx.relative(root), "resolved": str(target)}
    return ok("image_root", f"{ctx.relative(root)}{linked}")


def _roots(ctx: Context) -> Iterator[Check]:
    """Record where each table's pictures lie, and judge two image roots beside each other."""
    ctx.facts["table_roots"] = {
        name: [
            {"path": root, "resolved": str((ctx.workspace / root).resolve()), "rows": count}
            for root, count in roots_of(rows).items()
        ]
        for name, rows in ctx.tables.items()
    }
    other = other_root(ctx.workspace)
    if ctx.image_root is None or other is None:
        return
    taken, unused = ctx.relative(ctx.image_root), ctx.relative(other)
    fix = f"move the pictures into one of the two, or make {unused} a link to {taken}"
    differing = []
    for name in (n for n in ctx.raw if n != "pool"):
        only, unlike = doubtful(ctx.raw[name], ctx.image_root, other)
        if only:
            stop = HardStop(
                "missing_input",
                f"{taken} and {unused} both exist; {taken} is read, and pictures of {len(only)} "
                f"row(s) lie under {unused} alone",
                file=ctx.workspace / TABLES[name],
                row=only,
                fix=fix,
            )
            yield stopped("image_roots", stop)
            return
        if unlike:
            differing.append(f"{len(unlike)} row(s) of {TABLES[name]}, first row {unlike[0]}")
    told = f"{taken} is read; {unused} exists beside it"
    if differing:
        what = f"{told} and holds other pictures of the same names: {'; '.join(differing)}"
        yield warn("image_roots", what, fix)
    else:
        yield ok("image_roots", f"{told} and decides nothing")


def _spec(ctx: Context) -> Iterator[Check]:
    spec, stop = examine(ctx.workspace / SPEC, engine=ctx.config.get("engine", "native"))
    if stop is not None or spec is None:
        assert stop is not None
        ctx.draft = spec
        yield stopped("spec", stop)
        yield skipped("spec_intervals", "a valid spec")
        return
    ctx.spec = spec
    yield ok(
        "spec",
        f"{SPEC}: {spec.model.backbone.type}, {spec.model.classify.difference_module}, "
        f"light(s) {', '.join(light or '(none)' for light in spec.lights)}",
    )
    for note in spec.notes:
        yield warn(f"spec ({note.key})", f"{note.key} {note.text}", "nothing, or remove the key")
    count, source = epochs(ctx.config, spec.named_epochs)
    ctx.facts["num_epochs"] = (count, source)
    try:
        check_intervals(spec, count, source)
    except HardStop as too_long:
        yield stopped("spec_intervals", too_long)
        return
    train = spec.train
    yield ok(
        "spec_intervals",
        f"checkpoint every {train.checkpoint_interval} {train.checkpoint_interval_unit}(s), "
        f"validation every {train.validation_interval}, {count} epochs ({source})",
    )


def _kpi_target(ctx: Context) -> Check:
    try:
        ctx.kpi = parse_kpi(str(ctx.config["kpi"]))
    except HardStop as stop:
        return stopped("kpi_target", stop)
    return ok("kpi_target", ctx.kpi.canonical())


def _metric_contract(ctx: Context) -> Check:
    try:
        contract = contract_of(ctx.config)
        refuse_program(contract)
        if ctx.config.get("best_phase") == "proven":
            raise HardStop(
                "config_invalid",
                "best_phase=proven compares decisions at the recall of kpi, not a metric_contract",
                fix="leave one of the two out",
            )
    except HardStop as stop:
        return stopped("metric_contract", stop)
    who = contract.evaluator.get("path") or contract.evaluator.get("producer") or "kpi"
    return ok("metric_contract", f"{contract.told()}, measured by {who}")


def _table(ctx: Context, name: str) -> Iterator[Check]:
    """Read one table, check its cells, and bring it into workspace coordinates."""
    path, id = ctx.workspace / TABLES[name], f"table_{name}"
    try:
        if name == "pool":
            raw = read_pool(ctx.workspace, ctx.pool_prefix)
        else:
            raw = read_table(path)
            if raw.empty:
                raise HardStop("csv_invalid", "the table has a header but no row", file=path)
        rows = (pool_rows if name == "pool" else base_rows)(raw, ctx.workspace)
        check_inside(ctx, path, raw, rows)
    except HardStop as stop:
        yield stopped(id, with_hint(ctx, name, stop))
        return
    ctx.tables[name], ctx.raw[name] = rows, raw
    ctx.sound.add(name)
    ctx.facts.setdefault("dataset", {})[name] = counted(TABLES[name], rows["label"].tolist())
    yield ok(id, f"{TABLES[name]}: {len(rows)} rows, {rows.shape[1]} columns")
    yield from _doubled(name, rows)


def _spell(ctx: Context) -> None:
    """Show labels as the user writes them: the KPI table's spelling first (deft.tables.labels)."""
    order = ("kpi", "base", "validation", "pool")
    ctx.add_spellings(*(ctx.tables[name]["label"].unique() for name in order if name in ctx.tables))
    for facts in ctx.facts.get("dataset", {}).values():
        facts["labels"] = {ctx.shown(label): count for label, count in facts["labels"].items()}


def _doubled(name: str, rows: pd.DataFrame) -> Iterator[Check]:
    # The pool legitimately has one row a light; elsewhere a doubled part counts twice.
    twice = rows.index[rows.duplicated(subset=["input_path", "object_name"])]
    if name != "pool" and len(twice):
        yield warn(
            f"table_{name}_doubled",
            f"{len(twice)} row(s) repeat an earlier part, first in row {line_of(twice[0])} of "
            f"{TABLES[name]}; it counts twice",
            "remove the repeated rows",
        )


def check_inside(ctx: Context, file: Path, raw: pd.DataFrame, rows: pd.DataFrame) -> None:
    """Raise ``path_escape`` for the first cell that leads outside, before anything is opened."""
    roots = allowed_roots(ctx)
    for column in ("input_path", "golden_path"):
        # Few distinct folders serve many rows: each is resolved once.
        bad = {
            cell
            for cell, folder in set(zip(raw[column].tolist(), rows[column].tolist(), strict=True))
            if _escapes(ctx.workspace, cell, folder, roots)
        }
        _raise_escape(file, column, raw[column], bad)
        if TABLES["pool"] not in file.as_posix():
            _raise_backslash(file, column, raw[column])
    names = [
        n for n in set(raw["object_name"].tolist()) if set("/\\\0") & set(n) or n in (".", "..")
    ]
    _raise_escape(file, "object_name", raw["object_name"], set(names))


def _escapes(workspace: Path, cell: str, folder: str, roots: list[Path]) -> bool:
    if "\0" in cell or cell.startswith(("\\", "~")) or WINDOWS_PATH.match(cell):
        return True
    if cell.startswith("/") and inside_cell(split_pool_cell(cell)[0], workspace) is None:
        return True
    resolved = Path(os.path.realpath(workspace / folder))
    return not any(resolved == root or root in resolved.parents for root in roots)


def _lines(cells: pd.Series, wanted: set[str]) -> list[int]:
    """Return the CSV lines whose cell is one of ``wanted``."""
    if not wanted:
        return []
    return [line_of(i) for i, cell in zip(cells.index, cells, strict=True) if cell in wanted]


def _raise_escape(file: Path, column: str, cells: pd.Series, bad: set[str]) -> None:
    rows = _lines(cells, bad)
    if rows:
        cell = cells.iloc[rows[0] - line_of(0)]
        windows = ", a path of a Windows machine," if WINDOWS_PATH.match(cell) else ""
        fix = "write paths relative to the picture folder, without .. beyond it"
        if windows and column != "object_name":
            fix += "; or take its folder off by import_table.strip_prefix, then: "
            fix += again("import_table")
        raise HardStop(
            "path_escape",
            f"{column} {cell!r}{windows} leads outside the workspace",
            file=file,
            row=rows,
            fix=fix,
        )


def _raise_backslash(file: Path, column: str, cells: pd.Series) -> None:
    """Refuse ``board1\\top``: TAO's loader and this one take it for one folder's name."""
    bad = {cell for cell in cells.unique() if "\\" in cell}
    rows = _lines(cells, bad)
    if rows:
        cell = cells.iloc[rows[0] - line_of(0)]
        raise HardStop(
            "csv_invalid",
            f"{column} {cell!r} has backslashes, which part no folders here",
            file=file,
            row=rows,
            fix="write / between folders",
        )


def allowed_roots(ctx: Context) -> list[Path]:
    """Return the workspace and the roots it links to, resolved: cells may lead into these."""
    linked = [
        ctx.workspace,
        ctx.image_root,
        ctx.workspace / FALLBACK_IMAGES,
        ctx.workspace / "augmentation/mining_pool",
        ctx.workspace / "augmentation/mining_pool/images",
        ctx.workspace / PREGEN_DIR,
    ]
    return list(dict.fromkeys(p.resolve() for p in linked if p is not None))


def _kpi_classes(ctx: Context) -> Check:
    if "kpi" not in ctx.tables:
        return skipped("kpi_classes", "the KPI table")
    labels = ctx.tables["kpi"]["label"]
    defects = [is_ng(label) for label in labels]
    good = [label for label in dict.fromkeys(labels) if good_word(label)]
    for present, name in ((any(defects), "NG (defective)"), (not all(defects), "PASS")):
        if not present:
            stop = HardStop(
                "kpi_invalid",
                f"the KPI set has no {name} sample, so recall and FAR cannot both be measured",
                file=ctx.workspace / TABLES["kpi"],
                fix=labels_fix(good) if good else "add at least one of each to the KPI table",
            )
            return stopped("kpi_classes", stop)
    return ok("kpi_classes", f"{sum(defects)} NG, {len(defects) - sum(defects)} PASS")


def _training_classes(ctx: Context) -> Check:
    lacking = []
    for name in ("base", "validation"):
        if name in ctx.tables:
            passed = {label == PASS for label in ctx.tables[name]["label"]}
            lacking += [f"{name} has no {'PASS' if False in passed else 'NG'} row"] * (
                len(passed) == 1
            )
    if lacking:
        return warn(
            "training_classes",
            "; ".join(lacking),
            "a model learns the difference only from both kinds",
        )
    return ok("training_classes", "training and validation have PASS and NG rows")
