"""Which golden pictures stand beside a test picture: one of its name, or several of a folder.

With ``num_golden`` 1 the golden has the part's own name. With more, a row's ``golden_path`` is a
folder of goldens of its component, and ``object_name`` plays no part in choosing among them. TAO
draws them at random on each access, in inference too, so that its scores vary from run to run. Here
inference always takes the same ones, spread evenly over the folder's names in order; training draws
them anew for each epoch and place, from the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.score_kit.naming import evenly, golden_names, image_name
from deft.tables.changenet_table import image_file, line_of

DRAW_STREAM = 1  # keeps these draws apart from the augmentations' of the same place


class Goldens:
    """Which of a row's goldens is looked at where there is room for one, and which there are.

    Parameters
    ----------
    root: what ``golden_path`` is relative to; absolute cells stand for themselves.
    lights, ext: as the spec has them.
    count: ``num_golden``.
    """

    def __init__(self, root: Path, lights: Sequence[str], ext: str, count: int = 1) -> None:
        self.root, self.lights, self.ext, self.count = root, list(lights), ext, count
        self._known: dict[str, tuple[list[str], frozenset[str]]] = {}

    def all_of(self, folder: str, part: str) -> list[str]:
        """Return the names of a row's goldens; none where several lie in a folder that is gone."""
        return [part] if self.count == 1 else self._listed(folder)[0]

    def beside(self, folder: str, part: str) -> str:
        """Return the name of the golden that is shown and measured beside a part.

        Of several the one of the part's own name, or else the first in order, which every
        inference takes too. Where there is none it is the part's own name: the file is missing.
        """
        if self.count == 1:
            return part
        names, known = self._listed(folder)
        return part if part in known or not names else names[0]

    def file(self, folder: str, part: str, light: str) -> Path:
        """Return a light's picture of the golden that :meth:`beside` names."""
        return image_file(self.root, folder, self.beside(folder, part), light, self.ext)

    def _listed(self, folder: str) -> tuple[list[str], frozenset[str]]:
        if folder not in self._known:
            try:
                names = golden_names(self.root / folder, self.lights, self.ext)
            except OSError:
                names = []
            self._known[folder] = names, frozenset(names)
        return self._known[folder]


class GoldenFolders:
    """The goldens of a table's folders.

    Parameters
    ----------
    images_dir: root of the table's paths.
    folders: ``golden_path`` of each row.
    lights: suffixes in the order in which they are joined; ``[""]`` for none.
    ext: ending of the file names, such as ``.png``.
    count: goldens that stand beside a test picture.
    csv_path: the table's file, for messages.

    Raises
    ------
    HardStop ``missing_input`` for a folder that is not there, ``csv_invalid`` for one that holds
    fewer than ``count`` goldens; both name the first row that asks for it.
    """

    def __init__(
        self,
        images_dir: Path,
        folders: Sequence[str],
        lights: Sequence[str],
        ext: str,
        count: int,
        csv_path: str | Path | None = None,
    ) -> None:
        self.images_dir, self.folders, self.count = images_dir, list(folders), count
        self.lights, self.ext = list(lights), ext
        self._names: dict[str, list[str]] = {}
        for row, folder in enumerate(self.folders):
            if folder in self._names:
                continue
            names = self._names[folder] = self._found(folder, row, csv_path)
            if len(names) < count:
                raise HardStop(
                    "csv_invalid",
                    f"dataset.classify.num_golden is {count}, but golden_path {folder} holds "
                    f"{len(names)} golden picture(s) ending in "
                    f"{image_name('', self.lights[0], self.ext)}",
                    file=csv_path,
                    row=line_of(row),
                    fix=f"put {count} goldens into the folder, or lower num_golden",
                )

    def choose(self, row: int, draw: tuple[int, int, int] | None = None) -> list[list[Path]]:
        """Return ``count`` goldens, each as the files of its lights.

        ``draw`` = (seed, epoch, place) draws without replacement; None takes the same always.
        """
        names = self._names[self.folders[row]]
        if draw is None:
            chosen = evenly(names, self.count)
        else:
            random = np.random.default_rng((*draw, DRAW_STREAM))
            picked = random.choice(len(names), self.count, replace=False).tolist()
            chosen = [names[i] for i in picked]
        return [
            [
                image_file(self.images_dir, self.folders[row], name, light, self.ext)
                for light in self.lights
            ]
            for name in chosen
        ]

    def files(self) -> set[Path]:
        """Return every golden that may be chosen, each light's file."""
        return {file for folder in self._names for file in self.files_in(folder)}

    def files_in(self, folder: str) -> list[Path]:
        """Return the goldens of one of the table's folders, each light's file."""
        return [
            image_file(self.images_dir, folder, name, light, self.ext)
            for name in self._names[folder]
            for light in self.lights
        ]

    def _found(self, folder: str, row: int, csv_path: str | Path | None) -> list[str]:
        try:
            return golden_names(self.images_dir / folder, self.lights, self.ext)
        except (FileNotFoundError, NotADirectoryError):
            raise HardStop(
                "missing_input",
                f"golden_path {folder} is no folder under {self.images_dir}",
                file=csv_path,
                row=line_of(row),
                fix="with num_golden above 1, golden_path names a folder of goldens",
            ) from None
        except OSError as error:
            raise HardStop(
                "missing_input",
                f"golden_path {folder} cannot be listed ({error.strerror})",
                file=csv_path,
                row=line_of(row),
                fix=f"let this user read the folder {self.images_dir / folder}",
            ) from None
