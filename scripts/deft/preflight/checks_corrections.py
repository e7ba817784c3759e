"""``corrections.csv``: every line speaks of a row that is there, as the person saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches

from deft.core.errors import HardStop
from deft.core.layout import CORRECTIONS
from deft.pool.corrected_laps import first_laps
from deft.preflight.check import Check, Context, counted, ok, stopped, warn
from deft.score_kit.errors import rows_text
from deft.tables.changenet_table import line_of
from deft.tables.corrected import (
    corrected,
    matches,
    parts_of,
    picture_digest,
    stale,
    unknown_rows,
)
from deft.tables.corrections import (
    KPI,
    OUT,
    POOL,
    TABLES,
    TRAINING,
    WRONG,
    Correction,
    of_table,
    read_corrections,
)
from deft.tables.label_words import quoted
from deft.tables.labels import clean_label, is_ng, label_key

ID = "corrections"
NAMES = {KPI: "kpi", TRAINING: "base", POOL: "pool"}  # as the checks call the tables


def checks(ctx: Context) -> Iterator[Check]:
    """Yield one check of the file, and what the user should know of it; nothing without one."""
    if not (ctx.workspace / CORRECTIONS).is_file():
        ctx.corrections = []
        return
    try:
        found = read_corrections(ctx.workspace)
        for table in TABLES:
            _compare(ctx, table, [one for one in found if one.table == table])
    except HardStop as stop:
        yield stopped(ID, stop)
        return
    ctx.corrections = found
    _count(ctx, found)
    yield ok(ID, _told(ctx, found))
    yield from _new_words(ctx, [one for one in found if one.verdict == WRONG])
    yield from _shared_goldens(ctx, found)


def _new_words(ctx: Context, found: list[Correction]) -> Iterator[Check]:
    """New labels that may mean a good part, or that no table has."""
    lines: dict[str, list[int]] = {}
    for one in found:
        lines.setdefault(one.new_label, []).append(one.line)
    whole = set(NAMES.values()) <= set(ctx.tables)
    for label, rows in lines.items():
        where = f"{rows_text(rows)} of {CORRECTIONS}"
        if ctx.doubtful(label):
            yield warn(
                f"{ID}_label:{label}",
                f"{where}: new_label {quoted(label)} would be taken for a defect, and may mean a "
                "good part or no verdict",
                "write PASS for a good part, or name the defect",
            )
        elif whole and label_key(label) not in ctx.spellings:
            near = get_close_matches(clean_label(label), list(ctx.spellings), 1)
            meant = f"is {ctx.shown(near[0])!r} meant? " if near else ""
            yield warn(
                f"{ID}_label:{label}",
                f"{where}: no table has the new_label {quoted(label)}",
                f"{meant}correct the spelling, unless it is a new kind of defect",
            )


def _compare(ctx: Context, table: str, found: list[Correction]) -> None:
    """Raise the stop for the first line whose row is not there, or is another now."""
    rows = ctx.tables.get(NAMES[table])
    if rows is None or not found:
        return
    stop = unknown_rows(found, rows, table, ctx.workspace)
    if stop is not None:
        raise stop
    each, labels = matches(rows, found, ctx.workspace), rows["label"].tolist()
    for row, (one, part) in enumerate(zip(each, parts_of(rows), strict=True)):
        if one is None:
            continue
        picture = None
        if one.picture and ctx.spec is not None and NAMES[table] in ctx.sound:
            data = ctx.spec.dataset.classify
            levels = ctx.config.get("picture_levels")
            picture = picture_digest(ctx.workspace, part, ctx.spec.lights, data.image_ext, levels)
        stop = stale(one, labels[row], picture, row, ctx.workspace)
        if stop is not None:
            raise stop
    if table == KPI:
        _both_kinds(ctx, [is_ng(label) for label in _new_labels(labels, each)])


def _new_labels(labels: list[str], each: list[Correction | None]) -> Iterator[str]:
    for label, one in zip(labels, each, strict=True):
        if one is None or one.verdict not in OUT:
            yield one.new_label if one is not None and one.verdict == WRONG else label


def _both_kinds(ctx: Context, ng: list[bool]) -> None:
    if not any(ng) or all(ng):
        what = "good" if any(ng) else "defective"
        raise HardStop(
            "kpi_invalid",
            f"corrected, the KPI table has no {what} part",
            file=ctx.workspace / CORRECTIONS,
            fix="the FAR and the recall need both; look at the corrections again",
        )


def _count(ctx: Context, found: list[Correction]) -> None:
    """Count the labels of each table that changes anew, for the summary."""
    for table, name in NAMES.items():
        changes = of_table(found, table)
        if changes and name in ctx.tables:
            rows = corrected(ctx.tables[name], changes, ctx.workspace)
            ctx.facts.setdefault("corrected", {})[name] = counted(
                CORRECTIONS, rows["label"].tolist(), ctx.shown
            )


def _told(ctx: Context, found: list[Correction]) -> str:
    """Return how many rows of which table change how, and what runs again for it."""
    laps = first_laps(ctx.workspace, ctx.run_dir, found)
    told = []
    for table, effect in (
        (KPI, "the decision alone"),
        (TRAINING, "from the baseline on"),
        (POOL, f"from iter{min(laps.values())} on" if laps else ""),
    ):
        counts = Counter(
            "relabelled" if o.verdict == WRONG else "left out" for o in of_table(found, table)
        )
        if counts:
            what = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
            told.append(f"{table}: {what} ({effect})")
    right = len(found) - sum(len(of_table(found, table)) for table in TABLES)
    if right:
        told.append(f"{right} confirmed")
    return f"{len(found)} line(s) of {CORRECTIONS}; " + ("; ".join(told) or "no row changes")


def _shared_goldens(ctx: Context, found: list[Correction]) -> Iterator[Check]:
    """A golden picture that is bad for one row is bad for all that have it."""
    for table in TABLES:
        rows = ctx.tables.get(NAMES[table])
        bad = [one for one in found if one.table == table and one.verdict == "bad_golden"]
        if rows is None or not bad:
            continue
        each, parts = matches(rows, found, ctx.workspace), parts_of(rows)
        # Several goldens are a folder's, whatever the part's name.
        several = ctx.spec is not None and ctx.goldens.count > 1
        goldens = [(folder, "" if several else name) for _, folder, name in parts]
        named = {golden for one, golden in zip(each, goldens, strict=True) if one in bad}
        others = [
            line_of(i)
            for i, (one, golden) in enumerate(zip(each, goldens, strict=True))
            if golden in named and (one is None or one.verdict not in OUT)
        ]
        if others:
            yield warn(
                f"{ID}_golden:{table}",
                f"{rows_text(others)} of {TABLES[table]} share a golden picture that "
                f"{CORRECTIONS} calls bad, and stay in",
                "exchange the picture, or leave these rows out too",
            )
