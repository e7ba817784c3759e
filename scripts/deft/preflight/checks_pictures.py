"""Every picture of every row exists and decodes; pre-generated pictures come in sound pairs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.core.files import read_json
from deft.core.layout import DEFECT_SPEC, MANIFEST_FILE, POOL_DIR, PREGEN_DIR, PREGEN_NG, PREGEN_OK
from deft.pool.pregen.listing import paired_pregen, unread_files
from deft.pool.pregen.parts import check_allocation, pregen_parts, spelled
from deft.pool.pregen.spec import read_defect_spec
from deft.pool.source_pool import check_pregen_unchanged
from deft.preflight.check import TABLES, Check, Context, ok, skipped, stopped, warn
from deft.preflight.checks_inputs import allowed_roots
from deft.preflight.missing_cause import Wanted, likely_cause
from deft.run.handover import staged_elsewhere
from deft.run.state import read_state
from deft.run.state_format import COMPLETE
from deft.tables.changenet_table import image_name, line_of, rows_of
from deft.tables.fingerprint import fingerprint, in_parts, known_prints, see_again
from deft.tables.picture_roots import ROOTS, roots_of

PROGRESS_EVERY = 2000  # pictures
KINDS = {"input_path": "test", "golden_path": "golden"}
FULL_SCALES = (1, 1023, 4095, 16383, 65535)  # of floats, and of 10, 12, 14 and 16 bits


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the picture checks of the four tables and of the pre-generated pairs."""
    for name in TABLES:
        if name not in ctx.sound or ctx.spec is None:
            yield skipped(f"images_{name}", f"{TABLES[name]} and a valid spec")
        else:
            yield _table_pictures(ctx, name)
    yield from _pregen(ctx)


def _table_pictures(ctx: Context, name: str) -> Check:
    rows, limit = ctx.tables[name], int(ctx.config.get("preflight_sample_rows") or 20000)
    sampled = rows
    if len(rows) > limit and not ctx.config.get("preflight_all_images"):
        # The same rows each time, so that a stop does not come and go.
        chosen = np.random.default_rng(0).choice(len(rows), limit, replace=False)
        sampled = rows.iloc[np.sort(chosen)]
    wanted = _wanted(ctx, rows, "input_path") | _wanted(ctx, sampled, "golden_path")
    broken = _broken(ctx, f"pictures of {TABLES[name]}", wanted)
    if broken:
        return stopped(f"images_{name}", _picture_stop(ctx, name, broken))
    note = f" (golden pictures of {limit} rows drawn from {len(rows)})" * (sampled is not rows)
    return ok(f"images_{name}", f"{len(wanted)} pictures of {len(rows)} rows decode{note}")


Pictures = dict[str, tuple[str, list[int]]]  # picture -> (test|golden, CSV lines)


def _wanted(ctx: Context, rows: pd.DataFrame, column: str) -> Pictures:
    assert ctx.spec is not None
    ext, lights = ctx.spec.dataset.classify.image_ext, ctx.spec.lights
    wanted: Pictures = {}
    for lines, folder, name in named(ctx, rows, column):
        for light in lights:
            picture = f"{folder}/{image_name(name, light, ext)}"
            wanted.setdefault(picture, (KINDS[column], []))[1].extend(lines)
    return wanted


def named(
    ctx: Context, rows: pd.DataFrame, column: str
) -> Iterator[tuple[Sequence[int], str, str]]:
    """Yield (CSV lines, folder, name) of what rows name; a folder of several goldens once."""
    if column == "input_path" or ctx.goldens.count == 1:
        for index, folder, name in rows_of(rows, "index", column, "object_name"):
            yield (line_of(index),), folder, name
        return
    lines: dict[str, list[int]] = {}
    for index, folder in rows_of(rows, "index", column):
        lines.setdefault(folder, []).append(line_of(index))
    for folder, of_folder in lines.items():
        for name in ctx.goldens.all_of(folder, ""):
            yield of_folder, folder, name


Broken = list[tuple[str, str, list[int], HardStop]]  # picture, kind, CSV lines, why


