"""What is doubtful in the tables, the spec and the pairs, though all of it can be read."""

from __future__ import annotations

from collections.abc import Iterator

from deft.core.errors import HardStop
from deft.mining.strategies.named import Rules
from deft.pool.pregen.parts import STEM, UNKNOWN_DEFECT
from deft.preflight.check import (
    Check,
    Context,
    Suspect,
    ok,
    stopped,
    warn,
)
from deft.preflight.contradictions import contradictions
from deft.score_kit.errors import ROWS_NAMED
from deft.tables.labels import clean_label


def checks(ctx: Context) -> Iterator[Check]:
    """Yield what is doubtful in each table that could be read; contradictions in the KPI stop."""
    found = list(_doubts(ctx))
    yield from found
    if not found and ctx.tables:
        yield ok("rows", "no label, golden or picture of a table contradicts another")


def _doubts(ctx: Context) -> Iterator[Check]:
    yield from _normalisation(ctx)
    yield from _quotas(ctx)
    yield from _pairs_without_defect(ctx)
    yield from _pairs_without_difference(ctx)
    yield from contradictions(ctx)


def _normalisation(ctx: Context) -> Iterator[Check]:
    if ctx.spec is None:
        return
    config = ctx.spec.dataset.classify.augmentation_config
    for key in ("rgb_input_mean", "rgb_input_std"):
        value = list(getattr(config, key))
        if max(value) > 1:
            yield warn(
                f"spec_{key}",
                f"dataset.classify.augmentation_config.{key} {value} is above 1; it is of grey "
                "levels 0 to 1",
                "divide by 255 what was meant for levels 0 to 255",
            )


def _quotas(ctx: Context) -> Iterator[Check]:
    """The labels of ``mining_label_quota`` are labels of the pool, in any spelling."""
    try:
        quota = Rules(label_quota=ctx.config.get("mining_label_quota") or {}).label_quota
    except HardStop as stop:
        yield stopped("mining_label_quota", stop)
        return
    if "pool" not in ctx.tables or ctx.parts is None:
        return
    known = {clean_label(label) for label in ctx.tables["pool"]["label"].unique()}
    known.update(part.label for part in ctx.parts)
    absent = [ctx.shown(label) for label in quota if label not in known]
    if absent:
        yield warn(
            "mining_label_quota",
            f"mining_label_quota names {', '.join(map(repr, absent))}, which no row of the pool "
            "and no pre-generated pair has",
            "correct the spelling of the label",
        )


def _pairs_without_defect(ctx: Context) -> Iterator[Check]:
    """Names that are nearly ``<board>+<defect>_<n>`` and say no defect for a blank or a copy."""
    found = [p for p in ctx.parts or () if "+" in p.stem and p.label == UNKNOWN_DEFECT]
    found = [part for part in found if not STEM.match(part.stem)]
    if found:
        names = ", ".join(repr(part.stem) for part in found[:ROWS_NAMED])
        more = f" and {len(found) - ROWS_NAMED} more" if len(found) > ROWS_NAMED else ""
        yield warn(
            "pregen_names",
            f"pre-generated pairs are labelled {UNKNOWN_DEFECT!r} because their names do not end "
            f"in +<defect>_<number>: {names}{more}",
            "rename both pictures of each pair: <board>+<defect>_<number>",
        )


def _pairs_without_difference(ctx: Context) -> Iterator[Check]:
    """Pre-generated pairs whose defective picture is the good one, in other pixels not even one."""
    alike = []
    for pair in ctx.pairs or ():
        left, right = map(ctx.relative, pair)
        prints = ctx.prints.get(left), ctx.prints.get(right)
        if prints[0] is not None and prints[1] is not None and prints[0].digest == prints[1].digest:
            alike.append(pair[0].stem)
            told = "a pre-generated defect that shows none"
            ctx.suspects.append(Suspect("pregen_alike", left, right, told))
    if alike:
        names = ", ".join(map(repr, alike[:ROWS_NAMED]))
        more = f" and {len(alike) - ROWS_NAMED} more" if len(alike) > ROWS_NAMED else ""
        yield warn(
            "pregen_alike",
            f"{len(alike)} pre-generated pair(s) have the same picture twice, so that a good part "
            f"is learned as a defect: {names}{more}",
            "generate the pair again, or remove both of its pictures",
        )
