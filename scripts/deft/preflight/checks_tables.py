"""Tables as people have them: what import_table would make of them, and what it has made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.kept_digests import KeptDigests
from deft.core.layout import DIGESTS_KEPT, TABLES
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.tables.changenet_table import MANDATORY
from deft.tables.csv_text import decode_text, read_bytes, read_rows
from deft.tables.foreign.convert import read_foreign
from deft.tables.foreign.grid import reading_of
from deft.tables.foreign.record import (
    RECORD,
    beside,
    in_their_rows,
    read_record,
    settings_of,
)
from deft.tables.label_words import quoted

LABELS_SHOWN = 8


def checks(ctx: Context) -> Iterator[Check]:
    """Yield what was made from which file, and labels that may mean a good part."""
    for name, raw in ctx.raw.items():
        told, found = doubtful_labels(ctx, raw["label"])
        if found:
            what = f"{TABLES[name]}: {told}"
            yield warn(f"table_{name}_labels", what, labels_fix(found))
    record = read_record(ctx.workspace)
    sha = _digests(ctx)
    now = settings_of(reading_of(ctx.config.get("import_table"), list(TABLES)))
    for name, entry in record.items():
        table, source = ctx.workspace / TABLES[name], ctx.workspace / entry["source"]
        change = ""
        if sha(table) != entry["table_sha256"]:
            change = f"{TABLES[name]} was changed by hand after it was made from {entry['source']}"
        elif source.is_file() and sha(source) != entry["source_sha256"]:
            change = f"{entry['source']} has changed since {TABLES[name]} was made from it"
        elif now != entry["settings"]:
            change = f"the settings import_table have changed since {TABLES[name]} was made"
        if change:
            yield warn(f"table_{name}_made", change, f"make it anew: {again('import_table')}")
        else:
            told = f"{TABLES[name]}: from {entry['source']}, {entry['understood']}"
            yield ok(f"table_{name}_made", told)


def doubtful_labels(ctx: Context, labels: Iterable[str]) -> tuple[str, list[str]]:
    """Return in words which labels may mean a good part or no verdict, and these, most first."""
    found = Counter(label for label in labels if ctx.doubtful(label)).most_common()
    told = ", ".join(f"{quoted(label)} ({n} rows)" for label, n in found[:LABELS_SHOWN])
    more = f" and {len(found) - LABELS_SHOWN} more" if len(found) > LABELS_SHOWN else ""
    return (
        f"{told}{more} would be taken for a defect, and may mean a good part or no verdict",
        [label for label, _ in found],
    )


def labels_fix(labels: list[str]) -> str:
    """Return what to do about labels that may mean PASS."""
    return (
        f"say what {quoted(labels[0])} means by import_table.labels (PASS, a defect, or itself), "
        f"then: {again('import_table')}"
    )


def with_hint(ctx: Context, name: str, stop: HardStop) -> HardStop:
    """Return a table's stop, with the advice of import_table where that reads the file."""
    table = ctx.workspace / TABLES[name]
    found = [table] if table.is_file() else beside(ctx.workspace, name)
    if len(found) != 1 or stop.code not in ("csv_invalid", "missing_input", "pool_missing"):
        return stop
    if found[0] == table and _has_strict_form(table):
        return stop  # its cells are wrong, and not how they are written
    message, fix = stop.message, ""
    if found[0] != table:
        message += f"; {ctx.relative(found[0])} stands beside it"
    try:
        reading = reading_of(ctx.config.get("import_table"), list(TABLES))
        read = read_foreign(found[0], reading).sentence()
        message += f"; import_table reads it: {read}"
        fix = f"make the strict table, once: {again('import_table')}"
    except HardStop as other:
        if "import_table" not in (other.fix or ""):
            return stop  # what import_table would say is no better
        if other.rows and other.rows != stop.rows:  # something more to mend
            message += f"; and {other.message}"
        fix = f"{other.fix}; then, once: {again('import_table')}"
    return HardStop(stop.code, message, file=stop.file, row=stop.rows, fix=fix,
                    evidence=stop.evidence)  # fmt: skip


def _has_strict_form(table: Path) -> bool:
    try:
        rows = read_rows(table, decode_text(table, read_bytes(table)), MANDATORY)
    except HardStop:
        return False
    return set(MANDATORY).issubset(name.strip() for name in rows[0])


def in_source(ctx: Context, check: Check) -> Check:
    """Return a stop's check that names also the rows of the file a table was made from."""
    stop = check.stop
    if stop is None or not stop.rows or not (ctx.workspace / RECORD).is_file():
        return check
    try:
        told = in_their_rows(ctx.workspace, stop.file, stop.rows, _digests(ctx))
    except HardStop:  # of the record; its own check tells it
        return check
    if not told:
        return check
    message = f"{stop.message} (made from {told})"
    again_told = HardStop(stop.code, message, file=stop.file, row=stop.rows, fix=stop.fix,
                          evidence=stop.evidence)  # fmt: skip
    return stopped(check.id, again_told)


def _digests(ctx: Context) -> Callable[[Path], str | None]:
    return KeptDigests(ctx.workspace / DIGESTS_KEPT).sha256
