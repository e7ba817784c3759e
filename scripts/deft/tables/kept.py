"""What was once found on a picture is kept by the state of its file, in one file of the workspace.

A file is known by device, inode, size and both its time stamps; the change time cannot be set back,
so that another picture never passes for the one that was read. A file that changed just now may
change again within one tick of its disk: of such nothing is kept.

The store is written whole under another name and moved into place, so that a killed process leaves
the store before it. Of two that write at once the later one wins, and the other's pictures are read
again. Its digest tells damage; a store that is damaged, or is another version's, counts as none.
Who may write to it may also write the run's approval, so that it guards against accidents, not
against forgery; all the same :mod:`deft.tables.fingerprint` looks at some of its pictures again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deft.core.disk import DiskFull
from deft.core.files import write_bytes_atomic

VALUE_BYTES = 32
MAGIC = b"DEFTKEPT1\n"
SUM_BYTES = 32
RECORD = np.dtype(
    [
        *((name, "<i8") for name in ("device", "inode", "size", "mtime_ns", "ctime_ns")),
        ("what", "<u8"),  # which fact: how it was computed, and of what else it depends
        ("day", "<u4"),  # of its last use, since 1970
        ("value", f"V{VALUE_BYTES}"),
    ]
)
SETTLED_NS = 2_000_000_000  # the coarsest tick of a file system in use (FAT)
ENTRIES_MOST = 4_000_000  # 340 MB; beyond it those go that were not used for longest
UNUSED_DAYS = 180
USED_AGAIN_DAYS = 7  # a last use is written down when it is so much later than the one before
FLUSH_S = 60.0  # so much work is lost at most when a process is killed
DAY_S = 86_400

# File systems of this machine, whose states are never older than the file.
LOCAL = frozenset("ext2 ext3 ext4 xfs btrfs zfs f2fs tmpfs overlay vfat exfat ntfs ntfs3".split())

Log = Callable[[str], None]


class FileState(NamedTuple):
    """What tells a file's content from any earlier one's."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


NO_FILE = FileState(0, 0, -1, 0, 0)


