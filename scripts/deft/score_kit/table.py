"""What is scored: a table of parts, or two folders of pictures."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path

from .errors import Stop
from .files import read_file
from .naming import evenly, image_name
from .prepare import Facts

WANTED = ("input_path", "golden_path", "object_name")
ADDED = ("score", "verdict", "margin")
PASS = "PASS"
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SAVE_AS = "save it as CSV, UTF-8, separated by commas, one line a row"
FIRST_LINE = 2  # of a row; the header is line 1


@dataclass
class Parts:
    """Rows to score, in the table's order.

    ``test``: of each row its pictures, one a light; ``golden``: of each row its goldens, likewise.
    ``labels``: of each row, None without such a column; an empty one is not known.
    """

    source: Path
    header: list[str]
    rows: list[list[str]]
    test: list[list[Path]] = field(default_factory=list)
    golden: list[list[list[Path]]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str] | None:
        """Return a column's cells, or None."""
        if name not in self.header:
            return None
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    @property
    def labels(self) -> list[str] | None:
        """The column ``label``."""
        return self.column("label")


def read_parts(table: Path, images: Path, facts: Facts) -> Parts:
    """Read a ChangeNet table (``label`` may be absent) whose paths lie below ``images``.

    Raises Stop ``missing_input``, ``csv_invalid`` naming the line.
    """
    header, rows = read_csv(table)
    missing = [name for name in WANTED if name not in header]
    if missing:
        raise Stop(
            "csv_invalid",
            f"column(s) {', '.join(missing)} are missing; found {', '.join(header[:20])}",
            file=table,
            rows=[1],
            fix=f"the columns are {', '.join(WANTED)}, and label where it is known",
        )
    taken = [name for name in ADDED if name in header]
    if taken:
        raise Stop(
            "csv_invalid",
            f"the table already has the column(s) {', '.join(taken)}",
            file=table,
            rows=[1],
            fix="give the table without scores, or rename them",
        )
    if not rows:
        raise Stop("csv_invalid", "the table has no rows", file=table, fix="add the parts to score")
    if not images.is_dir():
        raise Stop("missing_input", "the folder of the pictures does not exist", file=images)
    parts = Parts(table, header, rows)
    for name in WANTED:
        empty = [i for i, cell in enumerate(parts.column(name) or ()) if not cell.strip()]
        if empty:
            lines = [i + FIRST_LINE for i in empty]
            raise Stop("csv_invalid", f"{len(lines)} row(s) have an empty {name}", file=table,
                       rows=lines, fix="fill the cell or remove the row")  # fmt: skip
    _check_labels(parts)
    _place(parts, images, images, facts)
    return parts


def read_folders(test: Path, golden: Path, facts: Facts) -> Parts:
    """Pair the pictures of two folders, and of those below them, by their names.

    With several goldens a part, each folder of ``golden`` holds those of the same folder of
    ``test``. A model of one light takes pictures of any name, where none is named as its own were:
    the golden has the same name, or the same but for the file type. Raises Stop ``missing_input``
    for an empty or absent folder.
    """
    for folder in (test, golden):
        if not folder.is_dir():
            raise Stop("missing_input", "the folder does not exist", file=folder)
    ending = image_name("", facts.lights[0], facts.ext)
    rows = []
    for at, names, files in os.walk(test):
        names.sort()
        inside = Path(at).relative_to(test).as_posix()
        found = sorted(f.removesuffix(ending) for f in files if f.endswith(ending) and f != ending)
        rows += [[inside, inside, name] for name in found]
    parts = Parts(test, list(WANTED), rows)
    if rows:
        _place(parts, test, golden, facts)
    elif len(facts.lights) == facts.num_golden == 1:
        _pair_whole_names(parts, test, golden)
    if not parts.rows:
        raise Stop(
            "missing_input",
            f"no picture in it ends in {ending}",
            file=test,
            fix="give the folder of the test pictures; preprocessing.json says how they are named",
        )
    return parts


def _pair_whole_names(parts: Parts, test: Path, golden: Path) -> None:
    """Fill in the pictures of one light that have no light in their name; a row has the file's."""
    for at, names, files in os.walk(test):
        names.sort()
        inside = Path(at).relative_to(test)
        goldens = _pictures_by_stem(golden / inside)
        for name in sorted(f for f in files if _is_picture(f)):
            alike = goldens.get(Path(name).stem, [])
            match = alike[0] if len(alike) == 1 and name not in alike else name
            parts.rows.append([inside.as_posix(), inside.as_posix(), name])
            parts.test.append([test / inside / name])
            parts.golden.append([[golden / inside / match]])


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in PICTURES


