"""Reading files that a person, another program or a crash may have made.

Whatever lies at a path (nothing, a folder, a pipe, bytes that are no text, text that is no JSON,
JSON of another shape) ends as a
:class:`deft.core.errors.HardStop` that names the file and says what is wrong with it. The
caller says with which code. Standard library only.
"""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from deft.core.commands import again
from deft.core.errors import HardStop

# What a retry cannot mend; the others (a disk that does not answer, say) are the machine's.
LASTING = {
    errno.EACCES: "may not be read or written by this user",
    errno.EPERM: "may not be read or written by this user",
    errno.EISDIR: "is a folder, not a file",
    errno.ENOTDIR: "lies below something that is no folder",
    errno.ELOOP: "is a link that leads back to itself",
    errno.ENAMETOOLONG: "has a name too long for the disk",
    errno.EROFS: "lies on a disk that may only be read",
    errno.ENOENT: "does not exist",
    errno.EEXIST: "is there already, as something else",
    errno.ENXIO: "is a pipe or socket, not a file",
}
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
BOM = codecs.BOM_UTF8
WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
WORDS = 200  # characters of another program's message
NAMES = {dict: "an object", list: "a list", str: "text", int: "a whole number", float: "a number",
         bool: "true or false", type(None): "null"}  # fmt: skip


def stop_of(error: OSError, code: str = "missing_input") -> HardStop | None:
    """Return the stop for an error of the file system that a retry cannot mend, else None."""
    if error.errno not in LASTING or not isinstance(error.filename, str | bytes):
        return None
    file = os.fsdecode(error.filename2 or error.filename)
    return HardStop(
        code,
        f"the file {LASTING[error.errno]}",
        file=file,
        fix="see to the file, its folder and their rights, then run the same command again",
    )


