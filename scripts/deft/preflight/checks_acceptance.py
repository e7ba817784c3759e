"""The sealed acceptance set: sound, of parts that no other table has, and what was sealed first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file
from deft.core.layout import ACCEPTANCE_TABLE, PREGEN_NG, PREGEN_OK
from deft.pool.digest import INPUTS_FILE
from deft.preflight.check import STOP, TABLES, Check, Context, counted, ok, skipped, stopped, warn
from deft.preflight.checks_inputs import check_inside
from deft.preflight.checks_tables import doubtful_labels
from deft.record.acceptance_set import SIDE, parts_of
from deft.record.champion import production
from deft.record.openings import LEDGER_FILE, read_openings
from deft.score_kit.prepare import read_facts
from deft.tables.changenet_table import PASS, image_name, line_of, read_table
from deft.tables.fingerprint import fingerprint
from deft.tables.labels import clean_label, is_ng
from deft.tables.leakage import Side, compare, stop_of

ID = "acceptance"
NAMED = 3


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks of ``kpi/acceptance_set.csv`` and of the champion; none without either."""
    named = ctx.config.get("champion") is not None
    if named:
        yield _champion(ctx)
    path = ctx.workspace / ACCEPTANCE_TABLE
    if not path.is_file():
        return
    if ctx.spec is None or ctx.image_root is None:
        yield skipped(ID, "a valid spec and the KPI pictures")
        return
    try:
        rows = _rows(ctx, path)
        _pictures(ctx, path, rows)
    except HardStop as stop:
        yield stopped(ID, stop)
        return
    defects = sum(map(is_ng, rows["label"]))
    yield ok(ID, f"{ACCEPTANCE_TABLE}: {len(rows) - defects} good parts, {defects} defects")
    yield from _leakage(ctx, Side(SIDE, path, rows))
    seal = _sealed(ctx, path)
    yield seal
    if not named and seal.status != STOP:
        yield _champion(ctx)


def _rows(ctx: Context, path: Path) -> pd.DataFrame:
    raw = read_table(path)
    rows = parts_of(path, raw, ctx.workspace)
    check_inside(ctx, path, raw, rows)
    told, doubtful = doubtful_labels(ctx, raw["label"])
    if doubtful:  # elsewhere a warning: this set can be opened only once
        raise HardStop(
            "csv_invalid",
            f"the {SIDE}: {told}, and the set can be opened only once",
            file=path,
            row=[line_of(int(str(i))) for i in raw.index[raw["label"].isin(doubtful)]],
            fix="write PASS for good parts, or name the defect; a label that is to stay: "
            f"import_table.labels: {{{doubtful[0]!r}: {doubtful[0]!r}}}",
        )
    labels = [clean_label(label) for label in rows["label"]]
    lacking = [
        name
        for present, name in (
            (any(label != PASS for label in labels), "defect"),
            (PASS in labels, "good part"),
        )
        if not present
    ]
    if lacking:
        raise HardStop(
            "kpi_invalid",
            f"the {SIDE} has no {' and no '.join(lacking)}, so FAR and recall cannot be measured",
            file=path,
            fix="add at least one of each, or take the table away",
        )
    ctx.facts.setdefault("dataset", {})[ID] = counted(ACCEPTANCE_TABLE, labels, ctx.shown)
    return rows


def _pictures(ctx: Context, path: Path, rows: pd.DataFrame) -> None:
    """Raise the stop of the first picture that is missing or broken; it names all such rows."""
    assert ctx.spec is not None
    ext, levels = ctx.spec.dataset.classify.image_ext, ctx.config.get("picture_levels")
    first: HardStop | None = None
    lines: list[int] = []
    for index, row in rows.iterrows():
        part, golden = str(row["object_name"]), str(row["golden_path"])
        pairs = [(str(row["input_path"]), part)]
        pairs += [(golden, name) for name in ctx.goldens.all_of(golden, part)]
        for picture in (
            f"{folder}/{image_name(name, light, ext)}"
            for folder, name in pairs
            for light in ctx.spec.lights
        ):
            if picture in ctx.prints:
                continue
            try:
                ctx.prints[picture] = fingerprint(ctx.workspace / picture, levels)
            except HardStop as stop:
                first = first or stop
                lines.append(line_of(int(str(index))))
                break
    if first is not None:
        raise HardStop(
            first.code,
            f"{first.message} ({first.file}); {len(lines)} row(s) of the {SIDE} lack a picture",
            file=path,
            row=lines,
            fix="restore the picture(s), or remove the row(s)",
        )


