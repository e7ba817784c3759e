"""Leakage: the same sample on two sides that must not share any.

Two sides are compared by key (the columns that both really have) and by the content of their test
pictures; golden pictures are shared on purpose. Near-duplicates are only counted: pictures of
equal parts look alike by nature.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from deft.core.errors import HardStop
from deft.tables.changenet_table import clean_label, image_name, line_of, rows_of
from deft.tables.fingerprint import Fingerprint, fingerprints
from deft.tables.fingerprint import (
    content_digests as content_digests,  # leakage is where users look
)
from deft.tables.fingerprint import pixel_digest as pixel_digest
from deft.tables.near_duplicates import nearest_within

COMPARED: dict[str, Callable[[str], str]] = {
    "label": clean_label,
    "input_path": posixpath.normpath,
    "golden_path": posixpath.normpath,
}
KEY_COLUMNS = ("input_path", "golden_path", "label", "object_name", "boardname")
NEAR_BITS = 3  # differing bits of 64 that still count as the same picture


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    ``rows`` have paths relative to the workspace and the index of their table, so that
    ``line_of(index)`` is the CSV line. ``file`` is the table as the user knows it. A side that is
    compared with several others looks at its pictures once.
    """

    name: str
    file: str | Path
    rows: pd.DataFrame
    prints: dict[tuple[str, ...], list[Fingerprint | None]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def know(
        self,
        known: Mapping[str, Fingerprint],
        workspace: str | Path,
        lights: Sequence[str],
        ext: str,
        levels: int | None,
    ) -> None:
        """Take over the fingerprints of its test pictures, where all of them are known."""
        prints = [known.get(path) for path in picture_paths(self.rows, lights, ext)]
        if None not in prints:
            self.prints[_place(workspace, lights, ext, levels)] = prints


def _place(
    workspace: str | Path, lights: Sequence[str], ext: str, levels: int | None, *files: str
) -> tuple[str, ...]:
    return (str(workspace), ext, str(levels), *lights, *files)


@dataclass(frozen=True)
class Leak:
    """Row ``a`` of one side and row ``b`` of the other, both as index labels of their rows.

    ``pictures``: the two that were compared, where pictures were.
    """

    a: int
    b: int
    detail: str = ""
    pictures: tuple[str, str] | None = None  # workspace-relative


@dataclass
class Comparison:
    """What two sides share."""

    a: Side
    b: Side
    key: list[Leak] = field(default_factory=list)
    content: list[Leak] = field(default_factory=list)
    near: list[Leak] = field(default_factory=list)

    def text(self, kind: str) -> str:
        """Return one sentence on the leaks of ``kind`` (``key``, ``content`` or ``near``)."""
        leaks: list[Leak] = getattr(self, kind)
        first, rows = leaks[0], len({leak.a for leak in leaks})
        what = {
            "key": "is the same sample as",
            "content": "shows the same test picture as",
            "near": "looks nearly like",
        }[kind]
        more = f"; {rows} such rows in all" if rows > 1 else ""
        detail = f" ({first.detail})" if first.detail else ""
        return (
            f"{self.a.name} row {line_of(first.a)} {what} {self.b.name} row "
            f"{line_of(first.b)} of {self.b.file}{detail}{more}"
        )


def _really_has(rows: pd.DataFrame, column: str) -> bool:
    # Tables are padded with empty columns; an all-empty one says nothing about the sample.
    return column in rows.columns and bool((rows[column].astype(str).str.strip() != "").any())


def find_key_leaks(a: pd.DataFrame, b: pd.DataFrame) -> list[Leak]:
    """Return the rows of ``a`` whose key is also in ``b`` (the first such row of ``b``).

    Both in workspace coordinates. Labels are compared as they enter training.
    """
    columns = [c for c in KEY_COLUMNS if _really_has(a, c) and _really_has(b, c)]
    if "object_name" not in columns or "input_path" not in columns:
        return []  # without them a key names no sample

    def keys(rows: pd.DataFrame) -> list[tuple[str, ...]]:
        return list(zip(*(as_compared(rows[c], c) for c in columns), strict=True))

    def as_compared(cells: pd.Series, column: str) -> list[str]:
        change, values = COMPARED.get(column, str), cells.tolist()
        changed = {value: change(value) for value in set(values)}
        return [changed[value] for value in values]

    first: dict[tuple[str, ...], int] = {}
    for index, key in zip(b.index, keys(b), strict=True):
        first.setdefault(key, index)
    return [
        Leak(index, first[key]) for index, key in zip(a.index, keys(a), strict=True) if key in first
    ]


def picture_paths(rows: pd.DataFrame, lights: Sequence[str], ext: str) -> list[str]:
    """Return every row's test pictures, row by row and light by light, workspace-relative."""
    return [
        f"{folder}/{image_name(name, light, ext)}"
        for folder, name in rows_of(rows, "input_path", "object_name")
        for light in lights
    ]


def find_content_leaks(
    a: Sequence[tuple[int, str, Fingerprint | None]],
    b: Sequence[tuple[int, str, Fingerprint | None]],
) -> list[Leak]:
    """Return the pictures of ``a`` whose pixels also occur in ``b``.

    Each entry is (row index, path, fingerprint); entries without a fingerprint are left out.
    """
    first: dict[str, tuple[int, str]] = {}
    for index, path, print_ in b:
        if print_ is not None:
            first.setdefault(print_.digest, (index, path))
    leaks = []
    for index, path, print_ in a:
        if print_ is not None and print_.digest in first:
            other, other_path = first[print_.digest]
            leaks.append(Leak(index, other, f"{path} = {other_path}", (path, other_path)))
    return leaks


def find_near_duplicates(
    a: Sequence[tuple[int, str, Fingerprint | None]],
    b: Sequence[tuple[int, str, Fingerprint | None]],
    bits: int = NEAR_BITS,
) -> list[Leak]:
    """Return pictures of ``a`` within ``bits`` of the hash of one of ``b``, not equal to it.

    Named is the nearest of ``b``, of equally near ones the first; all are found, see
    :mod:`deft.tables.near_duplicates`. A hash of 0 (a picture without structure) is left out.
    """
    left, right = _first_by_hash(a), _first_by_hash(b)
    hashes_a = np.fromiter(left, dtype=np.uint64, count=len(left))
    hashes_b = np.fromiter(right, dtype=np.uint64, count=len(right))
    place = nearest_within(hashes_a, hashes_b, bits)
    found = np.flatnonzero(place >= 0)
    near = dict(zip(hashes_a[found].tolist(), hashes_b[place[found]].tolist(), strict=True))
    leaks = []
    for index, path, print_ in a:
        if print_ is None or print_.dhash not in near:
            continue
        other, other_path, digest = right[near[print_.dhash]]
        if digest != print_.digest:
            leaks.append(Leak(index, other, f"{path} ~ {other_path}", (path, other_path)))
    return leaks


def _first_by_hash(
    entries: Sequence[tuple[int, str, Fingerprint | None]],
) -> dict[int, tuple[int, str, str]]:
    first: dict[int, tuple[int, str, str]] = {}
    for index, path, print_ in entries:
        if print_ is not None and print_.dhash:
            first.setdefault(print_.dhash, (index, path, print_.digest))
    return first


def compare(
    a: Side,
    b: Side,
    *,
    workspace: str | Path,
    lights: Sequence[str],
    ext: str,
    a_files: Sequence[str] | None = None,
    workers: int | None = None,
    log: Callable[[str], None] | None = None,
    levels: int | None = None,
) -> Comparison:
    """Return everything that two sides share; raises nothing about leakage.

    ``a_files`` gives the pictures of ``a`` (one a row, workspace-relative) where they do not
    follow the table's naming; ``levels`` is the full scale of deep pictures. Pictures that are
    missing or broken are left out here: the picture check names them.
    """
    result = Comparison(a, b, key=find_key_leaks(a.rows, b.rows))
    entries = []
    for side, files in ((a, a_files), (b, None)):
        paths = picture_paths(side.rows, lights, ext) if files is None else list(files)
        place = _place(workspace, lights, ext, levels, *(files or ()))
        if place not in side.prints:
            full = [Path(workspace) / p for p in paths]
            side.prints[place] = fingerprints(
                full, workers, skip_broken=True, log=log, levels=levels
            )
        prints = side.prints[place]
        each = len(lights) if files is None else 1
        indices = [index for index in side.rows.index.tolist() for _ in range(each)]
        entries.append(list(zip(indices, paths, prints, strict=True)))
    known = {(leak.a, leak.b) for leak in result.key}
    result.content = [
        leak for leak in find_content_leaks(*entries) if (leak.a, leak.b) not in known
    ]
    result.near = find_near_duplicates(entries[0], entries[1])
    return result


def stop_of(comparison: Comparison, kind: str) -> HardStop:
    """Return the hard stop for the leaks of ``kind`` (``key`` or ``content``)."""
    leaks: list[Leak] = getattr(comparison, kind)
    rows = sorted({line_of(leak.a) for leak in leaks})
    return HardStop(
        "leakage",
        comparison.text(kind),
        file=comparison.a.file,
        row=rows,
        fix=f"remove the row(s) from {comparison.a.name} (or from {comparison.b.name})"
        + ("; content_leakage=warn allows equal pictures" if kind == "content" else ""),
        evidence={
            "kind": kind,
            "sides": [comparison.a.name, comparison.b.name],
            "files": [str(comparison.a.file), str(comparison.b.file)],
            "count": len(rows),
            "rows": rows[:100],
            "pairs": [[line_of(leak.a), line_of(leak.b)] for leak in leaks[:100]],
        },
    )


def check_leakage(
    sides: Sequence[Side],
    held_out: Sequence[Side],
    *,
    workspace: str | Path,
    lights: Sequence[str],
    ext: str,
    content_leakage: str = "stop",
    workers: int | None = None,
    log: Callable[[str], None] | None = None,
    levels: int | None = None,
) -> list[str]:
    """Compare every side with every held-out side; return the warnings.

    Parameters
    ----------
    content_leakage: ``stop`` or ``warn``, what an equal test picture under another key does.
        An equal key always stops.
    levels: full scale of pictures deeper than 8 bits.

    Raises
    ------
    HardStop ``leakage`` at the first pair of sides that shares samples.
    """
    if content_leakage not in {"stop", "warn"}:
        raise ValueError(f"content_leakage is stop or warn, not {content_leakage!r}")
    warnings = []
    for a in sides:
        for b in held_out:
            found = compare(
                a,
                b,
                workspace=workspace,
                lights=lights,
                ext=ext,
                workers=workers,
                log=log,
                levels=levels,
            )
            if found.key:
                raise stop_of(found, "key")
            if found.content and content_leakage == "stop":
                raise stop_of(found, "content")
            warnings += [found.text(kind) for kind in ("content", "near") if getattr(found, kind)]
    return warnings
