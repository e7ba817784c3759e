"""A workspace once more, its test pictures laid on their goldens: ``register_pictures``.

What a part's test pictures lie off their goldens is taken back (:mod:`deft.score_kit.registration`)
and written once, under the same names; what lies right, goldens and all else are the files
themselves (hard links, or copies on another disk). Tables stay as they are, so every stage, TAO's
containers and every page see the registered pictures. When the source has grown, the same command
adds what is new.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from deft.changenet.spec import Spec, load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import (
    copy_atomically,
    link_or_copy,
    sha256_file,
    write_bytes_atomic,
)
from deft.core.progress import Progress
from deft.core.registered import read_record, write_record
from deft.core.workspace_source import INPUT_FOLDERS, already_made, begin, finish
from deft.importers.pixels import encoded
from deft.score_kit.registration import Aligned, align
from deft.tables.changenet_table import image_name, read_table, write_table
from deft.tables.coordinates import base_rows, pool_rows, read_pool
from deft.tables.pictures import PictureError, open_rgb

KIND = "register_pictures"
CODE_VERSION = 1  # raise it when the same pictures would be moved otherwise
PARTS = "registered_pictures.csv"
TEXTS = (".csv", ".json", ".jsonl", ".yaml", ".yml", ".txt", ".md")  # copied: people edit them
ONCE = (layout.CORRECTIONS, "deft.yaml")  # copied at first: who works there changes them there
KEEP_EVERY = 2000  # parts


@dataclass(frozen=True)
class Part:
    """A part's pictures, relative to the workspace, one a light."""

    test: tuple[str, ...]
    golden: tuple[str, ...]


@dataclass(frozen=True)
class Moved:
    """What became of a part; ``seen`` are its files' sizes and times, so that it is done once."""

    test: str  # the first light's file names the part
    seen: str
    dx_px: float
    dy_px: float
    rotation_deg: float
    match_before: float
    match: float
    doubt: str
    unread: str = ""

    @property
    def moved(self) -> bool:
        """Whether its test pictures are other ones now."""
        return bool(self.dx_px or self.dy_px or self.rotation_deg)


def register_workspace(
    root: str | Path, out: str | Path, kind: str, levels: int | None = None
) -> list[str]:
    """Make ``out`` from the workspace ``root``, or add what is new; return what was done, in lines.

    ``kind``: ``shift`` or ``euclidean``. ``levels``: see :func:`deft.tables.pictures.open_rgb`.

    Raises
    ------
    HardStop ``config_invalid`` for a place that is taken, for goldens that are several to a part,
    for tables that were changed in ``out``; ``missing_input``, ``csv_invalid``, ``disk_full``.
    """
    root, out = Path(os.path.abspath(root)), Path(os.path.abspath(out))
    _check_places(root, out)
    spec = load_spec(root / layout.SPEC)
    if spec.dataset.classify.num_golden > 1:
        raise HardStop(
            "config_invalid",
            f"num_golden is {spec.dataset.classify.num_golden}: a part is laid on one golden",
            file=root / layout.SPEC,
            fix="registration is for one golden a part; align these pictures where they are taken",
        )
    parts = list(dict.fromkeys(_parts(root, spec)))
    request = {"register": kind, "code_version": CODE_VERSION, "picture_levels": levels}
    before = read_record(out)
    already_made(out, KIND, request)  # stops at another's workspace
    files = _files(root)
    texts = {name: sha256_file(root / name) for name in files if name.endswith(TEXTS)}
    _refuse_changed(out, before.get("texts", {}))
    begin(out, KIND, request)
    found = _Writer(root, out, kind, levels, known=_read_parts(out)).write(parts)
    moved = {
        name for part, one in zip(parts, found, strict=True) if one.moved for name in part.test
    }
    for name in files:
        if name not in moved and name not in texts:
            link_or_copy(root / name, out / name)
    for name in ONCE:
        if (root / name).is_file() and not (out / name).exists():
            copy_atomically(root / name, out / name)
    for name in texts:  # last: no table names a picture that is not there yet
        copy_atomically(root / name, out / name)
    counts = _counts(found)
    write_record(out, kind, counts, code_version=CODE_VERSION, root=str(root), texts=texts)
    finish(out, KIND, request, counts)
    return _told(found, counts)


