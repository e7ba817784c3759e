"""Pre-generated pairs as parts: grouped by light, labelled by name, checked as tables will be."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deft.core import layout
from deft.core.errors import HardStop
from deft.pool.pregen.listing import paired_pregen
from deft.pool.pregen.spec import Stated, read_defect_spec
from deft.tables.changenet_table import cell_fault, image_name
from deft.tables.labels import PASS, clean_label, label_fault

STEM = re.compile(r"^(?P<board>.+)\+(?P<defect>.+)_(?P<number>\d+)$", flags=re.DOTALL)
UNKNOWN_DEFECT = "ng"
NAME_BYTES = 255  # of a file name, on every common file system


@dataclass(frozen=True)
class SynthPart:
    """One pre-generated pair: its stem, label, board and the files of each light."""

    stem: str
    label: str
    board: str
    ng: dict[str, Path]  # light -> file; the key "" serves every light
    ok: dict[str, Path]


def pregen_parts(workspace: str | Path, lights: list[str], ext: str = ".jpg") -> list[SynthPart]:
    """Return the pre-generated pairs as parts, one per stem without its light.

    A stem that ends in ``_<light>`` of a known light is that light's picture of the part;
    a stem without one serves every light. ``ext``: of the spec's pictures, as they are staged.

    Raises
    ------
    HardStop of :func:`deft.pool.pregen.listing.paired_pregen` and
    :func:`deft.pool.pregen.spec.read_defect_spec`; ``pregen_unpaired`` for lights that do not fit;
    ``csv_invalid`` for a name that no table can hold or whose label breaks the label rule: later
    stages would stop at a table that nobody can edit.
    """
    ng, ok = paired_pregen(workspace)
    stated = read_defect_spec(workspace)
    grouped: dict[str, dict[str, str]] = {}
    longest_first = sorted((x for x in lights if x), key=len, reverse=True)
    for stem in ng:
        light = next((x for x in longest_first if stem.endswith(f"_{x}")), "")
        part = stem.removesuffix(f"_{light}") if light else stem
        grouped.setdefault(part, {})[light] = stem
    parts = []
    for part, by_light in sorted(grouped.items()):
        first = ng[next(iter(by_light.values()))]
        _check_lights(part, by_light, lights, first)
        label, board = label_of(part, stated, first)
        _check_name(part, lights, ext, first)
        parts.append(
            SynthPart(
                part,
                label,
                board,
                {light: ng[stem] for light, stem in by_light.items()},
                {light: ok[stem] for light, stem in by_light.items()},
            )
        )
    return parts


def _check_lights(part: str, by_light: dict[str, str], lights: list[str], file: Path) -> None:
    absent = [x for x in lights if x not in by_light]
    if absent and "" not in by_light:
        raise HardStop(
            "pregen_unpaired",
            f"the pre-generated part {part!r} has no picture of light(s) {absent}",
            file=file.parent,
            fix="generate every light of the spec, or name the files without a light",
        )
    if not absent and "" in by_light and len(by_light) > 1:
        raise HardStop(
            "pregen_unpaired",
            f"the pre-generated part {part!r} has a picture of every light and one without a "
            "light, which would never be used",
            file=file.parent,
            fix="remove or rename one of them",
        )


def _check_name(part: str, lights: list[str], ext: str, file: Path) -> None:
    """Raise ``csv_invalid`` for a name that tables or file systems cannot hold."""
    fault = cell_fault("object_name", part)
    longest = max(len(os.fsencode(image_name(part, light, ext))) for light in lights)
    if fault is None and longest > NAME_BYTES:
        fault = f"{longest} bytes with the light, more than {NAME_BYTES} of a file name"
    if fault:
        raise HardStop(
            "csv_invalid",
            f"a pre-generated pair becomes a row, and its name {part[:80]!a} would give {fault}",
            file=file,
            fix="rename both pictures of the pair",
        )


def label_of(
    stem: str, stated: Sequence[Stated], file: str | Path | None = None
) -> tuple[str, str]:
    """Return (label, board) of a stem ``<board>+<defect>_<n>``.

    Otherwise the longest defect type of ``defect_spec.jsonl`` that the stem contains, else ``ng``.

    Raises
    ------
    HardStop ``csv_invalid`` for a defect that breaks the label rule (``pass``, look-alikes).
    """
    match = STEM.match(stem)
    if match:
        fault = label_fault(match["defect"])
        if fault:
            raise HardStop(
                "csv_invalid",
                f"{fault} (from the name of a pre-generated pair)",
                file=file,
                fix="rename both pictures of the pair: <board>+<defect>_<n>",
            )
        return clean_label(match["defect"]), match["board"]
    clean = clean_label(stem)
    hits = [
        entry.label
        for entry in sorted(stated, key=lambda entry: entry.label)
        # PASS is a word of its own: "bypass_3" is not good.
        if (
            re.search(r"(?<![^\W_])PASS(?![^\W_])", stem)
            if entry.label == PASS
            else entry.label in clean
        )
    ]
    return (max(hits, key=len) if hits else UNKNOWN_DEFECT), ""


def spelled(parts: Sequence[SynthPart], stated: Sequence[Stated]) -> list[str]:
    """Return the labels of the pairs as the user wrote them: ``defect_spec.jsonl``, then names."""
    named = [STEM.match(part.stem) for part in parts]
    return [*(s.defect_type for s in stated), *(m["defect"] for m in named if m)]


def check_allocation(parts: Sequence[SynthPart], workspace: str | Path) -> None:
    """Raise ``allocation_mismatch`` when ``defect_spec.jsonl`` states other counts."""
    counted = Counter(part.label for part in parts)
    for entry in read_defect_spec(workspace):
        found = counted[entry.label]
        if entry.count is not None and found != entry.count:
            raise HardStop(
                "allocation_mismatch",
                f"defect type {entry.defect_type!r}: defect_spec.jsonl says {entry.count} pair(s), "
                f"{found} found",
                file=Path(workspace) / layout.DEFECT_SPEC,
                row=entry.line,
                fix="correct the count or add the missing pairs",
                evidence={"defect_type": entry.label, "stated": entry.count, "found": found},
            )
