"""Writing whole files or nothing, digests, and keeping paths inside the workspace.

What is read is in :mod:`deft.core.reading`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from deft.core import disk
from deft.core.errors import HardStop

# Most callers want both sides from here.
from deft.core.reading import made_again as made_again
from deft.core.reading import read_json as read_json
from deft.core.reading import target_of as target_of

BLOCK_BYTES = 1 << 20
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp(\.[^.]*)?")
LEFT_OVER_S = 3600.0  # longer than that nobody is silent in the middle of a file
# Where str.splitlines and some editors end a line, and nobody else does.
BREAK_CHARACTERS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
BREAKS = re.compile(f"[{BREAK_CHARACTERS}]")


def replace_atomically(
    path: str | Path, write: Callable[[Path], object], *, needed_bytes: int | None = None
) -> Path:
    """Call ``write`` on a temporary neighbour of ``path``, then move it into place.

    A job that is killed half-way leaves the old file (or none), never half a file; the temporary
    one that it may leave is taken away by :func:`sweep`.

    Raises
    ------
    DiskFull naming ``path``, in whatever words the writer's library told it.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        with disk.writing(path, temporary, needed_bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def temporary_name(path: Path) -> Path:
    """Return the hidden name beside ``path`` under which it is written first."""
    # The suffix stays last: writers such as matplotlib choose the format from it.
    return path.with_name(f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}")


def sweep(folder: str | Path, older_than_s: float = LEFT_OVER_S) -> list[Path]:
    """Take away temporary files that killed processes left in ``folder``; return which.

    Only names that :func:`temporary_name` gives, and only such that nobody has written to for
    ``older_than_s``: 0 is for a folder that has one writer, the caller.
    """
    gone = []
    with suppress(OSError):  # no such folder, or one that may not be read
        for entry in os.scandir(folder):
            if not TEMPORARY.fullmatch(entry.name):
                continue
            with suppress(OSError):
                age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                if entry.is_file(follow_symlinks=False) and age_s >= older_than_s:
                    os.unlink(entry.path)
                    gone.append(Path(entry.path))
    return gone


def put_in_place(temporary: Path, path: Path) -> None:
    """Move a file that is written whole to its name, after its bytes are on the disk."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def copy_atomically(source: str | Path, target: str | Path) -> Path:
    """Copy a file's content whole or not at all; a file copied onto itself stays as it is."""
    source, target = Path(source), Path(target)
    if target.exists() and os.path.samefile(source, target):
        return target
    size = source.stat().st_size
    return replace_atomically(target, lambda p: shutil.copyfile(source, p), needed_bytes=size)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source`` (a copy where links do not work)."""
    # Renaming one link of a file over another of the same file does nothing, by POSIX: the hidden
    # name would stay, and with it the file's bytes after everybody else had deleted it.
    if target.exists() and source.samefile(target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        os.link(source, temporary)
    except OSError:
        copy_atomically(source, target)
        return
    try:
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: str | Path, data: bytes) -> Path:
    """Write ``data`` whole or not at all."""
    return replace_atomically(path, lambda p: p.write_bytes(data), needed_bytes=len(data))


def write_text_atomic(path: str | Path, text: str) -> Path:
    """Write text as :func:`to_utf8` gives it, with ``\\n`` line ends, whole or not at all."""
    return write_bytes_atomic(path, to_utf8(text))


def write_pieces_atomic(path: str | Path, pieces: Iterable[tuple[bytes, float]]) -> Path:
    """Write whole or not at all what never stands whole in memory.

    Parameters
    ----------
    pieces: bytes, and the share (above 0, up to 1) of the whole that is made with them: what a
        full disk would have needed is reckoned from it.
    """

    def write(to: Path) -> None:
        made = 0
        with to.open("wb", buffering=0) as handle:  # nothing waits for the end, to fail there
            for data, share in pieces:
                made += len(data)
                with disk.writing(path, to, round(made / share), estimated=share < 1):
                    write_all(handle, data)

    return replace_atomically(path, write)


def write_all(handle: FileIO, data: bytes) -> None:
    """Write data to a file without a buffer, which may take it in parts."""
    left = memoryview(data)
    while left:
        left = left[handle.write(left) :]


def to_utf8(text: str) -> bytes:
    """Return text as files have it.

    Half characters, as in a file name that is no UTF-8, become ``\\udc80``.
    """
    return text.encode("utf-8", "backslashreplace")


def to_json(data: Any) -> str:
    """Return the one JSON form of this project: sorted keys, two spaces, no NaN."""
    return _json(data, indent=2, sort_keys=True) + "\n"


def to_json_line(data: Any) -> str:
    """Return JSON on one line, keys in their order, for files of a line an entry.

    Characters at which some readers break lines (U+2028, U+0085, form feed) are escaped.
    """
    return BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", _json(data))


def _json(data: Any, **form: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, **form)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # of a name that is no UTF-8: escaped, it is read back as it was
        return json.dumps(data, ensure_ascii=True, allow_nan=False, **form)
    return text


def write_json_atomic(path: str | Path, data: Any) -> Path:
    """Write ``data`` as :func:`to_json` prints it."""
    return write_text_atomic(path, to_json(data))


def sha256_file(path: str | Path, first_bytes: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first ``first_bytes`` bytes."""
    digest = hashlib.sha256()
    left = first_bytes if first_bytes is not None else -1
    with Path(path).open("rb") as handle:
        while left != 0:
            block = handle.read(BLOCK_BYTES if left < 0 else min(BLOCK_BYTES, left))
            if not block:
                break
            digest.update(block)
            left -= len(block) if left > 0 else 0
    return digest.hexdigest()


def sha256_text(text: str) -> str:
    """Return the SHA-256 of UTF-8 text; a name that is no UTF-8 has a digest too."""
    return sha256_texts([text])


def sha256_texts(pieces: Iterable[str]) -> str:
    """Return the SHA-256 of the text that pieces make together."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def sha256_listing(folder: str | Path, names: Iterable[str]) -> str:
    """Return a digest of the content of ``names`` below ``folder``, order-free."""
    folder = Path(folder)
    lines = [f"{name}\t{sha256_file(folder / name)}" for name in sorted(names)]
    return sha256_text("\n".join(lines))


def inside(workspace: str | Path, path: str | Path, *, what: str = "path") -> Path:
    """Return ``path`` (relative ones below ``workspace``) resolved, or stop.

    The workspace itself may be a link; what counts is where both really lie.

    Raises
    ------
    HardStop ``path_escape`` when the resolved path lies outside the workspace.
    """
    root = Path(workspace).resolve()
    resolved = (root / Path(path)).resolve()
    if resolved != root and root not in resolved.parents:
        raise HardStop(
            "path_escape",
            f"{what} {str(path)!r} leads outside the workspace, to {resolved}",
            fix=f"use a path below {root}",
        )
    return resolved