def _broken(ctx: Context, what: str, wanted: Pictures) -> Broken:
    """Return the pictures that are missing, broken or linked to elsewhere, in table order."""
    roots, levels = allowed_roots(ctx), ctx.config.get("picture_levels")

    root = str(ctx.workspace)

    def look(picture: str) -> HardStop | None:
        path = ctx.workspace / picture
        try:
            if path.is_symlink():
                _check_link(path, roots)
            # Hashed on the way: the checks of rows and of leakage ask for them next.
            ctx.prints[picture] = fingerprint(path, levels)
        except HardStop as stop:
            return stop
        return None

    def unknown(batch: list[str]) -> list[str]:
        """Return what must be looked at: a link, or not the file that was read before."""
        paths, new = [f"{root}/{picture}" for picture in batch], []
        found = known_prints(paths, levels, links=False)
        for picture, known in zip(batch, found, strict=True):
            if known is None:
                new.append(picture)
            else:
                ctx.prints[picture] = known
        return new

    found: Broken = []
    names = list(wanted)
    see_again([f"{root}/{picture}" for picture in names], levels)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(names), PROGRESS_EVERY):
            batch = names[start : start + PROGRESS_EVERY]
            new = unknown(batch)
            for picture, stop in zip(new, in_parts(pool, look, new), strict=True):
                if stop is not None:
                    found.append((picture, *wanted[picture], stop))
            if len(names) > PROGRESS_EVERY:
                ctx.log(f"pre-flight: {what}: {start + len(batch)} of {len(names)} looked at")
    return found


def _check_link(path: Path, roots: list[Path]) -> None:
    resolved = Path(os.path.realpath(path))
    if not any(root in resolved.parents for root in roots):
        raise HardStop("path_escape", f"the picture is a link to {resolved}", file=path)


def _picture_stop(ctx: Context, name: str, broken: Broken) -> HardStop:
    picture, kind, lines, stop = broken[0]
    same = [b for b in broken if _kind_of(b[3]) == _kind_of(stop)]
    rows = sorted({line for b in same for line in b[2]})
    # The first picture's row leads, so that message and row agree.
    rows = [lines[0], *[r for r in rows if r != lines[0]]]
    more = f"; {len(broken)} pictures in all" if len(broken) > 1 else ""
    evidence = {"pictures": [b[0] for b in broken[:20]], "count": len(broken)}
    fix = stop.fix or "restore the picture(s), or remove the row(s)"
    if stop.code == "missing_input":
        fix = "restore the picture(s), or remove the row(s)"
        cause = _cause(ctx, name, [b[0] for b in same])
        more += f"; {cause}" if cause else ""
        fix = "correct the cells, the spec or the file names" if cause else fix
    elif "mode" in stop.evidence:
        modes = sorted({str(b[3].evidence["mode"]) for b in same})
        largest = max(b[3].evidence["largest"] for b in same)
        evidence |= {"modes": modes, "largest": largest}
        if len(same) > 1:
            more += f": {len(same)} of mode {', '.join(modes)}, largest level of all {largest:g}"
        fix = _deep_fix(ctx, largest)
    return HardStop(
        stop.code,
        f"{kind} picture {picture}: {stop.message}{more}",
        file=ctx.workspace / TABLES[name],
        row=rows,
        fix=fix,
        evidence=evidence,
    )


def _kind_of(stop: HardStop) -> tuple[str, bool]:
    """Return what tells stops apart that are to be mended in different ways."""
    return stop.code, "mode" in stop.evidence


def _deep_fix(ctx: Context, largest: float) -> str:
    if ctx.config.get("engine") == "tao":
        return "save the pictures as 8 bits: TAO's loader clips deeper ones to white"
    near = next((f" (perhaps {full})" for full in FULL_SCALES if largest <= full), "")
    return f"set picture_levels to the level of full scale{near}, or save the pictures as 8 bits"


def _cause(ctx: Context, name: str, missing: list[str]) -> str:
    """Return why pictures of a table may be missing, from what their folders hold."""
    assert ctx.spec is not None
    if ctx.image_root is None:
        return ""  # its own check says so
    rows, lights, ext = ctx.tables[name], ctx.spec.lights, ctx.spec.dataset.classify.image_ext
    absent, wanted = set(missing), {}
    for column in KINDS:
        for _, folder, name in named(ctx, rows, column):
            for light in lights:
                picture = f"{folder}/{image_name(name, light, ext)}"
                if picture in absent and picture not in wanted:
                    wanted[picture] = (column, Wanted(folder, name, light))
    # The pool's own pictures lie elsewhere than its goldens: the larger group speaks.
    groups = {c: [w for at, w in wanted.values() if at == c] for c in KINDS}
    column = max(groups, key=lambda c: len(groups[c]))
    own = name == "pool" and column == "input_path"
    root = _pool_root(rows) if own else ctx.relative(ctx.image_root)
    return likely_cause(ctx.workspace, root, groups[column], lights, ext)