def _pictures_by_stem(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if _is_picture(name):
            found.setdefault(Path(name).stem, []).append(name)
    return found


def _check_labels(parts: Parts) -> None:
    wrong = [
        i + FIRST_LINE
        for i, label in enumerate(parts.labels or ())
        if label != PASS and label.strip().upper() == PASS
    ]
    if wrong:
        raise Stop(
            "csv_invalid",
            "a label is PASS only after changing case or spaces; it would count as a defect",
            file=parts.source,
            rows=wrong,
            fix="write PASS exactly",
        )


def _place(parts: Parts, images: Path, goldens: Path, facts: Facts) -> None:
    """Fill in the rows' picture files."""
    inputs, folders, names = (parts.column(name) or [] for name in WANTED)

    def files(root: Path, folder: str, name: str) -> list[Path]:
        return [root / folder / image_name(name, light, facts.ext) for light in facts.lights]

    parts.test = [files(images, f, n) for f, n in zip(inputs, names, strict=True)]
    if facts.num_golden == 1:
        parts.golden = [[files(goldens, f, n)] for f, n in zip(folders, names, strict=True)]
        return
    known: dict[str, list[list[Path]]] = {}
    for row, folder in enumerate(folders):
        if folder not in known:
            found = _goldens_in(goldens / folder, facts)
            if len(found) < facts.num_golden:
                raise Stop(
                    "csv_invalid",
                    f"the model takes {facts.num_golden} goldens a part, and golden_path {folder} "
                    f"holds {len(found)}",
                    file=parts.source,
                    rows=[row + FIRST_LINE],
                    fix="put more goldens into the folder",
                )
            chosen = evenly(found, facts.num_golden)
            known[folder] = [files(goldens, folder, name) for name in chosen]
    parts.golden = [known[folder] for folder in folders]


def _goldens_in(folder: Path, facts: Facts) -> list[str]:
    ending = image_name("", facts.lights[0], facts.ext)
    try:
        return sorted(n.removesuffix(ending) for n in os.listdir(folder) if n.endswith(ending))
    except OSError:
        return []


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a CSV; raises Stop ``missing_input``, ``csv_invalid``."""
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"the table is not UTF-8 (byte {error.start})"
        raise Stop("csv_invalid", why, file=path, fix=SAVE_AS) from None
    except OSError as error:
        why = f"the table cannot be read ({error.strerror})"
        raise Stop("missing_input", why, file=path, fix="give the table's path") from None
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise Stop("csv_invalid", f"a quotation mark is out of place ({error})", file=path,
                   fix=SAVE_AS) from None  # fmt: skip
    if len(rows) != len(lines):
        raise Stop("csv_invalid", "a cell goes over the end of its line", file=path, fix=SAVE_AS)
    header = [name.strip() for name in rows[0]] if rows else []
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise Stop("csv_invalid", f"column(s) {doubled} stand twice", file=path, rows=[1])
    ragged = [i + 1 for i, row in enumerate(rows) if len(row) != len(header)]
    if ragged:
        raise Stop(
            "csv_invalid",
            f"{len(ragged)} row(s) do not have the header's {len(header)} cells",
            file=path,
            rows=ragged,
            fix="quote cells that hold commas; remove blank lines",
        )
    return header, rows[1:]


def find_missing(parts: Parts) -> None:
    """Look for every picture before the first is scored; raises Stop ``missing_input``."""
    known: dict[Path, bool] = {}
    gone: list[tuple[int, Path]] = []

    def there(path: Path) -> bool:
        if path not in known:
            known[path] = path.is_file()
        return known[path]

    for row in range(len(parts)):
        gone += [(row, path) for path in picture_files(parts, row) if not there(path)][:1]
    if gone:
        raise Stop(
            "missing_input",
            f"{len(gone)} of {len(parts)} parts lack a picture (first: {gone[0][1]})",
            file=parts.source,
            rows=[row + FIRST_LINE for row, _ in gone] if parts.source.is_file() else (),
            fix="correct the folder of the pictures (--images, or --test and --golden), restore "
            "the pictures, or remove the rows",
        )


def picture_files(parts: Parts, row: int) -> list[Path]:
    """Return every file that a row's score depends on."""
    return [*parts.test[row], *(path for files in parts.golden[row] for path in files)]
