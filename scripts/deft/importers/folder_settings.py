"""The ``import_folder:`` group: where a data set lies, what its folders mean, how it is split."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deft.core.errors import HardStop
from deft.importers.parts import ROLES
from deft.score_kit.registration import OFF
from deft.tables.changenet_table import PASS
from deft.tables.labels import label_fault

GROUP = "import_folder"
SKIP = ""  # a label that means: these become no rows


def nfc(text: str) -> str:
    """Return a name in the form that people type: a Mac writes ``ü`` as two characters."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Return what two names have in common that a user takes for one."""
    return nfc(nfc(text).casefold())


@dataclass(frozen=True)
class FolderSettings:
    """The settings as given; docs/settings.md says what each means.

    ``picture_levels``: full scale of pictures deeper than 8 bits, a setting outside of the group;
    ``asked``: the folders and classes whose meaning a reader has asked for.
    """

    root: str | None = None
    layout: str = "folder"
    ok: str = "OK"
    ng: str = "NG"
    golden: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    light: str | None = None
    board: str | None = None
    keep_split: bool = False
    shares: dict[str, float] = field(default_factory=dict)
    window: int | None = None
    pass_per_image: int = 12
    size_px: int | None = None
    network: str = "small"
    backbone: str | None = None
    classes: list[str] = field(default_factory=list)
    views: str = "parts"
    golden_share: float = 0.1
    min_golden_match: float | None = None
    licence: str | None = None
    register: str | bool = OFF  # YAML reads a bare off as False
    seed: int | None = None
    picture_levels: int | None = None
    asked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def check(self) -> None:
        """Raise HardStop ``config_invalid`` for what no reader could follow."""
        for name in ("light", "board"):
            pattern = getattr(self, name)
            if pattern is None:
                continue
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise _stop(
                    f"{name} {pattern!r} is no pattern ({error})", "docs/import.md"
                ) from None
            if groups != 1:
                raise _stop(
                    f"{name} {pattern!r} has {groups} groups",
                    f"put the {name} into one pair of brackets, as in '^(B[0-9]+)_'",
                )
        for name, meaning in self.labels.items():
            fault = None if meaning in (PASS, SKIP) else label_fault(meaning)
            if fault:
                raise _stop(
                    f"labels: {name!r} means {meaning!r}: {fault}",
                    'PASS exactly, a defect in plain letters, or "" for what shall be left out',
                )
        wrong = sorted(set(self.shares) - set(ROLES))
        if wrong:
            raise _stop(f"shares names {wrong}", f"the roles are {', '.join(ROLES)}")
        if any(not 0 < share < 1 for share in self.shares.values()):
            raise _stop(f"shares {self.shares}", "each lies between 0 and 1")
        if sum(self.shares.values()) >= 1 + 1e-9:
            raise _stop(
                f"shares {self.shares} make more than 1", "what is not named shares the rest"
            )

    @property
    def registered(self) -> bool:
        """Whether the test pictures are laid on their goldens."""
        return self.register not in (OFF, False)

    def label(self, name: str) -> str:
        """Return what a class or folder name means: by the map, else the name itself."""
        self.asked.add(name.strip())
        found = {folded(key.strip()): meaning for key, meaning in self.labels.items()}
        return found.get(folded(name.strip()), name.strip())

    def board_of(self, shown: str) -> str | None:
        """Return the board that ``board`` finds in a picture's path below the root, or None."""
        found = re.search(nfc(self.board), nfc(shown)) if self.board else None
        return found[1] if found else None

    def light_of(self, stem: str) -> tuple[str, str]:
        """Return a part's name and the light that its file names, "" for none."""
        if self.light is None:
            return stem, ""
        stem = nfc(stem)
        found = re.search(nfc(self.light), stem)
        if not found or found[1] is None:
            return stem, ""
        return (stem[: found.start()] + stem[found.end() :]) or stem, found[1]

    def request(self) -> dict[str, object]:
        """Return what decides the workspace's content; where files lie says nothing of it."""
        told = asdict(self)
        del told["root"], told["backbone"], told["asked"]
        if not self.registered:  # as before there was such a setting
            del told["register"]
        if self.picture_levels is None:
            del told["picture_levels"]
        return told


def _stop(what: str, fix: str) -> HardStop:
    return HardStop("config_invalid", f"{GROUP}.{what}", fix=fix)


def below(root: Path, name: str, key: str) -> Path:
    """Return a file or folder named below the root; raises HardStop where it is not."""
    path = (root / name).resolve()
    if root.resolve() not in (path, *path.parents):
        raise _stop(f"{key} {name!r} lies outside of the root", "name a folder below the root")
    if (root / name).exists():
        return root / name
    place = root
    for part in Path(name).parts:
        beside = os.listdir(place) if place.is_dir() else []
        place /= next((own for own in sorted(beside) if nfc(own) == nfc(part)), part)
    return place