def _leakage(ctx: Context, side: Side) -> Iterator[Check]:
    """Any part that another table has too is a stop, by its key or by its picture."""
    assert ctx.spec is not None
    ext = ctx.spec.dataset.classify.image_ext
    others: list[tuple[str, Side, list[str] | None]] = [
        (name, ctx.sides.get(name) or Side(name, TABLES[name], ctx.tables[name]), None)
        for name in TABLES
        if name in ctx.sound
    ]
    if ctx.pairs:
        for number, (id, folder) in enumerate((("ng", PREGEN_NG), ("ok", PREGEN_OK))):
            names = [pair[number].name for pair in ctx.pairs]
            rows = pd.DataFrame({"input_path": folder, "object_name": names, "label": "ng"})
            pictures = [f"{folder}/{name}" for name in names]
            others.append((f"pregen_{id}", Side("pre-generated", folder, rows), pictures))
    for name, other, files in others:
        # The side whose pictures are named by themselves stands first.
        one, two = (side, other) if files is None else (other, side)
        found = compare(
            one,
            two,
            workspace=ctx.workspace,
            lights=ctx.spec.lights,
            ext=ext,
            a_files=files,
            log=ctx.log,
            levels=ctx.config.get("picture_levels"),
        )
        id = f"leakage_{ID}_{name}"
        for kind in ("key", "content"):
            if getattr(found, kind):
                stop = stop_of(found, kind)
                stop.fix = f"remove the row(s) from {ACCEPTANCE_TABLE}: what another table has is "
                stop.fix += "no longer sealed, whatever content_leakage says"
                if files is not None:
                    stop.file = str(side.file)
                    stop.rows = sorted({line_of(leak.b) for leak in getattr(found, kind)})
                yield stopped(id, stop)
                break
        else:
            yield ok(id, f"no part in common ({len(side.rows)} × {len(other.rows)})")
            if found.near:
                yield warn(f"{id}_near", found.text("near"), "look at the pictures: one part?")


def _sealed(ctx: Context, path: Path) -> Check:
    """Say what was sealed first, and how often the set was opened since."""
    now = sha256_file(path)
    try:
        openings = read_openings(ctx.workspace)
    except HardStop as stop:
        return stopped("acceptance_seal", stop)
    told = [f"{o['at']} {o['run']}: {o['outcome']}" for o in openings[-NAMED:]]
    opened = f"opened {len(openings)} time(s)" + (f", last {'; '.join(told)}" if told else "")
    first = first_seal(ctx.workspace)
    # The ledger forgets nothing; a pre-flight that is repeated writes its seal anew.
    known = [(*first, "sealed")] if first else []
    known += [(o["run"], o["set_sha256"], "opened") for o in openings[:1]]
    for run, seal, did in known:
        if seal != now:
            return warn(
                "acceptance_seal",
                f"another set than the one that {run} {did} ({seal[:16]}, now {now[:16]}); "
                f"{opened}",
                "right where parts were added; a set that was chosen anew after an outcome "
                f"proves nothing. Openings count on ({LEDGER_FILE})",
            )
    since = f" since {first[0]}" if first else ", from this pre-flight on"
    return ok("acceptance_seal", f"sealed{since}, SHA-256 {now[:16]}; {opened}")


def first_seal(workspace: Path) -> tuple[str, str] | None:
    """Return (run, SHA-256) of the earliest pre-flight that saw the set; None: none did."""
    found: list[tuple[str, str]] = []
    for path in sorted(workspace.glob(f"results/run_*/{INPUTS_FILE}"), key=_age):
        told: dict[str, Any] = {}
        try:
            told = read_json(path, {"inputs": dict})
        except HardStop:
            continue  # of a run that is spoiled: its own check says so
        seal = told.get("inputs", {}).get(ACCEPTANCE_TABLE)
        if isinstance(seal, str):
            found.append((path.parents[1].name, seal))
    return found[0] if found else None


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _champion(ctx: Context) -> Check:
    """Look at the model in production, which is asked for after the last lap only."""
    champion, spec = ctx.config.get("champion"), ctx.config.get("champion_spec")
    try:
        found = production(ctx.workspace, ctx.run_dir.name, champion, spec)
    except HardStop as stop:
        return stopped("champion", stop)
    if found is None:
        return ok("champion", "no model was promoted yet: the target itself is asked for")
    if found.spec is not None:
        return ok("champion", f"{found.name}, its threshold in {spec}")
    facts = read_facts(found.path)
    return ok("champion", f"{found.name}: {facts.file}, threshold {facts.threshold:.9g}")
