"""Digests of files, read again only when a file changed.

The Snakefile is parsed in every cluster job, and a table may have a million rows. What is kept
counts as long as size, inode and both time stamps of the file are the same; the change time
cannot be set back, so that a table with another content never passes for the old one.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from pathlib import Path

from deft.core.disk import DiskFull
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic
from deft.core.reading import read_json

SHA256 = re.compile(r"[0-9a-f]{64}")
SETTLED_S = 2.0  # a file changed later than that may change again within one tick of its disk


class KeptDigests:
    """SHA-256 of files by path; ``store`` is the JSON file that they are kept in."""

    def __init__(self, store: str | Path) -> None:
        self.store = Path(store)
        self._seen: dict[str, str] = {}  # in this process: one answer, whatever happens meanwhile

    def sha256(self, path: str | Path) -> str | None:
        """Return the digest of a file's content, None when it is no file."""
        path = Path(os.path.abspath(path))
        name = str(path)
        if name not in self._seen:
            if not path.is_file():
                return None
            self._seen[name] = self._kept_or_read(path)
        return self._seen[name]

    def _kept_or_read(self, path: Path) -> str:
        before = _facts(path)
        entry = self._read().get(str(path))
        if isinstance(entry, dict) and entry.get("facts") == before:
            kept = entry.get("sha256")
            if isinstance(kept, str) and SHA256.fullmatch(kept):
                return kept
        found = sha256_file(path)
        newest = max(before["mtime_ns"], before["ctime_ns"])
        if _facts(path) == before and time.time_ns() - newest > SETTLED_S * 1e9:
            with suppress(
                OSError, DiskFull
            ):  # a workspace that may only be read: then it is read each time
                write_json_atomic(
                    self.store, self._read() | {str(path): {"facts": before, "sha256": found}}
                )
        return found

    def _read(self) -> dict[str, object]:
        try:
            found = read_json(self.store)
        except (OSError, HardStop):  # not there, or spoiled: then everything is read again
            return {}
        return found if isinstance(found, dict) else {}


def _facts(path: Path) -> dict[str, int]:
    found = path.stat()
    return {
        "size": found.st_size,
        "inode": found.st_ino,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }
