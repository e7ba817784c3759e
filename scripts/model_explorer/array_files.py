"""Arrays that the user gives: ``.npy`` and ``.npz`` files, read without running code."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.pool.pregen.listing import is_litter

ARRAYS = (".npy", ".npz")


def arrays_of(given: Path) -> list[Path]:
    """Return the ``.npy`` and ``.npz`` files that a given path is or holds, sorted."""
    files = [given] if given.is_file() else sorted(p for p in given.rglob("*") if p.is_file())
    return [p for p in files if p.suffix.lower() in ARRAYS and not is_litter(p.name)]


def read_arrays(path: Path) -> dict[str, Any]:
    """Return a file's arrays by name; the one of a ``.npy`` is called ``""``.

    Raises HardStop ``missing_input`` for a file that cannot be read, or only by running code.
    """
    import numpy as np

    try:
        data = np.load(path, allow_pickle=False)
        return {"": data} if path.suffix.lower() == ".npy" else {n: data[n] for n in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise HardStop("missing_input", f"no array that can be read ({error})", file=path) from None


def dtype_of(array: Any) -> str:
    """Return the name of an array's type as the contract writes it (``str`` for any text)."""
    return "str" if array.dtype.kind in "US" else str(array.dtype)
