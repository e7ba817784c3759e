"""The known answers of given inputs, from a table."""

from __future__ import annotations

import os
from collections import Counter
from math import prod
from pathlib import Path, PureWindowsPath
from typing import Any

from deft.core.errors import HardStop
from deft.tables.csv_text import decode_text, read_bytes, read_rows
from model_explorer.kit.decode import SHARES
from model_explorer.kit.meanings import labels_need
from model_explorer.kit.outcomes import OpenInput

SHOWN = 6  # names that an error lists
DIGITS = 9  # of the number of a class


class Known:
    """The known answers of a ``file,label`` table, for files below ``root``.

    ``file`` is a path below ``root`` or below the table's folder, or the end of a path (its name)
    as long as that gives one answer. A whole path of another machine counts by its last part,
    where that is the name of one row and of one input alone (see :meth:`only`). Raises HardStop
    ``csv_invalid`` for a table that cannot be read (see :mod:`deft.tables.csv_text`), or with two
    answers to one file.
    """

    def __init__(self, table: Path | None, root: Path) -> None:
        self.table, self.root = table, root
        self.answers: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.written: dict[str, str] = {}
        self.by_name: dict[str, list[Path]] = {}
        self.elsewhere: dict[str, str] = {}
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
            place = os.path.normpath(PureWindowsPath(file.strip()).as_posix())
            self.by_name.setdefault(Path(place).name, []).append(Path(place))
            self.rows.setdefault(place, number)
            self.written.setdefault(place, file.strip())
            if self.answers.setdefault(place, label) != label:
                raise HardStop(
                    "csv_invalid", f"{file} has two different answers", file=table, row=number
                )

    def place(self, path: Path) -> str:
        """Return where a file lies, relative to the root where it can be."""
        return path.relative_to(self.root).as_posix() if self.root in path.parents else str(path)

    def label(self, path: Path) -> str | None:
        """Return the known answer to a file, None without one."""
        found = self._row(path)
        return None if found is None else self.answers[found]

    def _row(self, path: Path) -> str | None:
        """Return the path as the table has it whose answer is that to a file."""
        roots = [self.root, *([self.table.parent] if self.table else [])]
        tried = [str(path), *(str(path.relative_to(r)) for r in roots if r in path.parents)]
        exact = [t for t in tried if t in self.answers]
        if exact:
            return exact[0]
        # By the end of its path: a table may have been made one folder up.
        alike = [str(f) for f in self.by_name.get(path.name, []) if _ends_alike(f, path)]
        if alike:
            return alike[0] if len({self.answers[f] for f in alike}) == 1 else None
        return self.elsewhere.get(path.name)

    def answered(self, files: list[Path]) -> list[Path]:
        """Return the files with a known answer."""
        count = Counter(f.name for f in files)
        self.elsewhere = {
            name: str(places[0])
            for name, places in self.by_name.items()
            if count[name] == 1 and len(set(places)) == 1 and _is_elsewhere(str(places[0]))
        }
        return [f for f in files if self.label(f) is not None]

    def only(self, files: list[Path], contract: dict[str, Any]) -> list[Path]:
        """Return the files with a known answer, all where no table was given.

        Raises HardStop ``csv_invalid`` where no row is of a file, or an answer is none that the
        model can give: either would be counted as the model's fault.
        """
        if self.table is None:
            return files
        found = self.answered(files)
        if not found:
            example = next(iter(self.written.values()))
            raise HardStop(
                "csv_invalid",
                f"none of the {len(self.answers)} files of explore.labels is one of the "
                f"{len(files)} inputs: the table has {example!r}, an input is "
                f"{self.place(files[0])!r}",
                file=self.table,
                row=self.rows[next(iter(self.answers))],
                fix="write paths below explore.inputs, or the names of the files, into the column "
                "file",
                evidence=_asked("answers to these inputs (columns file,label)"),
            )
        self._refuse_strangers(found, contract)
        return found

    def _refuse_strangers(self, files: list[Path], contract: dict[str, Any]) -> None:
        """Raise HardStop ``csv_invalid`` for answers that are no class of the model."""
        rule = contract["postprocess"]
        if rule["kind"] not in SHARES:
            return
        rows = sorted({str(self._row(f)) for f in files}, key=self.rows.__getitem__)
        names = [str(n) for n in rule.get("labels") or []]
        shape = contract["outputs"][0]["run_shape"]
        count = prod(shape) if isinstance(shape, list) else 0
        strange = [
            r for r in rows
            if (self.answers[r] not in names if names else not _numbers(self.answers[r], count))
        ]  # fmt: skip
        if not strange:
            return
        answers = list(dict.fromkeys(self.answers[r] for r in strange))
        shown = ", ".join(map(repr, answers[:SHOWN])) + (", …" if len(answers) > SHOWN else "")
        said = f"{len(strange)} of {len(rows)} known answers are no "
        if names:
            classes = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
            said += f"name of contract.labels: {shown}; the names are {classes}"
            if {a.casefold() for a in answers} <= {n.casefold() for n in names}:
                said += "; only upper and lower case differ"
            fix = (
                "write each answer as contract.labels names the class (or contract.labels as the "
                "answers do, in the order of the model's outputs), and leave out rows of classes "
                "that the model does not know"
            )
        else:
            said += f"number of a class, 0 to {count - 1}: {shown}"
            fix = "set explore.contract.labels to the names, in the order of the model's outputs"
        raise HardStop(
            "csv_invalid",
            said,
            file=self.table,
            row=[self.rows[r] for r in strange],
            fix=fix,
            evidence=_asked("answers that the model can give (columns file,label)")
            if names
            else {"needs": [labels_need(count)]},
        )

    def told(self, files: list[Path]) -> str | None:
        """Return how many rows are of the files, and whether names alone said so."""
        if self.table is None:
            return None
        rows = {r for r in map(self._row, files) if r is not None}
        said = f"{len(rows)} of {len(self.answers)} files of {self.table.name}"
        by_name = sorted(rows & set(self.elsewhere.values()), key=self.rows.__getitem__)
        if by_name:
            example = self.written[by_name[0]]
            said += f" ({len(by_name)} by their name alone, as {example} is no path here)"
        return said


def _ends_alike(short: Path, path: Path) -> bool:
    return path.parts[-len(short.parts) :] == short.parts


def _is_elsewhere(place: str) -> bool:
    """Return whether a path is a whole one, of another machine or of a folder that is gone."""
    return bool(PureWindowsPath(place).anchor) and not os.path.exists(place)


def _numbers(answer: str, count: int) -> bool:
    return answer.isdecimal() and len(answer) <= DIGITS and int(answer) < count


def _asked(what: str) -> dict[str, Any]:
    return {"needs": [OpenInput(what, "labels", "known_answers.csv").as_dict()]}
