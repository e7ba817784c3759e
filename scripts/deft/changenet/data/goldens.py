"""Which golden pictures stand beside a test picture when there are several (``num_golden`` > 1).

Then a row's ``golden_path`` is a folder of goldens of its component, and ``object_name`` plays no
part in choosing among them. TAO draws them at random on each access, in inference too, so that its
scores vary from run to run. Here inference always takes the same ones, spread evenly over the
folder's names in order; training draws them anew for each epoch and place, from the seed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.score_kit.naming import evenly
from deft.tables.changenet_table import image_file, line_of

DRAW_STREAM = 1  # keeps these draws apart from the augmentations' of the same place


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
                    f"{len(names)} golden picture(s) ending in {self._ending()}",
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
        return {
            image_file(self.images_dir, folder, name, light, self.ext)
            for folder, names in self._names.items()
            for name in names
            for light in self.lights
        }

    def _ending(self) -> str:
        return f"_{self.lights[0]}{self.ext}" if self.lights[0] else self.ext

    def _found(self, folder: str, row: int, csv_path: str | Path | None) -> list[str]:
        """Return the goldens' names in order; a light's file that is absent is found on reading."""
        try:
            files = os.listdir(self.images_dir / folder)
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
        ending = self._ending()
        return sorted(name.removesuffix(ending) for name in files if name.endswith(ending))
