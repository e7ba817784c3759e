"""Why pictures of a table are "missing": what the folders hold instead, said once for all of them.

A wrong ending, another case or a doubled folder makes every picture of a table missing at once.
Each missing picture is looked for under the mistakes that people make; what most of them have in
common is the likely cause.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deft.tables.changenet_table import image_name
from deft.tables.labels import hidden_character

LOOKED_AT = 300  # of the missing pictures, evenly spread
MOST_SHARE = 0.5  # of them that one cause must explain
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2")
WALKED = 50_000  # files below a folder that are looked through for pictures one level off
NAMED = 4


@dataclass(frozen=True)
class Wanted:
    """A missing picture: folder relative to the workspace, and what its name is made of."""

    folder: str
    name: str
    light: str


@dataclass(frozen=True)
class Cause:
    """A mistake (the same for all pictures that share it), and one picture as an example."""

    text: str
    example: str = ""


@dataclass
class Folders:
    """Listings of the workspace's folders, each read once."""

    workspace: Path
    root: str  # of the table's pictures, relative to the workspace
    _listed: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _below: dict[str, dict[str, str]] = field(default_factory=dict)

    def listing(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder by their plain form; empty where there is no folder."""
        if folder not in self._listed:
            found: dict[str, list[str]] = {}
            try:
                for name in os.listdir(self.workspace / folder):
                    found.setdefault(plain(name), []).append(name)
            except OSError:
                pass
            self._listed[folder] = found
        return self._listed[folder]

    def exists(self, folder: str) -> bool:
        """Return whether there is such a folder, by exactly this name."""
        return (self.workspace / folder).is_dir()

    def really(self, folder: str) -> str | None:
        """Return the folder that is meant when case, blanks and Unicode form do not count."""
        out = ""
        for part in folder.split("/"):
            near = self.listing(out or ".").get(plain(part), [])
            chosen = part if part in near else next(iter(sorted(near)), None)
            if chosen is None:
                return None
            out = f"{out}/{chosen}" if out else chosen
        return out if self.exists(out) else None

    def below(self, folder: str) -> dict[str, str]:
        """Return file name -> its subfolder, for files in subfolders."""
        if folder not in self._below:
            found: dict[str, str] = {}
            seen = 0
            for base, _, names in os.walk(self.workspace / folder):
                seen += len(names)
                if seen > WALKED:
                    break
                inner = os.path.relpath(base, self.workspace / folder)
                if inner != ".":
                    found.update(dict.fromkeys(names, inner.replace(os.sep, "/")))
            self._below[folder] = found
        return self._below[folder]


def plain(name: str) -> str:
    """Return a name without what the eye does not see.

    Case, Unicode form, blanks at the ends, characters that are drawn as nothing.
    """
    if not name.isascii():
        name = "".join(c for c in name if unicodedata.category(c) != "Cf")
    stem, dot, ending = name.rpartition(".")
    parts = [stem.strip(), ending.strip()] if dot else [name.strip()]
    return unicodedata.normalize("NFC", ".".join(parts)).casefold()


def likely_cause(
    workspace: Path, root: str, missing: Sequence[Wanted], lights: Sequence[str], ext: str
) -> str:
    """Return the mistake that explains most of the missing pictures, ``""`` where none does.

    Parameters
    ----------
    root: folder of the table's pictures, relative to the workspace, e.g. ``kpi/images``.
    ext: ``image_ext`` of the spec, as written there.
    """
    folders = Folders(workspace, root)
    step = max(1, len(missing) // LOOKED_AT)
    looked = missing[::step][:LOOKED_AT]
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for wanted in looked:
        cause = next(_causes(folders, wanted, lights, ext), None)
        if cause is not None:
            counts[cause.text] += 1
            example.setdefault(cause.text, cause.example)
    if not counts:
        return ""
    text, count = counts.most_common(1)[0]
    if count < max(1, MOST_SHARE * len(looked)):
        return ""
    share = "" if count == len(looked) else f" ({count} of {len(looked)} looked at)"
    shown = f", such as {example[text]}" if example[text] else ""
    return f"likely cause{share}: {text}{shown}"


def _causes(folders: Folders, wanted: Wanted, lights: Sequence[str], ext: str) -> Iterator[Cause]:
    """Yield what may have gone wrong with a picture, the first being the likeliest."""
    if folders.exists(wanted.folder):
        yield from _in_folder(folders, wanted.folder, wanted, lights, ext)
        return
    for folder, text in _other_folders(folders, wanted.folder):
        if _found(folders, folder, wanted, ext):
            yield Cause(text, f"{folder}/{image_name(wanted.name, wanted.light, ext)}")
            return
        # The folder is right but for this, and the file names have a mistake of their own.
        for cause in _in_folder(folders, folder, wanted, lights, ext):
            yield Cause(f"{text}; and {cause.text}", cause.example)
            return
    top = folders.root
    known = sorted(n for names in folders.listing(top).values() for n in names)
    known = [n for n in known if folders.exists(f"{top}/{n}")]
    has = f"{top}/ has the folders {_some(known)}" if known else f"{top}/ has no folders"
    yield Cause(f"the cells name folders that do not exist; {has}", wanted.folder)


def _other_folders(folders: Folders, folder: str) -> Iterator[tuple[str, str]]:
    """Yield folders that may have been meant, and what is wrong with the cell."""
    really = folders.really(folder)
    if really is not None:
        yield really, f"the folder is written otherwise: {_difference(folder, really)}"
    root = folders.root
    inner = folder.removeprefix(f"{root}/")
    parts = inner.split("/")
    for count in range(1, len(parts)):
        dropped, rest = "/".join(parts[:count]), "/".join(parts[count:])
        if folders.really(f"{root}/{rest}"):
            yield (
                f"{root}/{rest}",
                f"the cells begin with {dropped}/, but paths start at {root}/ already",
            )
    if folders.really(inner):
        yield inner, f"the cells are relative to the workspace, but paths start at {root}/"


def _found(folders: Folders, folder: str, wanted: Wanted, ext: str) -> bool:
    name = image_name(wanted.name, wanted.light, ext)
    return (folders.workspace / folder / name).is_file()


def _in_folder(
    folders: Folders, folder: str, wanted: Wanted, lights: Sequence[str], ext: str
) -> Iterator[Cause]:
    """Yield what the folder holds in place of a picture."""
    listing, name, light = folders.listing(folder), wanted.name, wanted.light
    file = image_name(name, light, ext)
    stem = file.removesuffix(ext) if ext else file
    for near in sorted(listing.get(plain(file), [])):
        yield Cause(_spelling(file, near, stem, ext, light), near)
    if name != name.strip():
        for near in listing.get(plain(image_name(name.strip(), light, ext)), []):
            yield Cause("object_name has a blank at an end", near)
    if not ext.startswith("."):
        for near in listing.get(plain(f"{stem}.{ext}"), []):
            yield Cause(f"dataset.classify.image_ext is {ext!r}, without its dot", near)
    for ending in ENDINGS:
        for near in listing.get(plain(stem + ending), []):
            ends = os.path.splitext(near)[1]
            case = "" if near.removesuffix(ends) == stem else "; upper and lower case differ too"
            yield Cause(
                f"the files end in {ends}, dataset.classify.image_ext is {ext!r}{case}", near
            )
    own = os.path.splitext(name)[1]
    if own.lower() in ENDINGS:
        base = name.removesuffix(own)
        for guess in (name, image_name(base, light, own), image_name(base, light, ext)):
            for near in listing.get(plain(guess), []):
                yield Cause(f"object_name has the ending {own} already, which image_ext adds", near)
    for ending in dict.fromkeys((ext, *ENDINGS)):
        if light and name.endswith(f"_{light}"):
            for near in listing.get(plain(name + ending), []):
                yield Cause(
                    f"object_name has the light _{light} already, which input_map adds", near
                )
        if light:
            for near in listing.get(plain(name + ending), []):
                yield Cause(
                    f"the files have no light in their names, input_map of the spec has {light}; "
                    "for pictures without lights leave input_map empty",
                    near,
                )
    yield from _other_lights(listing, name, lights, ext)
    inner = folders.below(folder).get(file)
    if inner is not None:
        yield Cause("the pictures lie in subfolders of the folders named", f"{inner}/{file}")
    outer = folder.rpartition("/")[0]
    if outer and (folders.workspace / outer / file).is_file():
        yield Cause("the pictures lie one folder higher than the cells say", f"{outer}/{file}")
    if not listing:
        yield Cause(f"the folder {folder} is empty")


def _other_lights(
    listing: dict[str, list[str]], name: str, lights: Sequence[str], ext: str
) -> Iterator[Cause]:
    start = plain(f"{name}_")
    found = [
        (near.rpartition("_")[2].removesuffix(os.path.splitext(near)[1]), near)
        for form, names in listing.items()
        if form.startswith(start) and form.endswith(ENDINGS)
        for near in names
    ]
    others = sorted({light for light, _ in found} - set(lights))
    if others:
        known = ", ".join(light or "(none)" for light in lights)
        yield Cause(
            f"the files have the light(s) {_some(others)}, input_map of the spec has {known}",
            sorted(near for _, near in found)[0],
        )


def _spelling(file: str, near: str, stem: str, ext: str, light: str) -> str:
    """Return how two names differ that look alike."""
    ends = os.path.splitext(near)[1]
    rest = near.removesuffix(ends)
    if rest == stem:
        return f"the files end in {ends}, dataset.classify.image_ext is {ext!r}"
    if light and rest.casefold() == stem.casefold() and not rest.endswith(f"_{light}"):
        shown = rest[-len(light) :]
        return f"the light is written {shown} in the file names, {light} in input_map of the spec"
    return f"object_name is written otherwise than the files: {_difference(file, near)}"


def _difference(wanted: str, found: str) -> str:
    """Return what tells two names apart that look alike."""
    forms = [unicodedata.normalize("NFC", name) for name in (wanted, found)]
    hidden = [hidden_character(name) for name in (wanted, found)]
    for text, which in zip(hidden, ("the cell", "the file name"), strict=True):
        if text and hidden[0] != hidden[1]:
            return f"{which} holds {text}"
    parts = []
    if wanted != found and forms[0] == forms[1]:
        return "another Unicode form of the same letters (NFC and NFD)"
    blanks = [[p.strip() for p in f.replace(".", "/.").split("/")] for f in forms]
    if [p.casefold() for p in blanks[0]] == [p.casefold() for p in blanks[1]]:
        parts += ["blanks at an end"] if forms[0].casefold() != forms[1].casefold() else []
        parts += ["upper and lower case"] if blanks[0] != blanks[1] else []
    return " and ".join(parts) or "case, blanks or Unicode form"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more
