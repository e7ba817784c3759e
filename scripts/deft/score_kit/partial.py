"""Scores that an interrupted command has left: one a line, with what they depend on.

Behind a score stand the numbers that drift is judged by, where the hand-off has a reference.

A score is taken over where the network and the row's picture files (path, size, time of their last
change) are the same, whatever else of the table has changed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TextIO

import numpy as np

from .errors import Stop
from .files import cannot_write, read_file
from .network import Network
from .table import Parts, picture_files

SUFFIX = ".partial"


class Partial:
    """The file beside the output that holds what is done so far.

    ``scores`` float32 (n,) and ``numbers`` float32 (n, ``width``) are NaN where nothing is done.

    Raises Stop ``missing_input`` where it cannot be written.
    """

    def __init__(self, out: Path, parts: Parts, network: Network, width: int = 0) -> None:
        self.path = out.with_name(out.name + SUFFIX)
        facts = network.facts
        self._model = f"{facts!r} {network.provider}"
        self._stamps: dict[Path, str] = {}
        self.names = [self._name(parts, row) for row in range(len(parts))]
        known = self._read()
        nothing = [np.nan] * (1 + width)
        found = [known.get(name, nothing) for name in self.names]
        found = [one if len(one) == len(nothing) else nothing for one in found]
        table = np.array(found, np.float32).reshape(len(parts), 1 + width)
        self.scores, self.numbers = table[:, 0].copy(), table[:, 1:].copy()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle: TextIO = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.path, error) from None
        kept = np.flatnonzero(np.isfinite(self.scores))
        self.taken_over = len(kept)
        self.add(kept, self.scores[kept], self.numbers[kept])

    def add(
        self,
        rows: np.ndarray | list[int],
        scores: np.ndarray,
        numbers: np.ndarray | None = None,
    ) -> None:
        """Write down the scores of some rows, and their ``numbers`` (B, width) if any."""
        self.scores[rows] = scores
        if numbers is not None:
            self.numbers[rows] = numbers
        found = np.column_stack([self.scores[rows], self.numbers[rows]])
        lines = [
            f"{self.names[row]} {' '.join(map(shortest, values))}\n"
            for row, values in zip(rows, found, strict=True)
        ]
        try:
            self._handle.writelines(lines)
            self._handle.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def close(self, *, finished: bool) -> None:
        """Close the file, and remove it where it is needed no more."""
        try:
            self._handle.close()
            if finished:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from None

    def _name(self, parts: Parts, row: int) -> str:
        text = [self._model, *map(self._stamp, picture_files(parts, row))]
        return hashlib.sha256("\0".join(text).encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _stamp(self, path: Path) -> str:
        if path not in self._stamps:
            try:
                found = path.stat()
            except OSError as error:
                why = f"picture {path} is gone ({error.strerror})"
                raise Stop("missing_input", why, fix="restore it") from None
            self._stamps[path] = f"{os.path.abspath(path)} {found.st_size} {found.st_mtime_ns}"
        return self._stamps[path]

    def _read(self) -> dict[str, list[float]]:
        """Return name -> score and numbers of whole lines; the last may be cut."""
        found: dict[str, list[float]] = {}
        try:
            lines = read_file(self.path).decode("utf-8", "replace").split("\n")[:-1]
        except OSError:
            return found
        for line in lines:
            name, *values = line.split(" ")
            try:
                found[name] = [float(value) for value in values]
            except ValueError:
                continue
        return found


def shortest(score: np.float32) -> str:
    """Return the fewest digits that give back the same float32, e.g. ``0.07226172``."""
    return repr(float(str(np.float32(score))))
