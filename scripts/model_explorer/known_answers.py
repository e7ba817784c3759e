"""The known answers of given inputs, from a table."""

from __future__ import annotations

import os
from pathlib import Path

from deft.core.errors import HardStop
from deft.tables.csv_text import decode_text, read_bytes, read_rows


class Known:
    """The known answers of a ``file,label`` table, for files below ``root``.

    ``file`` is a path below ``root`` or below the table's folder, or the end of a path (its name)
    as long as that gives one answer. Raises HardStop ``csv_invalid`` for a table that cannot be
    read (see :mod:`deft.tables.csv_text`), or with two answers to one file.
    """

    def __init__(self, table: Path | None, root: Path) -> None:
        self.table, self.root = table, root
        self.answers: dict[str, str] = {}
        self.by_name: dict[str, list[Path]] = {}
        if table is not None:
            self._read(table)

    def _read(self, table: Path) -> None:
        try:
            text = decode_text(table, read_bytes(table))
            header, *body = read_rows(table, text, ("file", "label"))
        except HardStop as stop:
            raise HardStop(
                "csv_invalid",
                f"cannot be read ({stop.message})",
                file=table,
                row=stop.rows,
                fix=stop.fix,
            ) from None
        names = [name.strip() for name in header]
        rows = [dict(zip(names, cells, strict=True)) for cells in body]
        if not rows or not {"file", "label"} <= set(names):
            raise HardStop(
                "csv_invalid",
                "explore.labels needs the columns file and label, and a row",
                file=table,
                row=1,
            )
        for number, row in enumerate(rows, start=2):
            file, label = row["file"], row["label"].strip()
            place = os.path.normpath(file.strip())
            self.by_name.setdefault(Path(place).name, []).append(Path(place))
            if self.answers.setdefault(place, label) != label:
                raise HardStop(
                    "csv_invalid", f"{file} has two different answers", file=table, row=number
                )

    def place(self, path: Path) -> str:
        """Return where a file lies, relative to the root where it can be."""
        return path.relative_to(self.root).as_posix() if self.root in path.parents else str(path)

    def label(self, path: Path) -> str | None:
        """Return the known answer to a file, None without one."""
        roots = [self.root, *([self.table.parent] if self.table else [])]
        tried = [str(path), *(str(path.relative_to(r)) for r in roots if r in path.parents)]
        exact = [self.answers[t] for t in tried if t in self.answers]
        if exact:
            return exact[0]
        # By the end of its path: a table may have been made one folder up.
        alike = [f for f in self.by_name.get(path.name, []) if _ends_alike(f, path)]
        ends = {self.answers[str(f)] for f in alike}
        return ends.pop() if len(ends) == 1 else None

    def only(self, files: list[Path]) -> list[Path]:
        """Return the files with a known answer; all where no table was given or none is known."""
        found = [f for f in files if self.label(f) is not None] if self.table else files
        return found or files


def _ends_alike(short: Path, path: Path) -> bool:
    return path.parts[-len(short.parts) :] == short.parts
