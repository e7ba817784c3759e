"""What somebody's cells say, and what of it is refused.

What a spreadsheet or database may have made of a name (a number, a date, ``1,00E+05``, ``#N/A``)
is never repaired: which text it was stands nowhere in the file.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deft.core.errors import HardStop
from deft.tables.foreign.grid import NUMBER, Grid, Reading
from deft.tables.label_words import good_word, quoted
from deft.tables.labels import PASS, clean_label

PATHS = ("input_path", "golden_path")
LABELS_SHOWN = 8
# What stands in a cell that has no value, or has lost it; of Excel in some languages.
LOST = re.compile(
    r"#(n/?a|nv|ref!|name\?|value!|div/0!|num!|null!|bezug!|wert!|zahl!|spill!|calc!|#+)"
    r"|\(?null\)?|nan|<na>|\\n|none",
    re.IGNORECASE,
)
ROUNDED = re.compile(r"[+-]?\d+[.,]\d+E[+-]?\d+", re.IGNORECASE)  # as a spreadsheet shows 1E5
FLOAT = re.compile(r"\d+[.,]0")
AS_TEXT = re.compile(r'="([^"]*)"')  # how a text that looks like a number is kept from Excel
WINDOWS_ROOT = re.compile(r"[A-Za-z]:/|[A-Za-z]:$|//")
CONTROL = re.compile(r"[\r\n\0]")


def check_kinds(grid: Grid, kept: Sequence[int], at: int, name: str, reading: Reading) -> None:
    """Refuse a mandatory cell that is no text, unless ``numbers`` or ``labels`` say what it is."""
    mapped = reading.new_labels() if name == "label" else {}
    found = []
    for i in kept:
        kind = grid.kind(i, at) if at < len(grid.rows[i]) else ""
        if not kind or (kind == NUMBER and reading.numbers == "text"):
            continue
        if clean_label(grid.rows[i][at]) not in mapped:
            found.append((i, kind))
    if not found:
        return
    first, kind = found[0]
    text = grid.rows[first][at]
    fix = "paste it as values" if "formula" in kind else "write it as text"
    if kind == NUMBER:
        fix = (
            "format the column as text and write the names again; or, where no zeros or digits are "
            "lost, import_table.numbers: text"
        )
    if name == "label":
        fix = f"say what it means: import_table.labels: {{'{text}': {PASS}}} or a defect's name"
    raise _stop(
        grid.file,
        f"{len(found)} cell(s) of {name} hold {kind}, not text (first: {text[:40]})",
        fix,
        [grid.numbers[i] for i, _ in found],
    )


def tidied(cells: dict[str, list[str]], told: list[str]) -> None:
    """Take off, in place, what cannot belong to a mandatory cell, and tell each.

    Blanks around it, ``="…"``; in paths ``\\`` becomes ``/``.
    """
    counts: Counter[str] = Counter()
    for name in (*PATHS, "label", "object_name"):
        for i, old in enumerate(cells[name]):
            kept = AS_TEXT.fullmatch(old.strip())
            new = kept[1] if kept else old
            counts['="…" unpacked'] += bool(kept)
            counts["blanks around a cell taken off"] += new != new.strip()
            new = new.strip()
            if name in PATHS and "\\" in new:
                counts["\\ written as /"] += 1
                new = new.replace("\\", "/")
            cells[name][i] = new
    told += [f"{what} ({count})" for what, count in counts.items() if count]


def without_prefix(
    file: Path, numbers: Sequence[int], cells: dict[str, list[str]], reading: Reading
) -> list[str]:
    """Take ``strip_prefix`` off the paths, in place, and return what is to be told of it.

    Raises ``csv_invalid`` for paths that still begin with a drive or a share of Windows.
    """
    prefix = (reading.strip_prefix or "").strip().replace("\\", "/").rstrip("/")
    count = 0
    for name in PATHS if reading.strip_prefix else ():
        for i, old in enumerate(cells[name]):
            new = _below(prefix, old)
            if new is not None:
                cells[name][i], count = new, count + 1
    left = [cell for name in PATHS for cell in cells[name] if WINDOWS_ROOT.match(cell)]
    if left:
        name = next(name for name in PATHS if left[0] in cells[name])
        common = os.path.commonprefix([f"{cell.rstrip('/')}/" for cell in left]).rpartition("/")[0]
        raise _stop(
            file,
            f"{len(left)} path(s) are of another machine (first: {name} {left[0][:80]!r})",
            "say what stands before the picture folder in them: "
            f"import_table.strip_prefix: '{common or left[0][:2]}'",
            [
                n
                for i, n in enumerate(numbers)
                if any(WINDOWS_ROOT.match(cells[p][i]) for p in PATHS)
            ],
        )
    return [f"{prefix} taken off ({count})"] if count else []


def _below(prefix: str, cell: str) -> str | None:
    """Return a path below ``prefix``, ``.`` for itself; None for any other. Windows has no case."""
    if not cell:
        return None
    start, same = cell[: len(prefix)], str.casefold if WINDOWS_ROOT.match(prefix) else str
    if same(start) != same(prefix) or cell[len(prefix) : len(prefix) + 1] not in ("", "/"):
        return None
    return cell[len(prefix) :].strip("/") or "."


def relabelled(
    file: Path, numbers: Sequence[int], labels: Sequence[str], reading: Reading
) -> tuple[list[str], dict[str, int]]:
    """Return the labels by the map of the settings, and how many became or stayed what."""
    new, meant = reading.new_labels(), {}
    undecided: dict[str, list[int]] = {}
    for label in dict.fromkeys(labels):
        meant[label] = new.get(clean_label(label), label)
        if clean_label(label) not in new and good_word(label):
            undecided[label] = []
    for number, label in zip(numbers, labels, strict=True):
        if label in undecided:
            undecided[label].append(number)
    if undecided:
        seen = list(undecided)[:LABELS_SHOWN]
        told = ", ".join(f"{quoted(label)} ({len(undecided[label])} rows)" for label in seen)
        pairs = ", ".join(f"{_yaml(label)}: {PASS}" for label in seen)
        raise _stop(
            file,
            f"the label(s) {told} may mean a good part, and would be taken for defects",
            f"say what they mean: import_table.labels: {{{pairs}}}, or a defect's name",
            sorted(number for rows in undecided.values() for number in rows),
        )
    found = Counter(labels)
    became = {
        label: label if meant[label] == label else f"{label}→{meant[label]}" for label in found
    }
    return [meant[label] for label in labels], {
        told: found[label] for label, told in sorted(became.items(), key=lambda one: one[1])
    }


def check_lost(
    file: Path, numbers: Sequence[int], name: str, cells: Sequence[str], reading: Reading
) -> None:
    """Refuse what stands for no value, and numbers that a spreadsheet or pandas has rounded."""
    for text in dict.fromkeys(cells):
        what = fix = ""
        if LOST.fullmatch(text):
            what, fix = "which stands for a value that is not there", "fill the cell"
        elif name == "label" or reading.numbers == "text":
            continue
        elif ROUNDED.fullmatch(text):
            what = "what a spreadsheet makes of a long number, or of a name such as 1E5"
            fix = "format the column as text and export again, or import_table.numbers: text"
        if what:
            rows = [n for n, cell in zip(numbers, cells, strict=True) if cell == text]
            raise _stop(file, f"{len(rows)} cell(s) of {name} are {text[:40]!r}, {what}", fix, rows)
    if reading.numbers == "refuse" and name != "label" and all(map(FLOAT.fullmatch, cells)):
        raise _stop(
            file,
            f"every {name} ends in .0 ({cells[0]!r}): names were read as numbers somewhere",
            "export the column as text, or import_table.numbers: text",
        )


def check_text(file: Path, numbers: Sequence[int], cells: dict[str, list[str]]) -> None:
    """Refuse line breaks in any cell: one row is one line of the strict table."""
    for name, texts in cells.items():
        rows = [n for n, text in zip(numbers, texts, strict=True) if CONTROL.search(text)]
        if rows:
            told = f"{len(rows)} cell(s) of {name} hold a line break"
            raise _stop(file, told, "take line breaks out of the cells", rows)


def _yaml(text: str) -> str:
    """Return a key that YAML reads as this text, and not as a number or as true."""
    return text if text.upper() in ("OK", "GOOD", "PASS") else "'" + text.replace("'", "''") + "'"


def _stop(path: Path, message: str, fix: str, rows: list[int] | None = None) -> HardStop:
    return HardStop("csv_invalid", message, file=path, row=rows, fix=fix)