@contextmanager
def _guarded(path: Path, code: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise HardStop(code, "a file that this stage reads does not exist", file=path) from None
    except OSError as error:
        told = LASTING.get(error.errno or 0, f"cannot be read ({error.strerror or error})")
        if error.errno in LASTING:
            raise HardStop(code, f"the file {told}", file=path) from None
        raise
    except ValueError as error:  # of the name: a NUL in it
        raise HardStop(code, f"not a file name ({error})", file=repr(str(path))) from None


def require_file(path: str | Path, *, code: str = "missing_input") -> Path:
    """Return ``path`` when a file lies there; for readers of libraries, which wait for a pipe.

    Raises HardStop ``code`` for what is absent or no file.
    """
    path = Path(path)
    with _guarded(path, code):
        kind = KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    if kind:
        raise HardStop(code, f"this is {kind}, not a file", file=path)
    return path


def read_bytes(path: str | Path, *, code: str = "missing_input") -> bytes:
    """Return a file's bytes; raises HardStop ``code`` for what is absent, unreadable or no file.

    A pipe in its place does not make the reader wait.
    """
    path = Path(path)
    with _guarded(path, code):
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            kind = KINDS.get(stat.S_IFMT(os.fstat(handle).st_mode))
            if kind:
                raise HardStop(code, f"this is {kind}, not a file", file=path)
            return file.read()


def read_text(path: str | Path, *, code: str = "missing_input") -> str:
    """Return a file's text, UTF-8 with or without a mark at its start, line ends as they are.

    Raises HardStop ``code`` naming the line of the first byte that is no UTF-8.
    """
    return as_text(read_bytes(path, code=code), path, code=code)


def as_text(data: bytes, path: str | Path, *, code: str = "missing_input") -> str:
    """Return the text of a file's bytes, as :func:`read_text`."""
    try:
        return data.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        wide = data.startswith(WIDE_BOMS)
        found = "UTF-16 or UTF-32" if wide else f"byte {data.removeprefix(BOM)[error.start]:#04x}"
        line = data.removeprefix(BOM)[: error.start].count(b"\n") + 1
        raise HardStop(
            code,
            f"not UTF-8 text ({found})",
            file=path,
            row=None if wide else line,
            fix="save the file as UTF-8",
        ) from None


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as editors count them: ends are LF or CRLF and nothing else.

    ``str.splitlines`` also breaks at U+2028, U+0085, form feeds and file separators.

    >>> lines_of("a\\r\\nb\\u2028c\\n"), lines_of("")
    (['a', 'b\\u2028c'], [])
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def parse_json(text: str, *, not_finite: bool = True) -> Any:
    """Return what JSON text holds; ValueError for anything else.

    ``not_finite``: take NaN and Infinity, which Python and others write and JSON does not have.

    Not only for what ``json`` calls an error: nesting too deep, numbers with too many digits.
    """
    try:
        if not_finite:
            return json.loads(text)
        return json.loads(text, parse_constant=_no_number, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_number(name: str) -> NoReturn:
    """Refuse what Python reads as a number and JSON does not have; nothing here writes it."""
    raise ValueError(f"{name} is no number")


def _number(text: str) -> float:
    """Return a number of JSON; 1e999 is one there, and infinity as soon as it is read."""
    value = float(text)
    return value if math.isfinite(value) else _no_number(text)


def read_json(
    path: str | Path,
    shape: Any = None,
    *,
    code: str = "missing_input",
    not_finite: bool = False,
) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    shape: what must be in it, see :func:`check_shape`; None = anything.
    not_finite: see :func:`parse_json`.

    Raises
    ------
    HardStop ``code`` when it is absent, cannot be read, is no JSON or has another shape.
    """
    try:
        text = read_text(path, code=code)
    except HardStop as stop:
        if not os.path.lexists(path):
            stop.fix = made_again(path, there=False)
        raise
    try:
        data = parse_json(text, not_finite=not_finite)
    except ValueError as error:
        raise HardStop(
            code, f"not a JSON file ({shortened(error)})", file=path, fix=made_again(path)
        ) from None
    if shape is not None:
        problem = check_shape(data, shape)
        if problem:
            raise HardStop(
                code,
                f"not what this project writes: {problem}",
                file=path,
                fix=made_again(path),
            )
    return data


def target_of(path: str | Path) -> str:
    """Return a file of a run as it is typed for Snakemake, relative to the workspace."""
    parts = Path(path).parts
    known = [i for i, part in enumerate(parts) if part in ("results", "artifacts")]
    return "/".join(parts[known[-1] :]) if known else str(path)


def made_again(path: str | Path, *, there: bool = True) -> str:
    """Return how a damaged (or missing) file of the loop's own is mended, as a stop's advice."""
    path = Path(path)
    if path.parent.name == "preflight":
        return f"run: {again('preflight')}, then the same command again"
    if target_of(path) == str(path) or path.name == "deft_state.json":
        return "put the file back as it was"
    told = f"run: {again(target_of(path))}; then run the same command again"
    return f"put the file back as it was, or {f'delete it and {told}' if there else told}"


def check_shape(data: Any, shape: Any, where: str = "") -> str:
    """Return what is wrong with ``data``, or ``""``.

    A shape is a type, a tuple of types, a mapping of names to shapes (others may be there too), or
    a list of one shape, which every entry must have. ``float`` takes whole numbers as well;
    ``int`` and ``float`` take no booleans.

    >>> check_shape({"rows": [1, "2"]}, {"rows": [int]})
    'rows[1] is text, not a whole number'
    >>> check_shape({}, {"rows": [int]})
    'rows is missing'
    """
    if isinstance(shape, Mapping):
        if not isinstance(data, dict):
            return f"{where or 'it'} is {kind_of(data)}, not an object"
        for name, inner in shape.items():
            dotted = f"{where}.{name}" if where else name
            if name not in data:
                return f"{dotted} is missing"
            problem = check_shape(data[name], inner, dotted)
            if problem:
                return problem
        return ""
    if isinstance(shape, list):
        if not isinstance(data, list):
            return f"{where or 'it'} is {kind_of(data)}, not a list"
        problems = (check_shape(v, shape[0], f"{where}[{i}]") for i, v in enumerate(data))
        return next(filter(None, problems), "")
    kinds = shape if isinstance(shape, tuple) else (shape,)
    good = any(_is(data, kind) for kind in kinds)
    wanted = " or ".join(NAMES.get(kind, kind.__name__) for kind in kinds)
    return "" if good else f"{where or 'it'} is {kind_of(data)}, not {wanted}"


def _is(data: Any, kind: type) -> bool:
    if isinstance(data, bool):
        return kind is bool
    return isinstance(data, int | float) if kind is float else isinstance(data, kind)


def kind_of(data: Any) -> str:
    """Return what a value of JSON or YAML is, in words."""
    return NAMES.get(type(data), type(data).__name__)


def shortened(error: BaseException) -> str:
    """Return another program's message on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:WORDS] or type(error).__name__


def may_read(path: str | Path) -> bool:
    """Return whether this user may read what lies there; else it cannot be called damaged."""
    return os.access(path, os.R_OK)


def set_aside(path: Path, why: str, log: Any = None) -> Path | None:
    """Rename a file that cannot be read, so that nothing of it is lost, and say so once.

    Returns the new name; None when it could not be renamed (then it stays, and is told of again).
    """
    target = path.with_name(f"{path.name}.unreadable")
    number = 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.unreadable{number}")
    moved = None
    with suppress(OSError):
        path.rename(target)
        moved = target
    kept = f"kept as {target.name}" if moved else "left where it is"
    (log or warn)(f"warning: {path} cannot be read ({why}); it is {kept}")
    return moved


def warn(text: str) -> None:
    """Print a warning where it does not mix with results; a closed terminal is no failure."""
    import sys

    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
