"""Telling a full disk from every other failure, in whatever words a library puts it.

``OSError`` has a number for it; torch, ONNX Runtime, libpng and numpy swallow it and speak of
something else ("enforce fail at inline_container"), and a training process tells it in a text. The
one question is asked here: :func:`explain`. Standard library only.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deft.core.errors import HardStop, StageFailed

EXIT_DISK_FULL = 74  # EX_IOERR of sysexits.h
REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "no file may grow that large here (ulimit -f, or the file system's own limit)",
}
ADVICE = {
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EDQUOT: "free some space or ask for a larger quota, then run the same command again",
    errno.EFBIG: "raise the limit (ulimit -f unlimited), then run the same command again",
}
# In texts of libraries that keep no number; Rust's say "(os error 28)".
SURE = (
    (errno.ENOSPC, re.compile(r"no space left on device|os error 28\b|disk is full", re.I)),
    (errno.EDQUOT, re.compile(r"disk quota exceeded|os error 122\b", re.I)),
    (errno.EFBIG, re.compile(r"\bfile too large\b(?! (?:to|for)\b)|os error 27\b", re.I)),
)
# Words for a write that failed, whatever the reason: then the disk itself is asked.
PERHAPS = re.compile(
    r"inline_container|iostream error|protobuf serialization failed|encoder error -2\b"
    r"|requested and \d+ written|write error|unexpected pos|could not write",
    re.I,
)
PROBE_BYTES = 1 << 20
LINKS_FOLLOWED = 8  # of a chain of exceptions
MARK = "disk full: "
MIB, GIB = 2**20, 2**30


class DiskFull(StageFailed):
    """A disk, quota or file size limit is used up: the machine's failure, and not the data's.

    No ``OSError``, so that nobody who expects a broken picture or an absent file takes it for one.
    """

    def __init__(
        self,
        path: str | Path | None,
        number: int = errno.ENOSPC,
        needed_bytes: int | None = None,
        *,
        estimated: bool = False,
    ) -> None:
        self.path, self.number, self.needed_bytes = path, number, needed_bytes
        folder = Path(path).parent if path is not None else fullest()
        free = free_bytes(folder)
        facts = [REASONS[number]]
        if free is not None:
            facts.append(f"{size_text(free)} free")
        if number == errno.ENOSPC and no_more_files(folder):
            facts[0] = "the disk can hold no more files, however small (its inodes are used up)"
        elif needed_bytes:
            how = "about" if estimated else "at least"
            facts.append(f"{how} {size_text(needed_bytes)} needed")
        elif number == errno.ENOSPC and free is not None:
            # With much free now it was the space of another moment, or another folder's.
            facts.append(
                "more than that needed" if free < GIB else "needed at that moment: unknown"
            )
        where = path if path is not None else f"somewhere below {folder}"
        message = f"{MARK}{where}: {', '.join(facts)}\n  do: {ADVICE[number]}"
        super().__init__(message, status=EXIT_DISK_FULL)


def size_text(count: int) -> str:
    """Return bytes for reading.

    >>> size_text(700), size_text(3 * 2**19), size_text(3 * 2**29)
    ('700 bytes', '1.5 MiB', '1.5 GiB')
    """
    if count < MIB:
        return f"{count} bytes"
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


def free_bytes(folder: str | Path) -> int | None:
    """Return the free bytes of the disk of ``folder`` (or its nearest parent), None if unknown."""
    folder = Path(os.path.abspath(folder))
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def no_more_files(folder: str | Path) -> bool:
    """Return whether the disk of ``folder`` has space but no inode left."""
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_files > 0 and found.f_favail == 0
    return False


def fullest() -> Path:
    """Return the folder with the least free space, of those that a stage writes to."""
    named = (Path.cwd(), Path(tempfile.gettempdir()), Path("/dev/shm"))
    known = [(free, folder) for folder in named if (free := free_bytes(folder)) is not None]
    return min(known)[1] if known else Path.cwd()


def explain(
    error: BaseException,
    path: str | Path | None = None,
    *,
    temporary: Path | None = None,
    needed_bytes: int | None = None,
    estimated: bool = False,
) -> DiskFull | None:
    """Return what to raise instead of ``error`` when a full disk is behind it, else None.

    Parameters
    ----------
    path: what was to be written; None = see whether the error names it.
    temporary: the unfinished file, if it is still there: where the disk is asked, and how much was
        needed at least.
    needed_bytes: of the whole file, if that is known; ``estimated`` = not exactly.
    """
    if isinstance(error, DiskFull):
        return error
    if isinstance(error, HardStop | KeyboardInterrupt):
        return None
    told = MARK in str(error) and str(error).partition(MARK)[2].splitlines()
    if told:  # another process of ours said it
        return _retold(error, told)
    number = None
    for link in _chain(error):
        number = number or _number(link)
    perhaps = any(PERHAPS.search(str(link)) for link in _chain(error))
    if number is None and perhaps:
        number = _ask(temporary or path)
    if number is None:
        return None
    where = path if path is not None else _named(error)
    if needed_bytes:
        return DiskFull(where, number, needed_bytes, estimated=estimated)
    return DiskFull(where, number, _size(temporary) or None)


@contextmanager
def writing(
    path: str | Path,
    temporary: Path | None = None,
    needed_bytes: int | None = None,
    *,
    estimated: bool = False,
) -> Iterator[None]:
    """Have a full disk told as :class:`DiskFull` of ``path``; any other error passes."""
    try:
        yield
    except Exception as error:
        full = explain(
            error, path, temporary=temporary, needed_bytes=needed_bytes, estimated=estimated
        )
        if full is None or full is error:
            raise
        raise full from error


def _retold(error: BaseException, lines: list[str]) -> DiskFull:
    full = DiskFull(None)
    more = [line for line in str(error).splitlines() if line.lstrip().startswith("do: ")]
    full.args = ("\n".join([MARK + lines[0], *more[:1]]),)
    return full


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(LINKS_FOLLOWED):
        if link is None:
            return
        yield link
        link = link.__cause__ or link.__context__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno in REASONS:
        return error.errno
    text = str(error)
    return next((number for number, words in SURE if words.search(text)), None)


def _named(error: BaseException) -> str | None:
    for link in _chain(error):
        if isinstance(link, OSError):
            # Of a copy the second file is the one that is written.
            name = link.filename2 or link.filename
            if isinstance(name, bytes):
                name = os.fsdecode(name)
            if isinstance(name, str):
                return name
    return None


def _size(path: Path | None) -> int:
    try:
        return path.stat().st_size if path is not None else 0
    except OSError:
        return 0


def _ask(path: str | Path | None) -> int | None:
    """Return why nothing can be written beside ``path`` now, None when it can."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and path is not None:
        if _size(Path(path)) >= limit - limit // 8:
            return errno.EFBIG
    folder = Path(path).parent if path is not None else fullest()
    size = PROBE_BYTES if limit == resource.RLIM_INFINITY else min(PROBE_BYTES, limit)
    with suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
        try:
            left = size
            while left > 0:
                left -= os.write(handle, bytes(left))
        except OSError as error:
            return error.errno if error.errno in REASONS else None
        finally:
            os.close(handle)
            os.unlink(name)
        return None
    return errno.ENOSPC if free_bytes(folder) == 0 else None
