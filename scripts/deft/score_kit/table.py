"""What is scored: a table of parts, or two folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import Stop
from .files import read_csv
from .naming import evenly, golden_names, image_name
from .prepare import Facts

WANTED = ("input_path", "golden_path", "object_name")
ADDED = ("score", "verdict", "margin")
PASS = "PASS"
PICTURES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff")
REFUSED = (  # pictures that are not read
    *(".webp", ".gif", ".jp2", ".j2k", ".jpx", ".jxl", ".avif", ".heic", ".heif", ".tga", ".exr"),
    *(".hdr", ".pgm", ".ppm", ".pbm", ".pnm", ".pam", ".pfm", ".dng", ".raw", ".psd", ".ico"),
)
SHOWN = 5  # names in a message
NAMED_FIX = (
    "name each picture as preprocessing.json says (picture_name, also its small and capital "
    "letters), or move what is not to be scored elsewhere"
)
KIND_FIX = "save them as PNG, JPEG, BMP or TIFF, or move what is not to be scored elsewhere"
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

    def lines(self, *rows: int) -> list[int]:
        """Return the lines of rows in the table; pictures of folders have none."""
        return [row + FIRST_LINE for row in rows] if self.source.is_file() else []

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
    for an empty or absent folder, and for pictures in it that would not be scored.
    """
    for folder in (test, golden):
        if not folder.is_dir():
            raise Stop("missing_input", "the folder does not exist", file=folder)
    folders = list(_walk(test))
    endings = [image_name("", light, facts.ext) for light in facts.lights]
    rows = []
    for inside, files in folders:
        names = {name for name, _ in _by_light(files, endings)}
        rows += [[inside, inside, name] for name in sorted(names)]
    parts = Parts(test, list(WANTED), rows)
    if rows:
        _refuse_unread(test, folders, lambda files: _beside(files, endings), NAMED_FIX)
        _place(parts, test, golden, facts)
    elif len(facts.lights) == facts.num_golden == 1:
        _refuse_unread(test, folders, lambda files: list(filter(_is_refused, files)), KIND_FIX)
        _pair_whole_names(parts, test, golden, folders)
    if not parts.rows:
        raise Stop(
            "missing_input",
            f"no picture in it ends in {' or '.join(endings)}",
            file=test,
            fix="give the folder of the test pictures; preprocessing.json says how they are named",
        )
    return parts


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below ``root`` (relative) and its files but hidden ones, in order.

    Raises Stop ``missing_input`` for a folder that cannot be listed, and for a link to one: its
    parts would be left out.
    """

    def refuse(error: OSError) -> None:
        why = f"the folder cannot be listed ({error.strerror})"
        raise Stop("missing_input", why, file=error.filename, fix="make it readable") from None

    for at, names, files in os.walk(root, onerror=refuse):
        names.sort()
        for name in names:
            if os.path.islink(os.path.join(at, name)):
                fix = "put the pictures there, or give the folder that it points to by itself"
                why = "a link to a folder is not followed: its parts would not be scored"
                raise Stop("missing_input", why, file=Path(at) / name, fix=fix)
        yield (
            Path(at).relative_to(root).as_posix(),
            sorted(name for name in files if not name.startswith(".")),
        )


def _by_light(files: Sequence[str], endings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield part and file of each picture that is named as the model's own are."""
    for file in files:
        found = [e for e in endings if file.endswith(e) and file != e]
        if found:
            yield file.removesuffix(max(found, key=len)), file


def _beside(files: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return the pictures that belong to no part: other names, other kinds of file.

    A further light of a part that is scored belongs to it: the same name, ``_``, a word.
    """
    named = list(_by_light(files, endings))
    parts, read, kind = {n for n, _ in named}, {f for _, f in named}, Path(endings[0]).suffix

    def further(file: str) -> bool:
        part, _, light = file.removesuffix(kind).rpartition("_")
        return file.endswith(kind) and part in parts and light.isalpha()

    left = [f for f in files if f not in read and not further(f)]
    return [f for f in left if _is_read(f) or _is_refused(f)]


def _refuse_unread(
    test: Path,
    folders: Sequence[tuple[str, list[str]]],
    unread: Callable[[list[str]], list[str]],
    fix: str,
) -> None:
    """Stop where a picture stands in the folders and would not be scored: nobody would miss it."""
    found = [f"{at}/{name}".removeprefix("./") for at, files in folders for name in unread(files)]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise Stop(
            "missing_input",
            f"{len(found)} picture(s) in the folder would not be scored: "
            f"{', '.join(found[:SHOWN])}{more}",
            file=test,
            fix=fix,
        )


def _pair_whole_names(
    parts: Parts, test: Path, golden: Path, folders: Sequence[tuple[str, list[str]]]
) -> None:
    """Fill in the pictures of one light that have no light in their name; a row has the file's."""
    for inside, files in folders:
        goldens = _pictures_by_stem(golden / inside)
        for name in filter(_is_read, files):
            alike = goldens.get(Path(name).stem, [])
            match = alike[0] if len(alike) == 1 and name not in alike else name
            parts.rows.append([inside, inside, name])
            parts.test.append([test / inside / name])
            parts.golden.append([[golden / inside / match]])


def _is_read(name: str) -> bool:
    return Path(name).suffix.lower() in PICTURES


def _is_refused(name: str) -> bool:
    return Path(name).suffix.lower() in REFUSED


def _pictures_by_stem(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        if not name.startswith(".") and _is_read(name):
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
                    rows=parts.lines(row),
                    fix="put more goldens into the folder",
                )
            chosen = evenly(found, facts.num_golden)
            known[folder] = [files(goldens, folder, name) for name in chosen]
    parts.golden = [known[folder] for folder in folders]


def _goldens_in(folder: Path, facts: Facts) -> list[str]:
    try:
        return golden_names(folder, facts.lights, facts.ext)
    except OSError:
        return []


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
        by_row = parts.source.is_file()
        named = ", ".join(str(path) for _, path in gone[: 1 if by_row else SHOWN])
        raise Stop(
            "missing_input",
            f"{len(gone)} of {len(parts)} parts lack a picture (first: {named})",
            file=parts.source,
            rows=parts.lines(*(row for row, _ in gone)),
            fix="correct the folder of the pictures (--images, or --test and --golden), restore "
            "the pictures, or remove the rows",
        )


def picture_files(parts: Parts, row: int) -> list[Path]:
    """Return every file that a row's score depends on."""
    return [*parts.test[row], *(path for files in parts.golden[row] for path in files)]
