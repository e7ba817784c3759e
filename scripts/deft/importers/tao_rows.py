"""Rows of TAO's tables as parts: every light of the test picture and of its golden or goldens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core.errors import HardStop
from deft.importers.parts import FoundPart, LeftOver, Picture
from deft.importers.tao_folders import Folders
from deft.tables.changenet_table import line_of
from deft.tables.labels import label_fault


@dataclass(frozen=True)
class Facts:
    """What a spec says of pictures. ``tables``: file -> role and ``images_dir`` as written."""

    source: Path | None = None
    ext: str = ""
    lights: tuple[str, ...] = ()
    goldens: int = 1
    tables: dict[Path, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Makes parts of a table's rows."""

    folders: Folders
    root: Path
    facts: Facts
    table: Path
    role: str | None
    label: Callable[[str], str]
    board: Callable[[Path], str | None]

    def parts(self, frame: pd.DataFrame, left_over: list[LeftOver]) -> list[FoundPart]:
        """Return a part for each row that has all its pictures; tell of the others."""
        found = []
        for row, cells in enumerate(frame.to_dict("records")):
            origin = f"{self.folders.tree.shown(self.table)} line {line_of(row)}"
            label = self.label(cells["label"])
            if not label:
                left_over.append(LeftOver(origin, f"labels leaves {cells['label']!r} out"))
                continue
            fault = label_fault(label)
            if fault:
                raise HardStop(
                    "csv_invalid",
                    fault,
                    file=self.table,
                    row=line_of(row),
                    fix=f"say what it means in import_folder.labels: {{{cells['label']!r}: PASS}}",
                )
            try:
                pictures, goldens = self._pictures(cells, row)
            except FileNotFoundError as absent:
                left_over.append(LeftOver(origin, str(absent)))
                continue
            first = next(iter(pictures.values())).path
            board = str(cells.get("boardname", "")).strip() or self.board(first) or ""
            found.append(
                FoundPart(
                    name=cells["object_name"].strip("/").replace("/", "_"),
                    board=board,
                    label=label,
                    pictures=pictures,
                    origin=origin,
                    goldens=goldens,
                    part_type=str(cells.get("part_type", "")).strip(),
                    role=self.role or None,
                )
            )
        return found

    def _pictures(
        self, cells: dict[Any, str], row: int
    ) -> tuple[dict[str, Picture], dict[str, list[Picture]]]:
        """Return test pictures and goldens by light; FileNotFoundError says what is absent."""
        name = cells["object_name"].strip("/")
        folder, golden = (
            self._folder(cells[column], column, row) for column in ("input_path", "golden_path")
        )
        lights = self.facts.lights or ("",)
        pictures = {light: Picture(self._file(folder, name, light)) for light in lights}
        if self.facts.goldens == 1:
            return pictures, {light: [Picture(self._file(golden, name, light))] for light in lights}
        ending = self._ending(lights[0])
        names = [n.removesuffix(ending) for n in self.folders.files(golden) if n.endswith(ending)]
        names = sorted(set(names))
        if len(names) < self.facts.goldens:
            raise FileNotFoundError(
                f"{self.folders.tree.shown(golden)} holds {len(names)} golden(s) ending in "
                f"{ending}, num_golden is {self.facts.goldens}"
            )
        return pictures, {
            light: [Picture(self._file(golden, n, light)) for n in names] for light in lights
        }

    def _folder(self, cell: str, column: str, row: int) -> Path:
        folder = self.folders.of(self.root, cell, self.table, row)
        if folder is None:
            shown = self.folders.tree.shown(self.root)
            raise FileNotFoundError(f"{column} {cell!r} is no folder below {shown}")
        return folder

    def _ending(self, light: str) -> str:
        return f"_{light}{self.facts.ext}" if light else self.facts.ext

    def _file(self, folder: Path, name: str, light: str) -> Path:
        inner, _, last = name.rpartition("/")
        place = folder / inner if inner else folder
        wanted = f"{last}{self._ending(light)}"
        found = self.folders.file(place, wanted)
        if found is None:
            raise FileNotFoundError(f"no {wanted} in {self.folders.tree.shown(place)}")
        return found
