"""What rows say against each other and against their pictures: labels, goldens, blank pictures."""

from __future__ import annotations

import posixpath
from collections.abc import Hashable, Iterator, Sequence

import pandas as pd

from deft.core.errors import HardStop
from deft.preflight.check import TABLES, Check, Context, Suspect, stopped, warn
from deft.score_kit.errors import rows_text
from deft.tables.changenet_table import image_name, line_of, rows_of
from deft.tables.fingerprint import Fingerprint
from deft.tables.labels import clean_label, is_ng

Prints = list[tuple[Fingerprint, ...] | None]  # of each row, a picture a light


def contradictions(ctx: Context) -> Iterator[Check]:
    """Yield which rows of a table contradict another, by their names and by their pictures."""
    tests: dict[str, Prints] = {}
    for name in TABLES:
        if name not in ctx.sound:
            continue
        rows = ctx.tables[name]
        yield from _one_part_two_labels(ctx, name, rows)
        if ctx.spec is None or not ctx.prints:
            continue
        tests[name] = _prints(ctx, rows, "input_path")
        goldens = _golden_prints(ctx, rows, tests[name])
        yield from _one_picture_two_labels(ctx, name, rows, tests[name])
        yield from _golden_is_test(ctx, name, rows, tests[name], goldens)
        yield from _blank(name, rows, tests[name], goldens)
    if {"base", "pool"} <= set(tests):
        yield from _base_against_pool(ctx, tests)


def _prints(ctx: Context, rows: pd.DataFrame, column: str) -> Prints:
    return [_print(ctx, *cells) for cells in rows_of(rows, column, "object_name")]


def _print(ctx: Context, folder: str, name: str) -> tuple[Fingerprint, ...] | None:
    assert ctx.spec is not None
    lights, ext = ctx.spec.lights, ctx.spec.dataset.classify.image_ext
    prints = [ctx.prints.get(f"{folder}/{image_name(name, light, ext)}") for light in lights]
    whole = tuple(p for p in prints if p is not None)
    return whole if len(whole) == len(prints) else None


def _golden_prints(ctx: Context, rows: pd.DataFrame, tests: Prints) -> Prints:
    """Return each row's golden; of several the most doubtful: the test picture, or a blank one."""
    if ctx.goldens.count == 1:
        return _prints(ctx, rows, "golden_path")
    known: dict[str, Prints] = {}
    found: Prints = []
    for (folder, part), test in zip(
        rows_of(rows, "golden_path", "object_name"), tests, strict=True
    ):
        if folder not in known:
            each = [_print(ctx, folder, name) for name in ctx.goldens.all_of(folder, part)]
            known[folder] = sorted(each, key=lambda p: p is None or not any(q.flat for q in p))
        same = (golden for golden in known[folder] if _same(golden, test))
        found.append(next(same, next(iter(known[folder]), None)))
    return found


def _same(one: tuple[Fingerprint, ...] | None, other: tuple[Fingerprint, ...] | None) -> bool:
    """Return whether both are there, of equal pixels in every light."""
    if one is None or other is None:
        return False
    return all(a.digest == b.digest for a, b in zip(one, other, strict=True))


def _differing(
    keys: Sequence[Hashable | None], rows: pd.DataFrame
) -> list[tuple[list[int], list[str]]]:
    """Return the rows (index) and labels of every key that has more than one label, in order."""
    first: dict[Hashable, int] = {}
    groups: dict[Hashable, list[int]] = {}  # of the few keys that several rows have
    for index, key in zip(rows.index.tolist(), keys, strict=True):
        if key is not None and first.setdefault(key, index) != index:
            groups.setdefault(key, [first[key]]).append(index)
    labels = dict(rows_of(rows, "index", "label"))
    found = []
    for group in groups.values():
        if len({clean_label(labels[i]) for i in group}) > 1:
            found.append((group, list(dict.fromkeys(labels[i] for i in group))))
    return found


def _contradiction(
    ctx: Context,
    name: str,
    id: str,
    found: list[tuple[list[int], list[str]]],
    what: str,
    stop: bool,
) -> Check:
    group, labels = found[0]
    lines = sorted({line_of(i) for group, _ in found for i in group})
    more = f"; {len(found)} such in all" if len(found) > 1 else ""
    text = (
        f"{rows_text([line_of(i) for i in group])} of {TABLES[name]}: {what} with labels "
        f"{', '.join(labels)}{more}"
    )
    fix = "keep the row whose label is right, and remove the others"
    if stop:
        # The first contradiction leads, so that message and rows agree.
        first = [line_of(i) for i in group]
        lines = [*first, *(line for line in lines if line not in set(first))]
        path = ctx.workspace / TABLES[name]
        return stopped(id, HardStop("csv_invalid", text, file=path, row=lines, fix=fix))
    return warn(id, text, fix)


def _one_part_two_labels(ctx: Context, name: str, rows: pd.DataFrame) -> Iterator[Check]:
    folders = {folder: posixpath.normpath(folder) for folder in rows["input_path"].unique()}
    keys = [(folders[f], n) for f, n in rows_of(rows, "input_path", "object_name")]
    found = _differing(keys, rows)
    if found:
        yield _contradiction(
            ctx, name, f"labels_{name}", found, "the same part", stop=name == "kpi"
        )