def _pool_root(rows: pd.DataFrame) -> str:
    """Return the folder under which most of the pool's pictures lie."""
    root = next(iter(roots_of(rows)))
    return root if root in ROOTS else POOL_DIR


def _pregen(ctx: Context) -> Iterator[Check]:
    if not ctx.workspace.is_dir():
        yield skipped("pregen_pairs", "the workspace")
        return
    try:
        ng, good = paired_pregen(ctx.workspace)
        ctx.pairs = [(ng[stem], good[stem]) for stem in sorted(ng)]
        yield ok("pregen_pairs", f"{_linked(ctx)}: {len(ng)} NG/OK pairs, equal stems")
        unread = unread_files(ctx.workspace)
        if unread:
            yield warn(
                "pregen_unread",
                f"{len(unread)} file(s) or folder(s) of {PREGEN_DIR} are not read, first "
                f"{unread[0]}: pairs are *.jpg or *.png and lie flat",
                "convert or move them if they are meant as pairs, else remove them",
            )
    except HardStop as stop:
        yield stopped("pregen_pairs", stop)
        yield skipped("pregen_images", "sound pairs")
        yield skipped("defect_spec", "sound pairs")
        return
    yield _pair_pictures(ctx)
    yield _defect_spec(ctx)
    yield from _unchanged(ctx)


def _linked(ctx: Context) -> str:
    """Return the folder of the pairs, and where links lead that stand for it or its halves."""
    links = [ctx.workspace / folder for folder in (PREGEN_DIR, PREGEN_NG, PREGEN_OK)]
    told = [f"{ctx.relative(p)} is a link to {p.resolve()}" for p in links if p.is_symlink()]
    return PREGEN_DIR + (f" ({'; '.join(told)})" if told else "")


def _pair_pictures(ctx: Context) -> Check:
    files = [ctx.relative(file) for pair in ctx.pairs or [] for file in pair]
    broken = _broken(ctx, "pre-generated pictures", {f: ("test", [0]) for f in files})
    if not broken:
        return ok("pregen_images", f"{len(files)} pictures decode")
    picture, _, _, stop = broken[0]
    more = f"; {len(broken)} such pictures" if len(broken) > 1 else ""
    return stopped(
        "pregen_images",
        HardStop(
            stop.code,
            f"{stop.message}{more}",
            file=ctx.workspace / picture,
            fix=stop.fix or "generate the pair again, or remove both of its pictures",
            evidence={"pictures": [b[0] for b in broken[:20]]},
        ),
    )


def _defect_spec(ctx: Context) -> Check:
    lights = ctx.spec.lights if ctx.spec else [""]
    try:
        if ctx.spec is None:
            return skipped("defect_spec", "a valid spec")
        ctx.parts = pregen_parts(ctx.workspace, lights, ctx.spec.dataset.classify.image_ext)
        stated = read_defect_spec(ctx.workspace)
        check_allocation(ctx.parts, ctx.workspace)
    except HardStop as stop:
        return stopped("defect_spec", stop)
    ctx.add_spellings(spelled(ctx.parts, stated))
    counts: dict[str, int] = {}
    for part in ctx.parts:
        label = ctx.shown(part.label)
        counts[label] = counts.get(label, 0) + 1
    ctx.facts["pregen"] = {"pairs": len(ctx.parts), "labels": dict(sorted(counts.items()))}
    if not stated:
        return ok("defect_spec", f"no {DEFECT_SPEC}; labels come from the file names")
    return ok("defect_spec", f"{len(stated)} defect type(s), counts agree with the pairs")


def _unchanged(ctx: Context) -> Iterator[Check]:
    manifest = ctx.run_dir / MANIFEST_FILE
    if not manifest.is_file() or staged_elsewhere(ctx.run_dir):
        return
    if read_state(ctx.run_dir).get("status") == COMPLETE:
        return
    try:
        check_pregen_unchanged(ctx.workspace, read_json(manifest), manifest)
        yield ok("pregen_unchanged", "the pre-generated pictures are those that this run staged")
    except HardStop as stop:
        yield stopped("pregen_unchanged", stop)
