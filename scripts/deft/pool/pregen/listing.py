"""Which files of the pre-generated folders count, their pairing and digest.

Only listed pictures and ``defect_spec.jsonl`` count: what file managers, network drives and
downloads leave beside them (``Thumbs.db``, ``.DS_Store``, ``._x.jpg``, ``x.jpg.part``) does not.
Standard library only: the approval's digest is computed while the Snakefile is parsed.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import sha256_listing

PICTURES = (".jpg", ".jpeg", ".png")
OTHER_PICTURES = (".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2", ".jfif", ".heic")
LITTER = (
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
SIDES = (layout.PREGEN_NG, layout.PREGEN_OK)


def is_litter(name: str) -> bool:
    """Return whether a file or folder is what file managers and network drives leave behind."""
    return name.startswith((".", "~$")) or name.lower() in LITTER


def is_picture_name(name: str) -> bool:
    """Return whether a file of this name is meant as a picture; hidden ones never are."""
    return not is_litter(name) and name.lower().endswith(PICTURES)


def counted_files(workspace: str | Path) -> list[str]:
    """Return the files that count, relative to ``layout.PREGEN_DIR``, sorted; [] without folders.

    Names that are not UTF-8 are as Python gives them (with surrogates).
    """
    root = Path(workspace)
    names = []
    for side in SIDES:
        folder = root / side
        if folder.is_dir():
            with os.scandir(folder) as entries:
                names += [
                    f"{folder.name}/{e.name}"
                    for e in entries
                    if is_picture_name(e.name) and e.is_file()
                ]
    if (root / layout.DEFECT_SPEC).is_file():
        names.append(Path(layout.DEFECT_SPEC).name)
    return sorted(names)


def list_pictures(folder: Path) -> dict[str, Path]:
    """Return stem -> file of a flat folder of pictures.

    Raises
    ------
    HardStop ``pregen_missing``, ``pregen_empty``; ``image_invalid`` for a picture's name that no
    plain file has; ``csv_invalid`` for a name that is not UTF-8; ``pregen_unpaired`` for stems
    that are equal, or differ only in case or in Unicode's form.
    """
    if not folder.is_dir():
        raise HardStop(
            "pregen_missing", "the folder of pre-generated pictures is missing", file=folder
        )
    try:
        files = sorted(p for p in folder.iterdir() if is_picture_name(p.name))
    except OSError as error:
        raise HardStop("pregen_missing", f"the folder cannot be read ({error})", file=folder) from (
            None
        )
    if not files:
        raise HardStop("pregen_empty", "the folder holds no *.jpg or *.png", file=folder)
    stems: dict[str, Path] = {}
    alike: dict[str, Path] = {}
    for file in files:
        _check_file(file)
        other = alike.setdefault(_folded(file.stem), file)
        if other is not file:
            equal = other.stem == file.stem
            how = (
                f"share the stem {file.stem!r}" if equal else "differ only in case or Unicode form"
            )
            raise HardStop(
                "pregen_unpaired",
                f"two pictures {how}: {other.name}, {file.name}",
                file=folder,
                fix="keep one of them, or rename one",
            )
        stems[file.stem] = file
    return stems


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def _check_file(file: Path) -> None:
    try:
        file.name.encode("utf-8")
    except UnicodeEncodeError:
        raise HardStop(
            "csv_invalid",
            f"the file name {os.fsencode(file.name)!r} is not UTF-8, and tables are",
            file=file.parent,
            fix="rename the pair, e.g. by convmv -f latin1 -t utf8",
        ) from None
    if file.is_file():
        return
    if file.is_symlink():
        what = "a link that leads to no file"
    else:
        what = "a folder" if file.is_dir() else "no plain file"
    raise HardStop(
        "image_invalid",
        f"{what} has the name of a picture",
        file=file,
        fix="remove it, or put the picture there",
    )


def paired_pregen(workspace: str | Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the NG and OK pictures by stem.

    Raises what :func:`list_pictures` does, and ``pregen_unpaired`` (naming the stems).
    """
    root = Path(workspace)
    ng = list_pictures(root / layout.PREGEN_NG)
    ok = list_pictures(root / layout.PREGEN_OK)
    lonely = sorted(set(ng) ^ set(ok))
    if lonely:
        first = lonely[0]
        side = layout.PREGEN_NG if first in ng else layout.PREGEN_OK
        near = [s for s in (ok if first in ng else ng) if _folded(s) == _folded(first)]
        hint = (
            f"; {near[0]!r} on the other side differs only in case or in its Unicode form"
            if near
            else ""
        )
        raise HardStop(
            "pregen_unpaired",
            f"{len(lonely)} picture(s) have no partner of the same stem; first: {first!r}{hint}",
            file=root / side,
            fix="every stem must be in reconstructed_image/ and in original_image/",
            evidence={"stems": lonely[:20]},
        )
    return ng, ok


def unread_files(workspace: str | Path) -> list[str]:
    """Return what lies in the two folders, looks like pictures, and is not read: sorted names.

    Pictures of other kinds, and folders that are not hidden (the pairs lie flat).
    """
    found = []
    for side in SIDES:
        folder = Path(workspace) / side
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_litter(path.name):
                continue
            if path.name.lower().endswith(OTHER_PICTURES) or path.is_dir():
                tail = "/" * path.is_dir()
                name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
                found.append(f"{folder.name}/{name}{tail}")
    return sorted(found)


def pregen_digest(workspace: str | Path) -> str:
    """Return the digest of the pre-generated pictures and their specification, by content."""
    return sha256_listing(Path(workspace) / layout.PREGEN_DIR, counted_files(workspace))
