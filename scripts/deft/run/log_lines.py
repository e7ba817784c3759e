"""The lines of ``loop_log.jsonl``: which can be read, and mending the file where some cannot.

A crash leaves a line cut off, a lost block of the disk NUL bytes, another program whatever it
likes. A line that cannot be read is kept in ``loop_log.unreadable`` and leaves no gap: where later
lines show that it had a number, a line in its place says that it was lost; the last one's number is
given again.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deft.core.disk import writing
from deft.core.files import (
    BREAK_CHARACTERS,
    BREAKS,
    to_json_line,
    to_utf8,
    write_all,
    write_bytes_atomic,
)
from deft.core.reading import check_shape, parse_json, read_bytes, warn

KEPT_FILE = "loop_log.unreadable"
SHAPE = {"seq": int, "iter": str, "stage": str, "status": str, "summary": str}
SALVAGE = {
    name: re.compile(rb'"%s": "([a-z0-9_]{1,32})"' % name.encode()) for name in ("iter", "stage")
}
BROKEN = re.compile(b"|".join(c.encode() for c in ("\r", *BREAK_CHARACTERS)))
TIME = re.compile(rb'"ts": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"')


@dataclass
class Lines:
    """A log as read: its entries, and between them the raw lines that are none.

    ``raw`` and ``entries`` go together; ``bad`` has (entries before it, bytes) of each other line.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    bad: list[tuple[int, bytes]] = field(default_factory=list)
    whole: bool = True  # the last line has its end
    blank: bool = False  # there are lines with nothing in them

    @property
    def next_seq(self) -> int:
        """Number of the next line."""
        return max((entry["seq"] for entry in self.entries), default=0) + 1


def read_lines(path: str | Path) -> Lines:
    """Return what a log holds, nothing for an absent one; HardStop for what is no file."""
    path = Path(path)
    found = Lines()
    if not path.exists():
        return found
    data = read_bytes(path)
    found.whole = data.endswith(b"\n") or not data
    for line in data.split(b"\n"):
        entry = _entry(line)
        if entry is not None:
            found.entries.append(entry)
            found.raw.append(line)
        elif line.strip():
            found.bad.append((len(found.entries), line))
    found.blank = data.count(b"\n") + (not found.whole) > len(found.raw) + len(found.bad)
    return found


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line.decode("utf-8"), not_finite=False)
    except ValueError:
        return None
    return entry if is_entry(entry) else None


def is_entry(entry: Any) -> bool:
    """Return whether a value is what a line of the log holds."""
    return not check_shape(entry, SHAPE)


def append(path: Path, found: Lines, entry: dict[str, Any]) -> None:
    """Mend the log if it needs that and add one line, whole or not at all. Under the state's lock.

    Raises DiskFull.
    """
    odd = found.bad or found.blank or not found.whole
    if odd or any(BROKEN.search(raw) for raw in found.raw):
        mend(path, found)
    data = to_utf8(to_json_line(entry)) + b"\n"
    before = path.stat().st_size if path.exists() else 0
    with writing(path, needed_bytes=len(data)):
        try:
            _add(path, data)
        except OSError:
            if path.exists():
                with path.open("r+b") as handle:
                    handle.truncate(before)
            raise


def _add(path: Path, data: bytes) -> None:
    with path.open("ab", buffering=0) as handle:
        write_all(handle, data)
        os.fsync(handle.fileno())


def mend(path: Path, found: Lines) -> None:
    """Move unreadable lines to :data:`KEPT_FILE` and write the log without them."""
    if found.bad:
        kept = path.with_name(KEPT_FILE)
        data = b"".join(line + b"\n" for _, line in found.bad)
        with writing(kept, needed_bytes=len(data)):
            _add(kept, data)  # first: rather twice than not at all
    bad: dict[int, list[bytes]] = {}
    for at, line in found.bad:
        bad.setdefault(at, []).append(line)
    lines, last = [], 0
    for index, (entry, raw) in enumerate(zip(found.entries, found.raw, strict=True)):
        missing = entry["seq"] - last - 1
        for number, line in zip(range(missing), bad.get(index, ()), strict=False):
            around = found.entries[max(index - 1, 0)]
            lines.append(_stand_in(last + 1 + number, line, around))
        lines.append(_one_line(raw))
        last = entry["seq"]
    write_bytes_atomic(path, b"".join(line + b"\n" for line in lines))
    if found.bad:
        count = len(found.bad)
        warn(
            f"warning: {path.name} had {count} line{'s' * (count > 1)} that cannot be read; "
            f"kept in {path.with_name(KEPT_FILE)}"
        )


def _one_line(raw: bytes) -> bytes:
    """Return a line in which no reader sees a second one; other programs wrote it."""
    raw = raw.replace(b"\r", b" ")  # between two values, where JSON allows it
    return BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", raw.decode()).encode()


def _stand_in(seq: int, line: bytes, around: dict[str, Any]) -> bytes:
    """Return a line in place of a lost one: what can still be read of it, else its neighbour's."""
    when = TIME.search(line)
    entry = {"seq": seq, "ts": when[1].decode() if when else around.get("ts")}
    for name, words in SALVAGE.items():
        hit = words.search(line)
        entry[name] = hit[1].decode() if hit else around[name]
    told = f"this line could not be read; it is kept in {KEPT_FILE}"
    rest = {"status": "error", "summary": told, "duration_sec": 0, "context_tokens": 0}
    return to_json_line({**entry, **rest}).encode()