def state_of(found: os.stat_result) -> FileState:
    """Return the state of a file from what :func:`os.stat` says of it."""
    # Device numbers and inodes are unsigned; as keys their 64 bits count.
    return FileState(
        _signed(found.st_dev),
        _signed(found.st_ino),
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def file_state(path: str | Path, *, links: bool = True) -> FileState | None:
    """Return the state of the file that a path leads to, None where there is none.

    ``links``: also of one that a link leads to, the last part of the path being the link.
    """
    try:
        found = os.stat(path, follow_symlinks=links)
        if not stat.S_ISREG(found.st_mode):
            return None
        if on_network(found.st_dev):
            # What a client remembers of a file may be a minute old; opening asks the server.
            with open(path, "rb", buffering=0) as handle:
                found = os.fstat(handle.fileno())
        return state_of(found)
    except (OSError, ValueError):
        return None


@cache
def on_network(device: int) -> bool:
    """Return whether a device is another machine's, or may be: what is no disk of this one."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in lines:
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0] not in LOCAL
    return True  # not known


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def kind_of(*what: object) -> int:
    """Return the number of a kind of fact, of all that it depends on besides the file."""
    text = "\x1f".join(map(str, what)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class KeptFacts:
    """Facts of ``VALUE_BYTES`` bytes by file state and kind; safe to use from threads.

    Parameters
    ----------
    store: the file; absent, damaged or unreadable it counts as empty, the latter two are told.
    """

    def __init__(self, store: str | Path, log: Log = print) -> None:
        self.store, self._log = Path(store), log
        self._lock = threading.Lock()
        self._table, self._keys = self._load()
        self._used = np.zeros(len(self._table), bool)
        self._new: dict[tuple[FileState | None, int], bytes] = {}
        self._settled: dict[tuple[FileState, int], bytes] = {}  # of these, what may be written
        self._behind_ns: int | None = None  # the disk's clock, if it is behind ours
        self._flushed = time.monotonic()

    def _load(self) -> tuple[np.ndarray, np.ndarray]:
        table = np.zeros(0, RECORD)
        try:
            data = self.store.read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            data = b""
            self._log(f"warning: {self.store} cannot be read ({error.strerror}): {AGAIN}")
        if data:
            head = len(MAGIC) + SUM_BYTES
            body = memoryview(data)[head:]
            sound = data.startswith(MAGIC) and _sum(body) == data[len(MAGIC) : head]
            if sound and len(body) % RECORD.itemsize == 0:
                table = np.frombuffer(body, RECORD)
            else:
                self._log(f"warning: {self.store} is damaged: {AGAIN}")
        keys = _keys(table)
        if len(keys) > 1 and (keys[1:] < keys[:-1]).any():  # written so; else nothing is found
            order = np.argsort(keys, kind="stable")
            table, keys = table[order], keys[order]
        return table, keys

    def __len__(self) -> int:
        return len(self._table) + len(self._new)

    def get(
        self, states: Sequence[FileState | None], kinds: int | Sequence[int]
    ) -> list[bytes | None]:
        """Return what is kept of files, in order; None of those that nothing is kept of.

        ``kinds``: of all of them, or of each.
        """
        each: Iterable[int] = repeat(kinds, len(states)) if isinstance(kinds, int) else kinds
        if not states:
            return []
        with self._lock:
            asked = np.array([state or NO_FILE for state in states], np.int64)
            what = np.array(kinds, np.uint64)
            out = [self._new.get(one) if one[0] else None for one in zip(states, each, strict=True)]
            if not len(self._table):
                return out
            at = np.searchsorted(self._keys, _mixed(asked, what))
            at = np.minimum(at, len(self._keys) - 1)
            found = self._table[at]
            same = found["what"] == what
            for column, name in enumerate(FileState._fields):
                same &= found[name] == asked[:, column]
            hits = np.flatnonzero(same)
            self._used[at[hits]] = True
        values = found["value"][hits].tobytes()
        for number, place in enumerate(hits.tolist()):
            if out[place] is None:
                out[place] = values[number * VALUE_BYTES : (number + 1) * VALUE_BYTES]
        return out

    def put(self, state: FileState, kind: int, value: bytes, asked_ns: int) -> None:
        """Keep a fact; ``state``: of the file, ``asked_ns``: when that was asked, before reading.

        Of a file that changed right before, it is kept in this process alone.
        """
        if len(value) != VALUE_BYTES:
            raise ValueError(f"a fact has {VALUE_BYTES} bytes, not {len(value)}")
        with self._lock:
            self._new[state, kind] = value
            if asked_ns - self._behind() - max(state.mtime_ns, state.ctime_ns) > SETTLED_NS:
                self._settled[state, kind] = value
            late = time.monotonic() - self._flushed > FLUSH_S
        if late:
            self.flush()

    def forget(self) -> None:
        """Take the store away."""
        with self._lock:
            self.store.unlink(missing_ok=True)
            self._table, self._keys = self._table[:0], self._keys[:0]
            self._used = self._used[:0]
            self._new.clear()
            self._settled.clear()

    def flush(self) -> None:
        """Write what is new, beside what others wrote meanwhile; nothing where nothing is."""
        with self._lock:
            self._flushed = time.monotonic()
            today = int(time.time()) // DAY_S
            table = self._table
            stale = self._used & (table["day"].astype(np.int64) + USED_AGAIN_DAYS <= today)
            if not self._settled and 4 * int(stale.sum()) < max(1, len(table)):
                return
            if stale.any():
                table = table.copy()
                table["day"][stale] = today
            others, _ = self._load()  # of another process; what is used here is the newer
            both = np.concatenate([_records(self._settled, today), table, others])
            used = np.zeros(len(both), bool)
            used[: len(self._settled)] = True
            used[len(self._settled) : len(self._settled) + len(table)] = self._used
            kept = _bounded(both, today)
            self._write(both[kept])
            self._table, self._keys, self._used = both[kept], _keys(both[kept]), used[kept]
            for one in self._settled:
                del self._new[one]
            self._settled.clear()

    def _behind(self) -> int:
        """Return by how much the clock of the store's disk (a server's) is behind ours, ns."""
        if self._behind_ns is None:
            self._behind_ns = 0
            with suppress(OSError), tempfile.TemporaryFile(dir=self.store.parent) as probe:
                written = os.fstat(probe.fileno()).st_mtime_ns
                self._behind_ns = max(0, time.time_ns() - written)
        return self._behind_ns

    def _write(self, table: np.ndarray) -> None:
        body = table.tobytes()
        with suppress(OSError, DiskFull):  # a workspace that may only be read, or is full
            write_bytes_atomic(self.store, MAGIC + _sum(body) + body)


AGAIN = "pictures are read again"
_current: KeptFacts | None = None


def current() -> KeptFacts | None:
    """Return the store of the block that runs, see :func:`keeping`."""
    return _current


@contextmanager
def keeping(store: str | Path, log: Log = print) -> Iterator[KeptFacts]:
    """Keep facts of pictures in a file of the workspace while the block lasts.

    What was read is written at the end, whatever ends the block.
    """
    global _current
    before, _current = _current, KeptFacts(store, log)
    try:
        yield _current
    finally:
        try:
            _current.flush()
        finally:
            _current = before


def _sum(body: bytes | memoryview) -> bytes:
    return hashlib.blake2b(body, digest_size=SUM_BYTES).digest()


def _records(new: dict[tuple[FileState, int], bytes], today: int) -> np.ndarray:
    table = np.zeros(len(new), RECORD)
    if new:
        for column, name in enumerate(FileState._fields):
            table[name] = [state[column] for state, _ in new]
        table["what"] = np.array([kind for _, kind in new], np.uint64)
        table["day"] = today
        table["value"] = np.frombuffer(b"".join(new.values()), f"V{VALUE_BYTES}")
    return table


def _bounded(table: np.ndarray, today: int) -> np.ndarray:
    """Return the places of the first record of each file and kind, in the store's order.

    Those that were not used for long are left out.
    """
    recent = np.flatnonzero(table["day"].astype(np.int64) + UNUSED_DAYS > today)
    _, first = np.unique(_keys(table[recent]), return_index=True)
    first = recent[first]
    if len(first) > ENTRIES_MOST:
        latest = np.argsort(table["day"][first], kind="stable")[-ENTRIES_MOST:]
        first = first[np.sort(latest)]
    return first


def _keys(table: np.ndarray) -> np.ndarray:
    states = np.zeros((len(table), 2), np.int64)
    states[:, 0], states[:, 1] = table["device"], table["inode"]
    return _mixed(states, table["what"])


def _mixed(states: np.ndarray, what: np.ndarray | np.uint64) -> np.ndarray:
    """Return 64 bits (n,) of device, inode and kind; equal ones of others cost a reading more."""
    factor = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        mixed = (states[:, 0].view(np.uint64) * factor) ^ what
        mixed = (mixed ^ (mixed >> np.uint64(29))) * factor + states[:, 1].view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(32))) * factor
        return np.asarray(mixed ^ (mixed >> np.uint64(29)), np.uint64)
