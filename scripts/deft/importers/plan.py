"""What an import would make: read once, checked, split; nothing is written."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.progress import Progress
from deft.importers.equal_pictures import without_contradictions, without_copies
from deft.importers.folder_settings import FolderSettings
from deft.importers.parts import FoundPart, LeftOver, Picture, Source, file_safe
from deft.importers.pixels import Reader
from deft.importers.sizes import sizes_told
from deft.importers.split import check_roles, needed, shares, split
from deft.settings.kpi_target import KpiTarget
from deft.tables.changenet_table import PASS
from deft.tables.labels import clean_label, first_spellings, label_fault

SHOWN, KINDS_SHOWN = 12, 3
ANY = re.compile(r"[^\s:;]*[\d./_-][^\s:;]*")  # names and numbers, which differ in one reason
FindGoldens = Callable[[list[FoundPart], FolderSettings], "WithGoldens"]


@dataclass(frozen=True)
class WithGoldens:
    """Parts with goldens for those that had none. ``match``: object name -> 0 (bad) to 1."""

    parts: list[FoundPart]
    left_over: list[LeftOver]
    notes: list[str]
    match: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """Parts by role, and what to tell. ``digest``: of every picture, name, label and role."""

    source: Source
    roles: dict[str, list[FoundPart]]
    lights: list[str]
    goldens: int
    left_over: list[LeftOver]
    notes: list[str]
    match: dict[str, float]
    digest: str


def plan(
    source: Source, settings: FolderSettings, target: KpiTarget, find_goldens: FindGoldens | None
) -> Plan:
    """Return what the import would make of ``source``.

    Raises HardStop ``config_invalid``, ``csv_invalid`` or ``missing_input``.
    """
    left_over, notes = list(source.left_over), list(source.notes)
    parts = _named(_labelled(source.parts))  # the golden search tells of parts by their names
    match: dict[str, float] = {}
    if any(not part.goldens for part in parts):
        if find_goldens is None:
            raise _no_goldens(source)
        found = find_goldens(parts, settings)
        parts, match = found.parts, found.match
        left_over += found.left_over
        notes += found.notes
    lights = sorted({light for part in parts for light in part.pictures})
    parts = _complete(parts, lights, left_over)
    parts, digests = _readable(parts, left_over, Reader(settings.picture_levels), source.root)
    parts, disputed = without_contradictions(parts, digests)
    left_over += disputed
    if disputed:
        notes.append(
            f"{len(disputed)} part(s) are left over: equal pictures lie there under two labels"
        )
    if not parts:
        raise _nothing(source, left_over)
    goldens = min(len(found) for part in parts for found in part.goldens.values())
    most = max(len(found) for part in parts for found in part.goldens.values())
    if most > goldens:
        notes.append(f"goldens of a part: {goldens} to {most}; the first {goldens} are used")
    notes += sizes_told(parts)
    seed = settings.seed or 0
    wanted = shares(parts, target, settings.shares)
    roles = split(parts, wanted, seed)
    roles, dropped = without_copies(roles, digests)
    check_roles(roles)
    if dropped:
        notes.append(f"{dropped} part(s) show the very picture of another: one of each is kept")
    notes += _provable(roles, target)
    return Plan(
        source, roles, lights, goldens, left_over, notes, match, _digest(roles, digests, goldens)
    )


def _labelled(parts: list[FoundPart]) -> list[FoundPart]:
    """Return the parts with one spelling a label; raises HardStop for one that cannot be used."""
    spellings = first_spellings([part.label for part in parts])
    for part in parts:
        fault = label_fault(part.label)
        if fault:
            raise HardStop(
                "csv_invalid",
                fault,
                file=part.origin,
                fix=f"say what it means in import_folder.labels: {{{part.label!r}: PASS}}",
            )
    named = {label: spellings.get(clean_label(label), label) for label in {p.label for p in parts}}
    return [replace(part, label=named[part.label]) for part in parts]


def _no_goldens(source: Source) -> HardStop:
    first = next(part for part in source.parts if not part.goldens)
    return HardStop(
        "missing_input",
        f"{sum(not part.goldens for part in source.parts)} part(s) have no golden picture",
        file=first.origin,
        fix="set import_folder.golden to the folder of goldens (or the one golden) below the root",
    )


def _nothing(source: Source, left_over: list[LeftOver]) -> HardStop:
    # Of each kind of reason one: the last one found is often not the one that matters.
    kinds = {ANY.sub("", one.why): one for one in reversed(left_over)}
    shown = [f"{one.what}: {one.why}" for one in reversed(kinds.values())][:KINDS_SHOWN]
    told = "; ".join(shown) or "the folder has no picture that could be one"
    return HardStop(
        "missing_input",
        f"no part is left; {len(left_over)} file(s) or record(s) are left over: {told}",
        file=source.root,
        fix="mend the pictures or the settings by these reasons: docs/import.md",
    )


def _complete(
    parts: list[FoundPart], lights: list[str], left_over: list[LeftOver]
) -> list[FoundPart]:
    found = []
    for part in parts:
        missing = [x for x in lights if x not in part.pictures or not part.goldens.get(x)]
        if missing:
            what = ", ".join(x or "the picture" for x in missing)
            left_over.append(LeftOver(part.origin, f"{part.name} lacks {what} or its golden"))
        else:
            found.append(part)
    return found


def _readable(
    parts: list[FoundPart], left_over: list[LeftOver], reader: Reader, root: Path
) -> tuple[list[FoundPart], dict[str, str]]:
    """Return the parts whose pictures can be read, and name -> digest of the test pictures."""
    found, digests = [], {}
    golden_fault: dict[Path, str] = {}
    progress = Progress(len(parts), "read")
    for part in parts:
        where = part.origin
        try:
            told = hashlib.sha256()
            for light in sorted(part.pictures):
                where = _file_of(part, light, root)
                told.update(reader.digest(part.pictures[light]).encode())
            where = part.origin
            for golden in (g for goldens in part.goldens.values() for g in goldens):
                if golden.path not in golden_fault:
                    golden_fault[golden.path] = _fault(reader, golden)
                if golden_fault[golden.path]:
                    fault = golden_fault[golden.path]
                    raise ValueError(f"its golden {golden.path.name}: {fault}")
        except (ValueError, OSError) as problem:
            left_over.append(LeftOver(where, f"{part.name}: {problem}"))
        else:
            digests[part.name] = told.hexdigest()
            found.append(part)
        progress(1)
    progress.close()
    return found, digests


def _file_of(part: FoundPart, light: str, root: Path) -> str:
    """Return what the user knows of a part's picture: of several lights the one at fault."""
    path = part.pictures[light].path
    several = len(part.pictures) > 1 and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if several else part.origin


