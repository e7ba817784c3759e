"""``corrections.csv`` of a workspace: what a person decided about doubtful rows.

One line is one row of the KPI, the training or the pool table, and a verdict on it. The tables
stay as they are; the stages that read them apply the verdicts (:mod:`deft.tables.corrected`).
Read while the Snakefile is parsed: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.files import sha256_text
from deft.core.layout import BASE_TABLE, CORRECTIONS, KPI_TABLE, POOL_TABLE
from deft.tables.csv_text import decode_text, read_bytes, read_rows
from deft.tables.labels import clean_label, label_fault

KPI, TRAINING, POOL = "kpi", "training", "pool"
TABLES = {KPI: KPI_TABLE, TRAINING: BASE_TABLE, POOL: POOL_TABLE}
RIGHT, WRONG = "label_right", "label_wrong"
# The reason is kept; the effect of each is that the row counts nowhere.
OUT = ("bad_golden", "bad_picture", "leave_out")
VERDICTS = (RIGHT, WRONG, *OUT)
MANDATORY = ("table", "input_path", "object_name", "verdict")
OPTIONAL = ("golden_path", "label", "new_label", "picture", "note")
COLUMNS = (
    *("table", "input_path", "golden_path", "object_name", "label", "verdict", "new_label"),
    *("picture", "note"),
)
DIGITS = 16


@dataclass(frozen=True)
class Correction:
    """One line of the file.

    ``input_path``, ``golden_path``, ``object_name``: the cells of the row in its table; an empty
    ``golden_path`` is any. ``label`` and ``picture`` (digest of the test pictures,
    :func:`deft.tables.corrected.picture_digest`): what the person saw; empty is not compared.
    """

    table: str
    input_path: str
    object_name: str
    verdict: str
    golden_path: str = ""
    label: str = ""
    new_label: str = ""
    picture: str = ""
    note: str = ""
    line: int = 0

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The row that it speaks of."""
        return self.table, self.input_path, self.golden_path, self.object_name

    @property
    def effect(self) -> tuple[str, str]:
        """What it does: verdict and clean new label; the reason of leaving out does not matter."""
        verdict = OUT[-1] if self.verdict in OUT else self.verdict
        return verdict, clean_label(self.new_label) if self.new_label else ""

    def as_dict(self) -> dict[str, Any]:
        """Return the form in which records keep it."""
        kept = asdict(self)
        return {name: kept[name] for name in COLUMNS if kept[name]}


def from_dicts(found: Iterable[dict[str, Any]]) -> list[Correction]:
    """Return the corrections that a record keeps."""
    known = {one.name for one in fields(Correction)}
    return [Correction(**{k: v for k, v in each.items() if k in known}) for each in found]


def read_corrections(workspace: str | Path) -> list[Correction]:
    """Return the corrections of a workspace in the file's order, each row once; [] without a file.

    Raises
    ------
    HardStop ``csv_invalid`` with the line: an unknown table or verdict, a new label that is
    missing, out of place, refused as a label or the old one, two verdicts on one row.
    """
    path = Path(workspace) / CORRECTIONS
    return read_file(path) if path.is_file() else []


def read_file(path: Path) -> list[Correction]:
    """Return the corrections of a file, see :func:`read_corrections`."""
    header, *rows = read_rows(path, decode_text(path, read_bytes(path)), MANDATORY)
    header = [name.strip() for name in header]
    absent = [name for name in MANDATORY if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if absent or unknown or len(set(header)) < len(header):
        raise _stop(
            path,
            f"its columns are {', '.join(header[:12])}",
            1,
            f"write {', '.join(COLUMNS)}; {', '.join(OPTIONAL)} may be left out",
        )
    every: list[Correction] = []
    for line, cells in enumerate(rows, start=2):
        told = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        one = Correction(**told, line=line)
        fault = _fault(one)
        if fault:
            raise _stop(path, fault[0], line, fault[1])
        every.append(one)
    stop = two_verdicts(path, every, [one.row[1:] for one in every])
    if stop is not None:
        raise stop
    found: dict[tuple[str, ...], Correction] = {}
    for one in every:
        found.setdefault(one.row, one)
    return list(found.values())


def two_verdicts(
    path: Path, found: Sequence[Correction], parts: Sequence[tuple[str, str, str]]
) -> HardStop | None:
    """Return the stop for the first row with different verdicts, or None.

    ``parts``: input_path, golden_path, object_name of each, as they are compared; an empty
    golden_path is any, so that it speaks of the row of another line that names one.
    """
    known: dict[tuple[str, str, str], list[tuple[str, Correction]]] = {}
    for one, (folder, golden, name) in zip(found, parts, strict=True):
        others = known.setdefault((one.table, folder, name), [])
        for theirs, before in others:
            same_row = theirs == golden or not theirs or not golden
            if same_row and before.effect != one.effect:
                return _stop(
                    path,
                    f"two verdicts on one row, {one.object_name!r} of {TABLES[one.table]}: "
                    f"{_told(before)} and {_told(one)}",
                    [before.line, one.line],
                    "keep the one that is meant; where two rows are, write golden_path in both",
                )
        others.append((golden, one))
    return None


def _fault(one: Correction) -> tuple[str, str] | None:
    """Return what is wrong with a line and what to do, or None."""
    if one.table not in TABLES:
        return f"table {one.table!r} is none of {', '.join(TABLES)}", "write one of these"
    if one.verdict not in VERDICTS:
        return f"verdict {one.verdict!r} is none of {', '.join(VERDICTS)}", "write one of these"
    if not one.input_path or not one.object_name:
        return "input_path or object_name is empty", "copy the row's own cells"
    if one.verdict != WRONG:
        if one.new_label:
            return (
                f"new_label {one.new_label!r} stands beside {one.verdict}",
                f"write {WRONG}, or clear new_label",
            )
        return None
    if not one.new_label:
        return f"{WRONG} without new_label", "name the right label; PASS for a good part"
    fault = label_fault(one.new_label)
    if fault:
        return f"new_label: {fault}", "write PASS exactly, or name the defect in plain letters"
    if one.label and clean_label(one.label) == clean_label(one.new_label):
        return f"the new label {one.new_label!r} is the old one", f"write {RIGHT}, or another label"
    return None


def _told(one: Correction) -> str:
    return one.verdict + (f" → {one.new_label}" if one.new_label else "")


def _stop(path: Path, what: str, line: int | list[int], fix: str) -> HardStop:
    return HardStop("csv_invalid", what, file=path, row=line, fix=fix)


def of_table(found: Iterable[Correction], table: str) -> list[Correction]:
    """Return those of one table that have an effect."""
    return [one for one in found if one.table == table and one.verdict != RIGHT]


def digest(found: Iterable[Correction]) -> str:
    """Return a short digest of what corrections do, in any order; empty without any."""
    told = sorted(repr((one.row, one.effect)) for one in found)
    return sha256_text("\n".join(told))[:DIGITS] if told else ""