def _one_picture_two_labels(
    ctx: Context, name: str, rows: pd.DataFrame, tests: Prints
) -> Iterator[Check]:
    digests = [None if p is None else tuple(q.digest for q in p) for p in tests]
    parts = {index: part for index, *part in rows_of(rows, "index", "input_path", "object_name")}
    # Rows of one part are the other check's.
    found = [f for f in _differing(digests, rows) if len({tuple(parts[i]) for i in f[0]}) > 1]
    for group, labels in found:
        _suspect(ctx, f"pictures_{name}_labels", (rows, group[0]), (rows, group[1]), labels)
    if found:
        strict = ctx.config.get("content_leakage", "stop") == "stop"
        yield _contradiction(
            ctx,
            name,
            f"pictures_{name}_labels",
            found,
            "the same test picture (equal pixels)",
            stop=name == "kpi" and strict,
        )


def _base_against_pool(ctx: Context, tests: dict[str, Prints]) -> Iterator[Check]:
    base, pool = ctx.tables["base"], ctx.tables["pool"]
    known: dict[tuple[str, ...], tuple[int, str]] = {}
    for (index, label), prints in zip(rows_of(base, "index", "label"), tests["base"], strict=True):
        if prints is not None:
            known.setdefault(tuple(p.digest for p in prints), (index, label))
    found = []
    for (index, label), prints in zip(rows_of(pool, "index", "label"), tests["pool"], strict=True):
        other = known.get(tuple(p.digest for p in prints)) if prints is not None else None
        if other is not None and clean_label(other[1]) != clean_label(label):
            found.append((index, label, *other))
    for index, label, other_index, other_label in found:
        labels = [label, other_label]
        _suspect(ctx, "pictures_base_pool_labels", (pool, index), (base, other_index), labels)
    if found:
        index, label, other_index, other_label = found[0]
        lines = [line_of(f[0]) for f in found]
        yield warn(
            "pictures_base_pool_labels",
            f"{rows_text(lines)} of {TABLES['pool']}: the test picture of a row of "
            f"{TABLES['base']} under another label (row {line_of(index)} says {label}, row "
            f"{line_of(other_index)} of the training table {other_label})",
            "correct the wrong one: training would learn both",
        )


def _suspect(
    ctx: Context,
    id: str,
    one: tuple[pd.DataFrame, int],
    other: tuple[pd.DataFrame, int],
    labels: Sequence[str],
) -> None:
    """Note two rows' test pictures (of the first light) to be looked at."""
    left, right = (_picture(ctx, rows, i) for rows, i in (one, other))
    lines = f"rows {line_of(one[1])} and {line_of(other[1])}"
    ctx.suspects.append(Suspect(id, left, right, f"{lines}: one picture, {', '.join(labels)}"))


def _picture(ctx: Context, rows: pd.DataFrame, index: int, column: str = "input_path") -> str:
    """Return a row's picture of the first light, workspace-relative."""
    assert ctx.spec is not None
    light, ext = ctx.spec.lights[0], ctx.spec.dataset.classify.image_ext
    folder, name = str(rows.at[index, column]), str(rows.at[index, "object_name"])
    name = name if column == "input_path" else ctx.goldens.beside(folder, name)
    return f"{folder}/{image_name(name, light, ext)}"


def _golden_is_test(
    ctx: Context, name: str, rows: pd.DataFrame, tests: Prints, goldens: Prints
) -> Iterator[Check]:
    found = []
    cells = zip(rows_of(rows, "index", "input_path", "golden_path"), tests, goldens, strict=True)
    for (index, folder, reference), test, golden in cells:
        if test is not None and golden is not None:
            same = _same(test, golden)
        else:  # of a golden that was not drawn only the path is known
            same = folder == reference and ctx.goldens.count == 1
        if same:
            found.append(index)
            left, right = (_picture(ctx, rows, index, c) for c in ("input_path", "golden_path"))
            told = f"{name} row {line_of(index)}, {rows.at[index, 'label']!s}: its own golden"
            ctx.suspects.append(Suspect(f"pictures_{name}_golden", left, right, told))
    if found:
        bad = sum(is_ng(label) for label in rows.loc[found, "label"])
        yield warn(
            f"pictures_{name}_golden",
            f"{rows_text([line_of(i) for i in found])} of {TABLES[name]}: the golden picture is "
            f"the test picture itself ({len(found)} row(s), {bad} labelled as defects)",
            "a part that is its own reference never differs: name the golden of a good part",
        )


def _blank(name: str, rows: pd.DataFrame, tests: Prints, goldens: Prints) -> Iterator[Check]:
    found = {}
    for what, prints in (("test", tests), ("golden", goldens)):
        flat = [p is not None and any(q.flat for q in p) for p in prints]
        lines = [line_of(i) for i, is_flat in zip(rows.index, flat, strict=True) if is_flat]
        if lines:
            found[what] = lines
    if found:
        text = "; ".join(f"{what} pictures of {rows_text(lines)}" for what, lines in found.items())
        yield warn(
            f"pictures_{name}_blank",
            f"of one grey level throughout: {text} of {TABLES[name]}",
            "look at them: a failed shot or a wrong crop teaches nothing",
        )