def _check_places(root: Path, out: Path) -> None:
    if not root.is_dir():
        raise HardStop(
            "missing_input",
            f"register_from: {str(root)!r} is no folder",
            fix="name the workspace whose pictures are to be registered",
        )
    real, place = root.resolve(), out.resolve()
    if real == place or real in place.parents or place in real.parents:
        raise HardStop(
            "config_invalid",
            f"the workspace {str(out)!r} and register_from {str(root)!r} lie in each other",
            fix="name another folder as workspace: the pictures as they were taken are kept",
        )
    if read_record(root):
        raise HardStop(
            "config_invalid",
            "its pictures are registered already",
            file=root / layout.REGISTERED,
            fix="name the workspace with the pictures as they were taken",
        )


def _parts(root: Path, spec: Spec) -> Iterator[Part]:
    """Yield the parts of all tables; a picture that serves as a golden is no test picture."""
    frames = []
    for name in (*layout.TABLES.values(), layout.ACCEPTANCE_TABLE):
        path = root / name
        if not path.is_file():
            continue  # the pre-flight says which table is needed
        pool = name == layout.POOL_TABLE
        table = read_pool(root) if pool else read_table(path)
        _refuse_absolute(path, table)
        placed = pool_rows(table, root) if pool else base_rows(table, root)
        frames.append(placed[["input_path", "golden_path", "object_name"]])
    if not frames:
        raise HardStop(
            "missing_input",
            "there is no table: registered are the pairs that the tables name",
            file=root / layout.BASE_TABLE,
            fix="name a whole workspace as register_from",
        )
    rows = pd.concat(frames, ignore_index=True).drop_duplicates()
    ext, lights = spec.dataset.classify.image_ext, spec.lights
    pairs = [
        tuple(tuple(f"{at}/{image_name(name, light, ext)}" for light in lights) for at in sides)
        for *sides, name in rows.itertuples(index=False)
    ]
    goldens = {name for _, golden in pairs for name in golden}
    taken: dict[str, tuple[str, ...]] = {}
    for test, golden in pairs:
        if goldens.isdisjoint(test) and taken.setdefault(test[0], golden) == golden:
            yield Part(test, golden)


def _refuse_absolute(path: Path, table: pd.DataFrame) -> None:
    for column in ("input_path", "golden_path"):
        cell = next((cell for cell in table[column] if cell.startswith("/")), None)
        if cell is not None:
            raise HardStop(
                "config_invalid",
                f"{column} {cell!r} is absolute, and would lead back to the unregistered pictures",
                file=path,
                fix="write paths relative to the picture folder",
            )


