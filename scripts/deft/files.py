"""Writing whole files or nothing, digests, and keeping paths inside the workspace."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from deft.errors import HardStop

BLOCK_BYTES = 1 << 20


def replace_atomically(path: str | Path, write: Callable[[Path], None]) -> Path:
    """Call ``write`` on a temporary neighbour of ``path``, then move it into place.

    A job that is killed half-way leaves the old file (or none), never half a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        write(temporary)
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def temporary_name(path: Path) -> Path:
    """Return the hidden name beside ``path`` under which it is written first."""
    # The suffix stays last: writers such as matplotlib choose the format from it.
    return path.with_name(f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}")


def put_in_place(temporary: Path, path: Path) -> None:
    """Move a file that is written whole to its name, after its bytes are on the disk."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_bytes_atomic(path: str | Path, data: bytes) -> Path:
    """Write ``data`` whole or not at all."""
    return replace_atomically(path, lambda p: p.write_bytes(data) and None)


def write_text_atomic(path: str | Path, text: str) -> Path:
    """Write UTF-8 text with ``\\n`` line ends, whole or not at all."""
    return write_bytes_atomic(path, text.encode("utf-8"))


def to_json(data: Any) -> str:
    """Return the one JSON form of this project: sorted keys, two spaces, no NaN."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json_atomic(path: str | Path, data: Any) -> Path:
    """Write ``data`` as :func:`to_json` prints it."""
    return write_text_atomic(path, to_json(data))


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises ``missing_input`` when it is absent, broken or holds a NaN."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise HardStop(
            "missing_input",
            "a file that this stage reads does not exist",
            file=path,
            fix=made_again(path, there=False),
        ) from None
    except (ValueError, RecursionError) as error:
        raise HardStop(
            "missing_input", f"not a JSON file ({error})", file=path, fix=made_again(path)
        ) from None


def target_of(path: str | Path) -> str:
    """Return a file of a run as it is typed for Snakemake, relative to the workspace."""
    parts = Path(path).parts
    known = [i for i, part in enumerate(parts) if part in ("results", "artifacts")]
    return "/".join(parts[known[-1] :]) if known else str(path)


def made_again(path: str | Path, *, there: bool = True) -> str:
    """Return how a damaged (or missing) file of the loop's own is mended, as a stop's advice."""
    path = Path(path)
    if path.parent.name == "preflight":
        return "run: snakemake preflight, then the same command again"
    if target_of(path) == str(path) or path.name == "deft_state.json":
        return "put the file back as it was"
    again = f"run: snakemake {target_of(path)}; then run the same command again"
    return f"put the file back as it was, or {f'delete it and {again}' if there else again}"


def _no_number(name: str) -> None:
    """Refuse what Python reads as a number and JSON does not have; nothing here writes it."""
    raise ValueError(f"{name} is no number")


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
    """Return the SHA-256 of UTF-8 text (names of files in it need not be UTF-8)."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


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