def _fault(reader: Reader, golden: Picture) -> str:
    try:
        reader.pixels(golden)
    except (ValueError, OSError) as problem:
        return str(problem)
    return ""


def _named(parts: list[FoundPart]) -> list[FoundPart]:
    """Give every part a name of its own that files and tables can have."""
    taken: Counter[str] = Counter()
    named = []
    for part in parts:
        name = file_safe(part.name).strip("-. ") or "part"
        taken[name.casefold()] += 1
        count = taken[name.casefold()]
        while count > 1 and f"{name}-{count}".casefold() in taken:
            count += 1
        if count > 1:
            name = f"{name}-{count}"
            taken[name.casefold()] += 1
        named.append(replace(part, name=name))
    return named


def _provable(roles: dict[str, list[FoundPart]], target: KpiTarget) -> list[str]:
    good = sum(part.good for part in roles["kpi"])
    bad = len(roles["kpi"]) - good
    wanted_good, wanted_bad = needed(target)
    recall = min(target.recall_pct, 99.0)
    told = [f"KPI set: {good} good and {bad} bad parts"]
    told.append(
        f"{wanted_good} good parts prove the false alarm rate if none is rejected: "
        + ("enough" if good >= wanted_good else f"{wanted_good - good} more are needed")
    )
    told.append(
        f"{wanted_bad} bad parts prove a recall of {recall:g} % if none is missed: "
        + ("enough" if bad >= wanted_bad else f"{wanted_bad - bad} more are needed")
    )
    return told


def _digest(roles: dict[str, list[FoundPart]], digests: dict[str, str], goldens: int) -> str:
    told = hashlib.sha256(str(goldens).encode())
    for role, parts in roles.items():
        for part in parts:
            golden = sorted((k, g.path.name, g.box) for k, gs in part.goldens.items() for g in gs)
            row = (role, part.name, part.board, part.label, digests[part.name], golden)
            told.update(repr(row).encode())
    return told.hexdigest()


def told(found: Plan) -> str:
    """Return what the user reads: what was found, what becomes what, what is left over."""
    lines = [f"{found.source.layout} data set in {found.source.root}"]
    lines += [f"licence: {found.source.licence}", *found.notes, ""]
    for role, parts in found.roles.items():
        labels = Counter(part.label for part in parts)
        shown = sorted(labels, key=lambda label: (label != PASS, label))
        boards = len({part.board for part in parts if part.board})
        told = ", ".join(f"{label} {labels[label]}" for label in shown)
        lines.append(f"{role:<11}{len(parts):>6} rows  {told}  ({boards} boards)")
    lines.append("")
    lines.append(f"left over: {len(found.left_over)}")
    lines += [f"  {one.what}: {one.why}" for one in found.left_over[:SHOWN]]
    if len(found.left_over) > SHOWN:
        more = len(found.left_over) - SHOWN
        lines.append(f"  … and {more} more: import_folder writes all to import_left_over.csv")
    return "\n".join(lines)