def _files(root: Path) -> list[str]:
    """Return every file of a workspace's inputs, relative to it, in order; links are followed."""
    found: list[str] = []
    seen: set[str] = set()
    for top in INPUT_FOLDERS:
        for folder, below, names in os.walk(root / top, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back
                below.clear()
                continue
            seen.add(real)
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(found)


def _refuse_changed(out: Path, texts: Mapping[str, str]) -> None:
    for name, digest in texts.items():
        if (out / name).is_file() and sha256_file(out / name) != digest:
            raise HardStop(
                "config_invalid",
                "it was changed here, and would be overwritten by the source's",
                file=out / name,
                fix="make the change in the workspace that register_from names; or keep yours "
                "elsewhere and remove it here",
            )


class _Writer:
    """Aligns parts and writes those that move; one whose files are the same is not done again."""

    def __init__(
        self, root: Path, out: Path, kind: str, levels: int | None, known: dict[str, Moved]
    ) -> None:
        self.root, self.out, self.kind, self.levels = root, out, kind, levels
        self.known = known

    def write(self, parts: list[Part]) -> list[Moved]:
        """Return what became of each part, in order."""
        progress, found = Progress(len(parts), "register"), []
        _write_parts(self.out, self.known)
        with (
            ThreadPoolExecutor(os.cpu_count() or 1) as workers,
            (self.out / PARTS).open("a", encoding="utf-8", errors="backslashreplace") as kept,
        ):
            for start in range(0, len(parts), KEEP_EVERY):
                batch = []
                for one in workers.map(self._part, parts[start : start + KEEP_EVERY]):
                    batch.append(one)
                    progress(1)
                # A killed import goes on behind these lines; the last may be half of one.
                kept.write(_frame(batch).to_csv(index=False, header=False, lineterminator="\n"))
                kept.flush()
                found += batch
        progress.close()
        _write_parts(self.out, self.known | {one.test: one for one in found})
        return found

    def _part(self, part: Part) -> Moved:
        seen = " ".join(_seen(self.root / name) for name in (*part.test, *part.golden))
        there = self.known.get(part.test[0])
        whole = there is not None and (
            not there.moved or all((self.out / name).is_file() for name in part.test)
        )
        if there is not None and whole and there.seen == seen:
            return there
        try:
            tests, goldens = (
                [np.asarray(open_rgb(self.root / name, self.levels)) for name in names]
                for names in (part.test, part.golden)
            )
        except PictureError as error:
            return Moved(part.test[0], seen, 0, 0, 0, 0, 0, "", unread=error.reason)
        one = align(tests, goldens, self.kind)
        if one.moved:
            self._pictures(part, one)
        numbers = (one.dx_px, one.dy_px, one.rotation_deg, one.match_before, one.match)
        return Moved(part.test[0], seen, *numbers, one.doubt)

    def _pictures(self, part: Part, one: Aligned) -> None:
        for name, picture in zip(part.test, one.lights, strict=True):
            try:
                data = encoded(picture, os.path.splitext(name)[1])
            except ValueError as error:
                raise HardStop(
                    "image_invalid",
                    str(error),
                    file=self.root / name,
                    fix="save the pictures as .png",
                ) from None
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomic(self.out / name, data)


def _seen(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_size}:{found.st_mtime_ns}"


def _read_parts(out: Path) -> dict[str, Moved]:
    path = out / PARTS
    if not path.is_file():
        return {}
    text = {"test": str, "seen": str, "doubt": str, "unread": str}
    try:
        whole = path.read_bytes().rpartition(b"\n")[0]
        rows = pd.read_csv(io.BytesIO(whole), dtype=text, keep_default_na=False)
        named = ({str(key): value for key, value in one.items()} for one in rows.to_dict("records"))
        return {str(one["test"]): Moved(**one) for one in named}
    except (ValueError, TypeError, KeyError):
        return {}  # all parts are done again


def _frame(parts: Iterable[Moved]) -> pd.DataFrame:
    return pd.DataFrame([vars(one) for one in parts], columns=[f.name for f in fields(Moved)])


def _write_parts(out: Path, parts: Mapping[str, Moved]) -> None:
    write_table(_frame(parts.values()), out / PARTS)


def _counts(found: list[Moved]) -> dict[str, int]:
    return {
        "parts": len(found),
        "moved": sum(one.moved for one in found),
        "doubtful": sum(bool(one.doubt) for one in found),
        "unread": sum(bool(one.unread) for one in found),
    }


def _told(found: list[Moved], counts: Mapping[str, int]) -> list[str]:
    """Return what was done, and why what was not."""
    lines = [f"{counts['parts']} parts: {counts['moved']} moved onto their goldens"]
    shifts = [float(np.hypot(one.dx_px, one.dy_px)) for one in found if one.moved]
    if shifts:
        lines[0] += f" (median {np.median(shifts):.1f} px, at most {max(shifts):.1f})"
    left = len(found) - counts["moved"] - counts["doubtful"] - counts["unread"]
    lines.append(f"{left} lie right to half a pixel")
    for why, count in Counter(one.doubt for one in found if one.doubt).most_common():
        lines.append(f"{count} left as they are: {why}")
    first = next((one for one in found if one.unread), None)
    if first:
        lines.append(f"{counts['unread']} not read, first {first.test}: {first.unread}")
    return lines
