"""Scores that an interrupted command has left: one a line, with what they depend on.

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

    Raises Stop ``missing_input`` where it cannot be written.
    """

    def __init__(self, out: Path, parts: Parts, network: Network) -> None:
        self.path = out.with_name(out.name + SUFFIX)
        facts = network.facts
        self._model = f"{facts!r} {network.provider}"
        self._stamps: dict[Path, str] = {}
        self.names = [self._name(parts, row) for row in range(len(parts))]
        known = self._read()
        self.scores = np.array([known.get(name, np.nan) for name in self.names], np.float32)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle: TextIO = self.path.open("w", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.path, error) from None
        kept = np.flatnonzero(np.isfinite(self.scores))
        self.taken_over = len(kept)
        self.add(kept, self.scores[kept])

    def add(self, rows: np.ndarray | list[int], scores: np.ndarray) -> None:
        """Write down the scores of some rows."""
        self.scores[rows] = scores
        lines = [f"{self.names[r]} {shortest(s)}\n" for r, s in zip(rows, scores, strict=True)]
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

    def _read(self) -> dict[str, float]:
        """Return name -> score of whole lines; the last may be cut."""
        found: dict[str, float] = {}
        try:
            lines = read_file(self.path).decode("utf-8", "replace").split("\n")[:-1]
        except OSError:
            return found
        for line in lines:
            name, _, score = line.partition(" ")
            try:
                found[name] = float(score)
            except ValueError:
                continue
        return found


def shortest(score: np.float32) -> str:
    """Return the fewest digits that give back the same float32, e.g. ``0.07226172``."""
    return repr(float(str(np.float32(score))))
