"""Files that are read whole, and appear whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import Stop


def read_file(path: Path) -> bytes:
    """Return a file's bytes; raises OSError, also for a pipe, which would be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file stands there")
    return path.read_bytes()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a neighbour and move it into place; raises Stop ``missing_input``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        try:
            beside.unlink(missing_ok=True)
        except OSError:  # its folder is not there
            pass


def cannot_write(path: Path, error: OSError) -> Stop:
    """Return the stop for a file that cannot be written."""
    why = f"cannot be written ({error.strerror})"
    return Stop("missing_input", why, file=path, fix="give another --out, or make room")
