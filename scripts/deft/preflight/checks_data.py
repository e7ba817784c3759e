"""What the tables say together: leakage between them, and defects that the pool can teach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from deft.core.layout import PREGEN_NG
from deft.preflight.check import TABLES, WARN, Check, Context, Suspect, ok, skipped, stopped, warn
from deft.tables.changenet_table import PASS, clean_label, line_of
from deft.tables.leakage import Leak, Side, compare, stop_of

NAMES = {"base": "training", "validation": "validation", "kpi": "KPI", "pool": "mining pool"}
# Training and pool rows must not be in a held-out set; validation × KPI only makes the choice of
# weights look better than it is, so that warns.
PAIRS = (
    ("base", "validation"),
    ("base", "kpi"),
    ("pool", "validation"),
    ("pool", "kpi"),
    ("validation", "kpi"),
)
PAIRS_KEPT = 10_000  # of pictures that look alike, in checks.json


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the leakage checks and the label coverage."""
    for a, b in PAIRS:
        yield from _leakage(ctx, a, b)
    yield from _pregen_leakage(ctx)
    yield from _coverage(ctx)


def _side(ctx: Context, name: str) -> Side:
    if name not in ctx.sides:
        ctx.sides[name] = side = Side(NAMES[name], TABLES[name], ctx.tables[name])
        if ctx.spec is not None:
            lights, ext = ctx.spec.lights, ctx.spec.dataset.classify.image_ext
            side.know(ctx.prints, ctx.workspace, lights, ext, ctx.config.get("picture_levels"))
    return ctx.sides[name]


def _leakage(ctx: Context, a: str, b: str) -> Iterator[Check]:
    id = f"leakage_{a}_{b}"
    if ctx.spec is None or not {a, b} <= ctx.sound:
        yield skipped(id, f"{TABLES[a]}, {TABLES[b]} and a valid spec")
        return
    found = compare(
        _side(ctx, a),
        _side(ctx, b),
        workspace=ctx.workspace,
        lights=ctx.spec.lights,
        ext=ctx.spec.dataset.classify.image_ext,
        log=ctx.log,
        levels=ctx.config.get("picture_levels"),
    )
    for kind, what in (("content", "the same picture"), ("near", "nearly the same picture")):
        for leak in getattr(found, kind):
            if leak.pictures:
                lines = f"{a} row {line_of(leak.a)}, {b} row {line_of(leak.b)}: {what}"
                left, right = leak.pictures
                ctx.suspects.append(Suspect(id, left, right, lines))
    strict = ctx.config.get("content_leakage", "stop") == "stop"
    held_out_pair = a == "validation"
    for kind in ("key", "content"):
        if getattr(found, kind):
            if not held_out_pair and (kind == "key" or strict):
                yield stopped(id, stop_of(found, kind))
            else:
                told = found.text(kind)
                fix = "remove the shared parts, or read the KPI with care"
                yield Check(id, WARN, told, fix, pairs=_pictures(getattr(found, kind)))
            return
    yield ok(id, f"no shared sample or test picture ({len(found.a.rows)} × {len(found.b.rows)})")
    if found.near:
        fix = "look at the pictures: the same part twice?"
        yield Check(f"{id}_near", WARN, found.text("near"), fix, pairs=_pictures(found.near))


def _pictures(leaks: Sequence[Leak]) -> tuple[tuple[str, str], ...]:
    """Return the pictures of each pair, for the report to show."""
    return tuple(leak.pictures for leak in leaks[:PAIRS_KEPT] if leak.pictures)


def _pregen_leakage(ctx: Context) -> Iterator[Check]:
    """A generated picture that is a copy of a held-out one leaks like a pool picture."""
    held_out = [n for n in ("validation", "kpi") if n in ctx.sound]
    if ctx.spec is None or ctx.pairs is None or not held_out:
        yield skipped("leakage_pregen", "sound pairs, held-out tables and a valid spec")
        return
    ext = ctx.spec.dataset.classify.image_ext
    files = [ng.name for ng, _ in ctx.pairs]
    rows = pd.DataFrame({"input_path": PREGEN_NG, "object_name": files, "label": "ng"})
    side = Side("pre-generated", PREGEN_NG, rows)
    for name in held_out:
        # Pre-generated files have their own names: no light, no extension to add.
        found = compare(
            side,
            _side(ctx, name),
            workspace=ctx.workspace,
            lights=ctx.spec.lights,
            ext=ext,
            a_files=[f"{PREGEN_NG}/{file}" for file in files],
            levels=ctx.config.get("picture_levels"),
        )
        for leak in found.content:
            if leak.pictures:
                told = f"pre-generated, and {name} row {line_of(leak.b)}: the same picture"
                ctx.suspects.append(Suspect("leakage_pregen", *leak.pictures, told))
        if found.content:
            stop = stop_of(found, "content")
            stop.rows = []  # files, not lines of a table
            strict = ctx.config.get("content_leakage", "stop") == "stop"
            text = f"{found.content[0].detail}; {len(found.content)} such picture(s)"
            if strict:
                stop.message = f"a pre-generated picture shows a held-out one: {text}"
                yield stopped("leakage_pregen", stop)
            else:
                yield warn("leakage_pregen", text, "remove the pair")
            return
    yield ok("leakage_pregen", f"no pre-generated picture is a held-out one ({len(files)})")


def _coverage(ctx: Context) -> Iterator[Check]:
    if not {"kpi", "pool"} <= set(ctx.tables):
        yield skipped("label_coverage", "the KPI table and the mining pool")
        return
    wanted = _ng_counts(ctx.tables["kpi"]["label"])
    real = _ng_counts(ctx.tables["pool"]["label"])
    drawn = Counter(part.label for part in ctx.parts or [])
    ctx.facts["coverage"] = {
        ctx.shown(label): {"kpi": count, "pool": real.get(label, 0), "pregen": drawn.get(label, 0)}
        for label, count in wanted.items()
    }
    # What may be no defect at all is told by its table's own check.
    wanted = {label: count for label, count in wanted.items() if not ctx.doubtful(label)}
    lacking = [label for label in wanted if not real.get(label)]
    for label in lacking:
        made, name = drawn.get(label, 0), ctx.shown(label)
        text = f"the mining pool has no NG sample of {name!r} ({wanted[label]} in the KPI set)"
        yield warn(
            f"label_coverage:{name}",
            text + (f"; {made} pre-generated pair(s) cover it" if made else ""),
            f"add production samples of {name!r} to the pool, or pre-generate some",
        )
    if not lacking:
        yield ok("label_coverage", f"the pool has NG samples of all {len(wanted)} defect types")


def _ng_counts(labels: pd.Series) -> dict[str, int]:
    counts = (
        pd.Series([clean_label(v) for v in labels.tolist()], dtype=str).value_counts().sort_index()
    )
    return {str(k): int(v) for k, v in counts.items() if k != PASS}
